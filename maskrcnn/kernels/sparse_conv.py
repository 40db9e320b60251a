"""The 3x3 convolution of the RPN head, with a backward pass that looks only at the locations with a gradient.

The head is applied at every location of the maps, but only the sampled anchors enter the loss (Ren et al. 2015, sec. 3.1.3),
so the gradient of its output is zero nearly everywhere.

Glossary: n locations with a gradient; B images; C and D channels before and after the convolution.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

# With a gradient at more than this fraction of the locations, the dense backward pass is faster.
DENSE_FROM = 0.1


def sparse_gradient_conv(conv: nn.Conv2d, feature: Tensor) -> Tensor:
    """conv(feature), [B, C, H, W] -> [B, D, H, W], for a 3x3 convolution with padding 1 and a bias. The same gradient.

    On a GPU this is conv(feature) itself: counting the locations there forces a synchronisation that costs more than the
    dense backward pass.
    """
    if feature.is_cuda:
        dense: Tensor = conv(feature)
        return dense
    result: Tensor = _SparseGradientConv.apply(feature, conv.weight.to(feature.dtype), conv.bias)
    return result


class _SparseGradientConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias.to(weight.dtype), padding=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad = grad.to(x.dtype)
        image, row, column = torch.where(grad.abs().amax(dim=1) != 0)  # [n] each
        if len(row) > DENSE_FROM * grad[:, 0].numel():
            grad_x = conv2d_input(x.shape, weight, grad, padding=1)
            return grad_x, conv2d_weight(x, weight.shape, grad, padding=1), grad.sum(dim=(0, 2, 3))
        grad = grad[image, :, row, column]  # [n, D]
        locations, inside = _neighbours(image, row, column, (x.shape[2], x.shape[3]))  # [n, 3, 3] each
        inputs = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])  # [B * H * W, C]
        patches = inputs[locations.flatten()].view(*locations.shape, x.shape[1]) * inside[..., None]  # [n, 3, 3, C]
        with torch.autocast(x.device.type, enabled=False):
            grad_weight = (grad.t() @ patches.flatten(1)).view(len(weight), 3, 3, x.shape[1]).permute(0, 3, 1, 2)
            grad_patches = grad @ weight.permute(0, 2, 3, 1).flatten(1)  # [n, 3 * 3 * C]
        grad_patches = grad_patches.view_as(patches) * inside[..., None]
        grad_inputs = torch.zeros_like(inputs).index_add_(0, locations.flatten(), grad_patches.flatten(0, 2))
        grad_x = grad_inputs.view(len(x), *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)
        return grad_x, grad_weight, grad.sum(dim=0)


def _neighbours(image: Tensor, row: Tensor, column: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The 3x3 locations that the convolution reads around each of n: indices into B * H * W, and whether they are inside the
    map (those outside are moved to its border), [n, 3, 3] each."""
    (height, width), step = size, torch.arange(-1, 2, device=row.device)
    rows, columns = row[:, None] + step, column[:, None] + step  # [n, 3]
    row_inside, column_inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    inside = row_inside[:, :, None] & column_inside[:, None]
    first = (image[:, None, None] * height + rows.clamp(0, height - 1)[:, :, None]) * width
    return first + columns.clamp(0, width - 1)[:, None], inside
