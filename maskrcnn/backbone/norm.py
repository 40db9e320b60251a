"""The three normalisations a backbone can be built with.

FrozenBatchNorm: for published weights at a batch of 1 or 2, where batch statistics would be noise (He et al. 2017 follow
Ren et al. 2015 in this). BatchNorm: for large batches. GroupNorm (Wu and He 2018): for training from random weights, since
it does not look across the batch.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
LARGE_GROUP = 16  # channels from which torch's own gradient of GroupNorm is the faster one


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
    """norm(conv(x)). A frozen norm is a constant: it goes into the convolution's weights, and no pixel is touched twice.

    Not where the weights learn: the product would have to be kept for that, which takes more memory than it saves time.
    """
    learns = torch.is_grad_enabled() and conv.weight.requires_grad
    if learns or not isinstance(norm, FrozenBatchNorm2d):
        result: Tensor = norm(conv(x))
        return result
    scale, shift = norm.scale_and_shift()
    return F.conv2d(x, conv.weight * scale[:, None, None, None], shift, conv.stride, conv.padding)


class GroupNorm(nn.GroupNorm):
    """nn.GroupNorm (Wu and He 2018), with a gradient of its own on a CPU.

    For channels that lie side by side in small groups, as they do here, torch takes up to ten times as long for it.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda or x.dim() != 4 or self.num_channels // self.num_groups >= LARGE_GROUP:
            return super().forward(x)
        result: Tensor = _GroupNormOnCPU.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return result


class _GroupNormOnCPU(torch.autograd.Function):
    """y = n * weight + bias, where n = (x - mean) * rstd; mean and rstd = 1 / sqrt(var + eps) are those of a group.

    Since mean and rstd depend on x, the gradient of n, m = grad * weight, loses its own mean and its share along n:
    grad_x = rstd * (m - mean(m) - n * mean(m * n)). Written out in x that is a * grad + b * x + c.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        batch, channels, height, width = x.shape
        y, mean, rstd = torch.native_group_norm(x, weight, bias, batch, channels, height * width, groups, eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, rstd = ctx.saved_tensors
        (batch, groups), size = mean.shape, len(weight) // mean.shape[1]
        rows, grads = (t.permute(0, 2, 3, 1).flatten(1, 2) for t in (x, grad))  # [N, H * W, C]
        mean, rstd = (t.float().repeat_interleave(size, dim=1) for t in (mean, rstd))  # [N, C]
        sum_grad = grads.sum(dim=1).float()  # [N, C]
        sum_grad_n = ((grads * rows).sum(dim=1).float() - mean * sum_grad) * rstd  # of grad * n

        def mean_in_group(sums: Tensor) -> Tensor:
            count = size * rows.shape[1]
            return (sums * weight / count).view(batch, groups, size).sum(dim=2).repeat_interleave(size, dim=1)

        a, b = rstd * weight, -rstd.square() * mean_in_group(sum_grad_n)
        c = -rstd * mean_in_group(sum_grad) - b * mean
        a, b, c = (t[:, None].to(x.dtype) for t in (a, b, c))  # [N, 1, C]
        grad_x = torch.addcmul(torch.addcmul(c, b, rows), a, grads)
        return grad_x.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2), sum_grad_n.sum(0), sum_grad.sum(0), None, None


def norm_layer(kind: str, eps: float = 1e-5, groups: int = 32) -> Norm:
    """A function channels -> module. kind is "frozen_batchnorm", "batchnorm" or "groupnorm"; else ValueError."""
    if kind == "frozen_batchnorm":
        return lambda channels: FrozenBatchNorm2d(channels, eps)
    if kind == "batchnorm":
        return lambda channels: nn.BatchNorm2d(channels, eps)
    if kind == "groupnorm":
        return lambda channels: GroupNorm(min(groups, channels), channels, eps)
    raise ValueError(f"norm {kind!r} is not known; choose frozen_batchnorm, batchnorm or groupnorm")
