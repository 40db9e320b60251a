import pytest
import torch
import torchvision
from torchvision.models._utils import IntermediateLayerGetter

from maskrcnn.backbone import ResNet, norm_layer
from maskrcnn.weights import translate


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def resnet():
    return ResNet("resnet50", norm_layer("frozen_batchnorm"), frozen_stages=2).eval()


def scatter_statistics(model):
    """Statistics as a trained network has them, so that a norm in the wrong place shows; branches do not explode."""
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if name.endswith(("running_mean", "bias")) and value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) * 0.4 - 0.2)
        if name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        if name.endswith("bn3.weight"):
            value.copy_(torch.rand(value.shape, generator=generator) * 0.3 + 0.1)


@pytest.mark.parametrize("kind", ["resnet18", "resnet34", "resnet50", "resnet101"])
@torch.inference_mode()
def test_c2_to_c5_agree_with_torchvision(kind, pixels):
    theirs = getattr(torchvision.models, kind)(weights=None).eval()
    scatter_statistics(theirs)
    ours = ResNet(kind, norm_layer("frozen_batchnorm")).eval()
    state = dict(translate(name, value) for name, value in theirs.state_dict().items())
    state = {
        name.removeprefix("backbone.resnet."): value for name, value in state.items() if not name.startswith("fc.")
    }
    loaded = ours.load_state_dict(state, strict=False)
    assert not loaded.missing_keys
    assert all(name.endswith("num_batches_tracked") for name in loaded.unexpected_keys)
    expected = IntermediateLayerGetter(theirs, {f"layer{n}": f"C{n + 1}" for n in range(1, 5)})(pixels)
    for stage, actual in zip(expected.values(), ours(pixels), strict=True):
        assert (actual - stage).abs().max() <= 1e-4 * stage.abs().max()


@pytest.mark.parametrize("size", [(64, 96), (63, 65)])
@pytest.mark.parametrize(("kind", "first"), [("resnet18", 64), ("resnet50", 256)])
@torch.inference_mode()
def test_each_stage_halves_the_size_and_doubles_the_channels(kind, first, size):
    resnet = ResNet(kind, norm_layer("frozen_batchnorm")).eval()
    assert resnet.channels == (first, 2 * first, 4 * first, 8 * first)
    for stage, stride, channels in zip(resnet(torch.randn(1, 3, *size)), (4, 8, 16, 32), resnet.channels, strict=True):
        assert stage.shape == (1, channels, -(-size[0] // stride), -(-size[1] // stride))


def test_a_block_without_1x1_strides_in_its_first_3x3():
    with torch.device("meta"):
        resnet = ResNet("resnet18", norm_layer("frozen_batchnorm"), stride_in_1x1=True)
    assert [resnet.res3[0].conv1.stride, resnet.res3[0].conv2.stride, resnet.res3[1].conv1.stride] == [
        (2, 2),
        (1, 1),
        (1, 1),
    ]
    assert resnet.res2[0].shortcut is None  # 64 channels go in, 64 come out
    assert resnet.res3[0].shortcut is not None


@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_the_stride_is_in_the_3x3_or_in_the_1x1_before_it(stride_in_1x1):
    with torch.device("meta"):
        resnet = ResNet("resnet50", norm_layer("frozen_batchnorm"), stride_in_1x1)
        assert [stage.shape[-1] for stage in resnet(torch.empty(1, 3, 64, 64))] == [16, 8, 4, 2]
    for stage in (resnet.res3, resnet.res4, resnet.res5):
        assert stage[0].conv1.stride == ((2, 2) if stride_in_1x1 else (1, 1))
        assert stage[0].conv2.stride == ((1, 1) if stride_in_1x1 else (2, 2))
    assert resnet.res2[0].conv1.stride == resnet.res2[0].conv2.stride == (1, 1)


@pytest.mark.parametrize("frozen_stages", range(6))
def test_the_first_stages_are_frozen(frozen_stages):
    with torch.device("meta"):
        resnet = ResNet("resnet50", norm_layer("groupnorm"), frozen_stages=frozen_stages)
    trained = [
        {p.requires_grad for p in getattr(resnet, name).parameters()}
        for name in ("stem", "res2", "res3", "res4", "res5")
    ]
    assert trained == [{False}] * frozen_stages + [{True}] * (5 - frozen_stages)


def test_frozen_stages_get_no_gradient_and_the_others_do(resnet, pixels):
    sum(stage.mean() for stage in resnet(pixels)).backward()
    assert all(p.grad is None for module in (resnet.stem, resnet.res2) for p in module.parameters())
    assert all(p.grad is not None for module in (resnet.res3, resnet.res4, resnet.res5) for p in module.parameters())


def test_an_unknown_backbone_is_refused_with_the_choices():
    with pytest.raises(
        ValueError, match="'resnet20' is not known; choose resnet18 or resnet34 or resnet50 or resnet101"
    ):
        ResNet("resnet20", norm_layer("groupnorm"))


@pytest.mark.parametrize(("kind", "size"), [("resnet18", (65, 97)), ("resnet50", (64, 64))])
def test_a_network_that_starts_its_blocks_at_zero_starts_as_a_shallow_one(kind, size):
    """Without what its blocks add, only the shortcuts are left: the pooling, then a projection for each stage."""
    resnet = ResNet(kind, norm_layer("groupnorm"), zero_init_residual=True)
    pixels = torch.randn(1, 3, *size)
    x = resnet.stem(pixels)
    for stage, output in zip((resnet.res2, resnet.res3, resnet.res4, resnet.res5), resnet(pixels), strict=True):
        x = (x if stage[0].shortcut is None else stage[0].shortcut(x)).relu()
        torch.testing.assert_close(output, x)
    sum(output.mean() for output in resnet(pixels)).backward()
    grown = [block.last_scale.grad.abs().sum() for stage in list(resnet.children())[1:] for block in stage]
    assert all(g > 0 for g in grown)  # it does not stay shallow
    assert not torch.equal(ResNet(kind, norm_layer("groupnorm"))(pixels)[0], resnet(pixels)[0])


def test_c1_is_what_the_stem_pools(pixels):
    resnet = ResNet("resnet18", norm_layer("groupnorm"))
    c1, *others = resnet.with_c1(pixels)
    assert c1.shape == (1, 64, 32, 48)
    assert torch.nn.functional.max_pool2d(c1, 3, 2, 1).equal(resnet.stem(pixels))
    for expected, actual in zip(resnet(pixels), others, strict=True):
        assert actual.equal(expected)
