"""The Feature Pyramid Network (Lin et al. 2017, sec. 3): from C2..C5 to P2..P6, all with the same number of channels."""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn.backbone.norm import NormFactory
from maskrcnn.backbone.resnet import ResNet
from maskrcnn.describe import described


@described
class Features(NamedTuple):
    """The backbone's output, finest level first: names (P2 ...), maps [B, C, H_l, W_l], strides in pixels of the batch.

    mask_map [B, C, H/2, W/2]: P1, which all masks are pooled from, or None if they are pooled from `maps` as boxes are.
    """

    names: tuple[str, ...]
    maps: tuple[Tensor, ...]
    strides: tuple[int, ...]
    mask_map: Tensor | None = None


class FPN(nn.Module):
    """(C2, ..., C5) -> (P2, ..., P5, P6).

    Top-down pathway: each level is a 1x1 "lateral" convolution of its C plus the coarser level, upsampled by 2 (nearest).
    A 3x3 "output" convolution then reduces the aliasing of upsampling. P6 is P5 subsampled by 2 and read by the RPN only
    (footnote of sec. 4.1).
    """

    def __init__(self, in_channels: Sequence[int], channels: int, norm: NormFactory | None = None) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_conv(c, channels, 1, norm) for c in in_channels)
        self.output = nn.ModuleList(_conv(channels, channels, 3, norm) for _ in in_channels)

    def forward(self, stages: Sequence[Tensor]) -> tuple[Tensor, ...]:
        laterals = [lateral(c) for lateral, c in zip(self.lateral, stages, strict=True)]
        merged = [laterals[-1]]
        for lateral in reversed(laterals[:-1]):
            merged.insert(0, lateral + F.interpolate(merged[0], size=lateral.shape[-2:], mode="nearest"))
        maps = [output(m) for output, m in zip(self.output, merged, strict=True)]
        maps.append(F.max_pool2d(maps[-1], kernel_size=1, stride=2))
        return tuple(maps)


class FinestLevel(nn.Module):
    """(C1, P2) -> P1, [N, C, H/2, W/2]: one level more than the paper has, for masks alone. It starts from P2 itself.

    Outlines gain from the finer map. Proposals and boxes do without it: it has four times the locations of P2.
    """

    stride = 2

    def __init__(self, channels: int, norm: NormFactory | None = None) -> None:
        super().__init__()
        self.lateral = _conv(64, channels, 1, norm)

    def forward(self, c1: Tensor, p2: Tensor) -> Tensor:
        lateral: Tensor = self.lateral(c1)
        return lateral + F.interpolate(p2, size=lateral.shape[-2:], mode="nearest")


class ResNetFPN(nn.Module):
    """A backbone: pixels [B, 3, H, W] -> Features.

    What the rest of the model needs to know of a backbone: `names` and `strides` of its maps, their `channels`, and
    `roi_levels`, from how many of the finest levels RoIs are pooled (P2 to P5). The RPN reads all levels. finest_level:
    whether there is a P1 for masks.
    """

    names = ("P2", "P3", "P4", "P5", "P6")
    strides = (4, 8, 16, 32, 64)
    roi_levels = 4

    def __init__(
        self, resnet: ResNet, channels: int, norm: NormFactory | None = None, finest_level: bool = False
    ) -> None:
        super().__init__()
        self.channels = channels
        self.resnet = resnet
        self.fpn = FPN(resnet.channels, channels, norm)
        self.p1 = FinestLevel(channels, norm) if finest_level else None

    def forward(self, pixels: Tensor) -> Features:
        c1, *stages = self.resnet.with_c1(pixels)
        maps = self.fpn(stages)
        return Features(self.names, maps, self.strides, None if self.p1 is None else self.p1(c1, maps[0]))


def _conv(in_channels: int, out_channels: int, kernel_size: int, norm: NormFactory | None) -> nn.Sequential:
    """A convolution that keeps the size. A norm after it makes its bias redundant."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=norm is None)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return nn.Sequential(conv) if norm is None else nn.Sequential(conv, norm(out_channels))
