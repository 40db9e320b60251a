import pytest
import torch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from maskrcnn.backbone import FPN, ResNet, ResNetFPN, norm_layer
from maskrcnn.kernels import GroupNorm

CHANNELS = (4, 8, 16, 32)


def stages(height, width):
    """Like C2 to C5, of an image four times as large."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(height, width)]
    for _ in range(3):
        sizes.append(tuple((n + 1) // 2 for n in sizes[-1]))
    return [torch.randn(2, c, *size, generator=generator) for c, size in zip(CHANNELS, sizes, strict=True)]


@pytest.mark.parametrize("size", [(32, 48), (25, 19)])  # the second has levels that are not twice the next
def test_p2_to_p6_agree_with_torchvision(size):
    ours, theirs = FPN(CHANNELS, 6), FeaturePyramidNetwork(CHANNELS, 6, LastLevelMaxPool())
    for n in range(4):
        ours.lateral[n].load_state_dict(theirs.inner_blocks[n].state_dict())
        ours.output[n].load_state_dict(theirs.layer_blocks[n].state_dict())
    expected = theirs({f"C{n}": stage for n, stage in enumerate(stages(*size), start=2)})
    for actual, level in zip(ours(stages(*size)), expected.values(), strict=True):
        torch.testing.assert_close(actual, level, atol=1e-5, rtol=1e-5)


def test_p6_is_every_second_pixel_of_p5():
    maps = FPN(CHANNELS, 6)(stages(56, 40))
    assert maps[4].equal(maps[3][:, :, ::2, ::2])


def test_the_coarsest_stage_reaches_every_level_and_the_finest_only_p2():
    fpn = FPN(CHANNELS, 6)
    inputs = [stage.requires_grad_() for stage in stages(32, 32)]
    gradients = torch.autograd.grad(fpn(inputs)[3].sum(), inputs, allow_unused=True)
    assert [g is not None for g in gradients] == [False, False, False, True]
    gradients = torch.autograd.grad(fpn(inputs)[0].sum(), inputs)
    assert all(g.abs().sum() > 0 for g in gradients)


def test_a_norm_takes_the_place_of_the_bias():
    plain, normed = FPN(CHANNELS, 64), FPN(CHANNELS, 64, norm_layer("groupnorm"))
    assert [type(m) for m in plain.lateral[0]] == [nn.Conv2d]
    assert plain.lateral[0][0].bias is not None
    for block in (*normed.lateral, *normed.output):
        assert [type(m) for m in block] == [nn.Conv2d, GroupNorm]
        assert block[0].bias is None
    # GroupNorm comes last, so each group of each image has mean 0 and variance 1.
    groups = normed(stages(32, 32))[0].unflatten(1, (32, 2)).flatten(2)
    torch.testing.assert_close(groups.mean(2), torch.zeros(2, 32), atol=1e-5, rtol=0)
    torch.testing.assert_close(groups.var(2, correction=0), torch.ones(2, 32), atol=1e-3, rtol=0)


def test_a_backbone_says_the_names_strides_and_channels_of_its_maps():
    with torch.device("meta"):
        backbone = ResNetFPN(ResNet("resnet50", norm_layer("frozen_batchnorm")), 256)
        features = backbone(torch.empty(2, 3, 128, 192))
    assert features.names == ("P2", "P3", "P4", "P5", "P6")
    for level, stride in zip(features.maps, features.strides, strict=True):
        assert level.shape == (2, backbone.channels, 128 // stride, 192 // stride)
    assert features.names[: backbone.roi_levels] == ("P2", "P3", "P4", "P5")  # P6 is the RPN's alone


def test_p1_is_the_lateral_of_c1_plus_p2_in_blocks_of_two_by_two():
    backbone = ResNetFPN(ResNet("resnet18", norm_layer("groupnorm")), 64, finest_level=True)
    pixels = torch.randn(2, 3, 64, 96)
    features = backbone(pixels)
    stem, lateral = backbone.resnet.stem, backbone.p1.lateral[0]
    c1 = stem.norm(stem.conv(pixels)).relu()  # stride 2, before the pooling
    weight, bias = lateral.weight[:, :, 0, 0], lateral.bias
    blocks = features.maps[0].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = torch.einsum("oc,nchw->nohw", weight, c1) + bias[:, None, None] + blocks
    assert features.mask_map.shape == (2, 64, 32, 48)
    torch.testing.assert_close(features.mask_map, expected, atol=1e-4, rtol=1e-4)
    assert features.names == ("P2", "P3", "P4", "P5", "P6")  # what proposals and boxes are made of stays as it is
    for level, expected in zip(features.maps, backbone.fpn(backbone.resnet(pixels)), strict=True):
        assert level.equal(expected)


def test_without_p1_there_is_no_map_for_masks():
    assert ResNetFPN(ResNet("resnet18", norm_layer("groupnorm")), 64)(torch.zeros(1, 3, 64, 64)).mask_map is None
