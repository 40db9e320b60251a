"""ResNets (He et al. 2016, table 1), the bottom-up pathway: C2 to C5, and C1 on demand.

Glossary: the stages res2 to res5 are conv2_x to conv5_x of the paper; their outputs C2 to C5 have strides 4, 8, 16, 32 and
64, 128, 256, 512 channels, times the expansion of the block: 1 in ResNet-18 and 34, 4 in ResNet-50 and 101.
"""

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn.backbone.norm import NormFactory, conv_norm
from maskrcnn.kernels import Conv2d


class BasicBlock(nn.Module):
    """Two 3x3 plus the shortcut (He et al. 2016, fig. 5 left). [N, in, H, W] -> [N, out, H/s, W/s].

    Without a 1x1 that could have the stride, stride_in_1x1 changes nothing.
    """

    expansion = 1

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, norm: NormFactory, stride_in_1x1: bool
    ) -> None:
        super().__init__()
        self.conv1 = Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = norm(out_channels)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = norm(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride, norm)

    @property
    def last_scale(self) -> Tensor:
        return cast(Tensor, self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else conv_norm(x, *self.shortcut)
        # In place: no backward pass needs the values before the ReLU.
        x = F.relu(conv_norm(x, self.conv1, self.norm1), inplace=True)
        return F.relu(conv_norm(x, self.conv2, self.norm2).add_(shortcut), inplace=True)


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up, plus the shortcut (He et al. 2016, fig. 5 right). [N, in, H, W] -> [N, out, H/s, W/s]."""

    expansion = 4

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, norm: NormFactory, stride_in_1x1: bool
    ) -> None:
        super().__init__()
        width = out_channels // 4
        # The original strides in the first 1x1; published torchvision weights were trained with the stride in the 3x3.
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = Conv2d(in_channels, width, 1, stride_1x1, bias=False)
        self.norm1 = norm(width)
        self.conv2 = Conv2d(width, width, 3, stride_3x3, padding=1, bias=False)
        self.norm2 = norm(width)
        self.conv3 = Conv2d(width, out_channels, 1, bias=False)
        self.norm3 = norm(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride, norm)

    @property
    def last_scale(self) -> Tensor:
        return cast(Tensor, self.norm3.weight)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else conv_norm(x, *self.shortcut)
        x = F.relu(conv_norm(x, self.conv1, self.norm1), inplace=True)  # in place as above
        x = F.relu(conv_norm(x, self.conv2, self.norm2), inplace=True)
        return F.relu(conv_norm(x, self.conv3, self.norm3).add_(shortcut), inplace=True)


def _shortcut(in_channels: int, out_channels: int, stride: int, norm: NormFactory) -> nn.Sequential | None:
    """A projection where size or channels change; elsewhere none is needed (He et al. 2016, sec. 3.3, option B)."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(Conv2d(in_channels, out_channels, 1, stride, bias=False), norm(out_channels))


# Name -> type of block, number of blocks in res2 .. res5.
ARCHITECTURES: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


class Stem(nn.Module):
    """7x7 convolution, whose output is C1, and 3x3 max pooling, stride 4 together. [N, 3, H, W] -> [N, 64, H/4, W/4]."""

    def __init__(self, norm: NormFactory) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.norm = norm(64)

    def c1(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, 64, H/2, W/2]."""
        return F.relu(conv_norm(x, self.conv, self.norm), inplace=True)

    def pool(self, c1: Tensor) -> Tensor:
        return F.max_pool2d(c1, kernel_size=3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.c1(x))


class EndPaddedStem(Stem):
    """Pads the pooling at the bottom and right alone, as TensorFlow does for even sizes: all that follows sees the image 2
    pixels further to the lower right, and weights that were trained with it find their boxes there."""

    def pool(self, c1: Tensor) -> Tensor:
        return F.max_pool2d(
            F.pad(c1, (0, 1, 0, 1)), kernel_size=3, stride=2
        )  # after a ReLU, 0 is never above a maximum


class ResNet(nn.Module):
    """Pixels [N, 3, H, W] -> (C2, C3, C4, C5).

    kind: a key of ARCHITECTURES, else ValueError. stride_in_1x1: see Bottleneck. frozen_stages: how many of stem, res2 ..
    res5, counted from the input, are not trained. zero_init_residual: start the last norm of each block at zero, so that
    the block adds nothing at first and a deep network starts as a shallow one (Goyal et al. 2017, 5.1).
    pool_padding_at_end: see EndPaddedStem.
    Attribute `channels`: those of C2 to C5.
    """

    def __init__(
        self,
        kind: str,
        norm: NormFactory,
        stride_in_1x1: bool = False,
        frozen_stages: int = 0,
        zero_init_residual: bool = False,
        pool_padding_at_end: bool = False,
    ) -> None:
        super().__init__()
        if kind not in ARCHITECTURES:
            raise ValueError(f"backbone {kind!r} is not known; choose {' or '.join(ARCHITECTURES)}")
        self.stem = (EndPaddedStem if pool_padding_at_end else Stem)(norm)
        block_type, counts = ARCHITECTURES[kind]
        self.channels = tuple(width * block_type.expansion for width in (64, 128, 256, 512))
        in_channels = 64
        for number, (count, channels) in enumerate(zip(counts, self.channels, strict=True), start=2):
            stage = nn.Sequential()
            for block in range(count):
                stride = 2 if block == 0 and number > 2 else 1
                stage.append(block_type(in_channels, channels, stride, norm, stride_in_1x1))
                in_channels = channels
            self.add_module(f"res{number}", stage)
        self._initialise(zero_init_residual)
        for frozen in list(self.children())[:frozen_stages]:
            frozen.requires_grad_(False)

    def _initialise(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock | Bottleneck) and zero_init_residual:
                nn.init.zeros_(module.last_scale)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.with_c1(pixels)[1:]

    def with_c1(self, pixels: Tensor, last_stage: int = 5) -> tuple[Tensor, ...]:
        """(C1, ..., C5), or up to the C of an earlier stage."""
        stages = [self.stem.c1(pixels)]  # [N, 64, H/2, W/2]
        x = self.stem.pool(stages[0])  # [N, 64, H/4, W/4]
        for number in range(2, last_stage + 1):
            x = self.get_submodule(f"res{number}")(x)  # [N, channels[number - 2], H / 2^number, W / 2^number]
            stages.append(x)
        return tuple(stages)
