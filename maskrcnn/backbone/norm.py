"""The three normalisations a backbone can be built with.

FrozenBatchNorm: for published weights at a batch of 1 or 2, where batch statistics would be noise (He et al. 2017 follow
Ren et al. 2015 in this). BatchNorm: for large batches. GroupNorm (Wu and He 2018): for training from random weights, since
it does not look across the batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]


class FrozenBatchNorm2d(nn.Module):
    """BatchNorm whose statistics and affine parameters are constants: y = (x - mean) / sqrt(var + eps) * weight + bias.

    Input and output [N, C, H, W]. Buffers weight, bias, running_mean, running_var, each [C], named as nn.BatchNorm2d's.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()  # [C]
        shift = self.bias - self.running_mean * scale  # [C]
        return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


def norm_layer(kind: str, eps: float = 1e-5, groups: int = 32) -> Norm:
    """A function channels -> module. kind is "frozen_batchnorm", "batchnorm" or "groupnorm"; else ValueError."""
    if kind == "frozen_batchnorm":
        return lambda channels: FrozenBatchNorm2d(channels, eps)
    if kind == "batchnorm":
        return lambda channels: nn.BatchNorm2d(channels, eps)
    if kind == "groupnorm":
        return lambda channels: nn.GroupNorm(min(groups, channels), channels, eps)
    raise ValueError(f"norm {kind!r} is not known; choose frozen_batchnorm, batchnorm or groupnorm")
