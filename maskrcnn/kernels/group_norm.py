"""GroupNorm (Wu and He 2018) with a backward pass of its own for a CPU.

For small groups of channels that lie side by side in memory (channels_last), as in this model, PyTorch's own backward pass
takes up to ten times as long.
"""

from typing import Any

import torch
from torch import Tensor, nn

LARGE_GROUP = 16  # channels per group from which PyTorch's own backward pass is faster


class GroupNorm(nn.GroupNorm):
    """nn.GroupNorm: the same parameters, the same forward pass, the same gradient."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda or x.dim() != 4 or self.num_channels // self.num_groups >= LARGE_GROUP:
            return super().forward(x)
        result: Tensor = _GroupNormOnCPU.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return result


class _GroupNormOnCPU(torch.autograd.Function):
    """y = n * weight + bias with n = (x - mean) * rstd and rstd = 1 / sqrt(var + eps), over each group.

    mean and rstd depend on x, so with m = grad * weight the chain rule gives

        grad_x = rstd * (m - mean(m) - n * mean(m * n))

    Inserting n = (x - mean) * rstd and sorting by grad, x and the rest leaves grad_x = a * grad + b * x + c with
    one a per channel and one b and c per group: two passes over the pixels, one to sum and one to apply.
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
        sum_grad_n = ((grads * rows).sum(dim=1).float() - mean * sum_grad) * rstd  # [N, C], of grad * n

        def mean_in_group(sums: Tensor) -> Tensor:
            count = size * rows.shape[1]
            return (sums * weight / count).view(batch, groups, size).sum(dim=2).repeat_interleave(size, dim=1)

        a, b = rstd * weight, -rstd.square() * mean_in_group(sum_grad_n)
        c = -rstd * mean_in_group(sum_grad) - b * mean
        a, b, c = (t[:, None].to(x.dtype) for t in (a, b, c))  # [N, 1, C]
        grad_x = torch.addcmul(torch.addcmul(c, b, rows), a, grads)
        return grad_x.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2), sum_grad_n.sum(0), sum_grad.sum(0), None, None
