import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d as TorchvisionFrozenBatchNorm2d

from maskrcnn.backbone import FrozenBatchNorm2d, norm_layer
from maskrcnn.backbone.norm import conv_norm
from maskrcnn.kernels import GroupNorm


def statistics(channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.rand(channels, generator=generator) + 0.5,
        "bias": torch.randn(channels, generator=generator),
        "running_mean": torch.randn(channels, generator=generator),
        "running_var": torch.rand(channels, generator=generator) + 0.1,
    }


@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.1])
def test_frozen_batchnorm_agrees_with_torchvision_and_with_batchnorm_in_evaluation(eps):
    x = torch.randn(2, 6, 5, 4)
    ours, theirs, batchnorm = FrozenBatchNorm2d(6, eps), TorchvisionFrozenBatchNorm2d(6, eps), nn.BatchNorm2d(6, eps)
    for norm in (ours, theirs, batchnorm):
        norm.load_state_dict(statistics(6), strict=False)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(x), batchnorm.eval()(x))
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_frozen_batchnorm_by_hand():
    norm = FrozenBatchNorm2d(1, eps=0.0)
    norm.load_state_dict({n: torch.tensor([v]) for n, v in zip(norm.state_dict(), (3.0, 1.0, 2.0, 4.0), strict=True)})
    # (8 - 2) / sqrt(4) * 3 + 1
    assert norm(torch.full((1, 1, 1, 1), 8.0)).item() == pytest.approx(10.0)


@pytest.mark.parametrize("kind", ["frozen_batchnorm", "batchnorm", "groupnorm"])
@pytest.mark.parametrize("trained", [True, False])
def test_conv_norm_is_the_norm_of_the_convolution(kind, trained):
    conv, norm = nn.Conv2d(5, 6, 3, stride=2, padding=1, bias=False), norm_layer(kind, eps=0.1, groups=3)(6)
    norm.load_state_dict(statistics(6), strict=False)
    conv.requires_grad_(trained)
    x = torch.randn(2, 5, 9, 8, requires_grad=True)
    expected, actual = norm(conv(x)), conv_norm(x, conv, norm)
    torch.testing.assert_close(actual, expected)
    inputs, weights = (x, conv.weight) if trained else (x,), torch.randn_like(expected)
    for ours, theirs in zip(*(torch.autograd.grad((y * weights).sum(), inputs) for y in (actual, expected))):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(conv_norm(x, conv, norm), expected)


def test_frozen_batchnorm_has_no_parameters_and_keeps_its_statistics():
    norm = FrozenBatchNorm2d(6).train()
    norm.load_state_dict(statistics(6))
    norm(torch.randn(4, 6, 5, 4) * 7)
    assert not list(norm.parameters())
    assert all(norm.state_dict()[name].equal(value) for name, value in statistics(6).items())


def test_frozen_batchnorm_keeps_the_precision_of_its_input():
    assert FrozenBatchNorm2d(6)(torch.randn(1, 6, 2, 2).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("kind", "module"),
    [("frozen_batchnorm", FrozenBatchNorm2d), ("batchnorm", nn.BatchNorm2d), ("groupnorm", GroupNorm)],
)
def test_norm_layer_makes_the_kind_with_its_eps(kind, module):
    norm = norm_layer(kind, eps=0.25)(64)
    assert type(norm) is module
    assert norm.eps == 0.25


def test_groupnorm_has_32_groups_or_as_many_as_there_are_channels():
    assert norm_layer("groupnorm")(64).num_groups == 32
    assert norm_layer("groupnorm")(16).num_groups == 16
    assert norm_layer("groupnorm", groups=8)(64).num_groups == 8


def test_groupnorm_in_training_does_not_depend_on_the_batch():
    norm = norm_layer("groupnorm")(64).train()
    images = torch.randn(2, 64, 8, 8)
    torch.testing.assert_close(norm(images)[:1], norm(images[:1]))


def test_an_unknown_norm_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="'layernorm' is not known; choose frozen_batchnorm, batchnorm or groupnorm"):
        norm_layer("layernorm")
