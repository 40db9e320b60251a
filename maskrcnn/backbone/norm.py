"""The three normalisations that a backbone can be built with.

Frozen BatchNorm: for published weights with a batch of 1 or 2 images, too few for batch statistics (He et al. 2017 follow
Ren et al. 2015 in this). BatchNorm: for large batches. GroupNorm (Wu and He 2018): for training from random weights, since
it does not depend on the batch.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn.kernels import GroupNorm

NormFactory = Callable[[int], nn.Module]  # channels -> module


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

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """[C] each: y = x * scale + shift."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift()
        return torch.addcmul(shift.to(x.dtype)[:, None, None], x, scale.to(x.dtype)[:, None, None])

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


def conv_norm(x: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """norm(conv(x)). A frozen norm is a constant factor and shift, so it is folded into the convolution's weights.

    Not while the weights are trained: the backward pass would keep the folded weights too, for little gain in time.
    """
    trained = torch.is_grad_enabled() and conv.weight.requires_grad
    if trained or not isinstance(norm, FrozenBatchNorm2d):
        result: Tensor = norm(conv(x))
        return result
    scale, shift = norm.scale_and_shift()
    return F.conv2d(x, conv.weight * scale[:, None, None, None], shift, conv.stride, conv.padding)


def norm_layer(kind: str, eps: float = 1e-5, groups: int = 32) -> NormFactory:
    """How to build a norm for a number of channels. kind: "frozen_batchnorm", "batchnorm" or "groupnorm", else ValueError.

    groups: of GroupNorm; a layer with fewer channels has one group per channel.
    """
    if kind == "frozen_batchnorm":
        return lambda channels: FrozenBatchNorm2d(channels, eps)
    if kind == "batchnorm":
        return lambda channels: nn.BatchNorm2d(channels, eps)
    if kind == "groupnorm":
        return lambda channels: GroupNorm(min(groups, channels), channels, eps)
    raise ValueError(f"norm {kind!r} is not known; choose frozen_batchnorm, batchnorm or groupnorm")
