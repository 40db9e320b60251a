"""The RPN head: a 3x3 convolution, then for every anchor one objectness and four deltas (Ren et al. 2015, fig. 3 left).

The head looks at every cell of the maps but learns from few of them, those whose anchors are sampled. So the gradient of its
3x3 convolution is 0 nearly everywhere, and is multiplied only where it is not.

Glossary: n cells with a gradient; B images, C and D channels before and after the convolution.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

from maskrcnn.describe import description

# Where more of the cells than this have a gradient, the usual convolution is the faster way.
MANY_CELLS = 0.1


class RPNPrediction(NamedTuple):
    """objectness [B, A], logits of "an object"; deltas [B, A, 4], from the anchor to the object. A as in Anchors."""

    objectness: Tensor
    deltas: Tensor

    def __repr__(self) -> str:
        return description(self)


class RPNHead(nn.Module):
    """One head, shared by all levels. channels of the feature maps, per_cell anchors on each of their cells."""

    def __init__(self, channels: int, per_cell: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, per_cell, 1)
        self.deltas = nn.Conv2d(channels, per_cell * 4, 1)
        for layer in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> RPNPrediction:
        """maps: [B, C, H_l, W_l] for each level."""
        objectness, deltas = [], []
        for feature in maps:
            # A GPU would be waited for to say how many cells have a gradient, and multiplies them all in that time.
            conv = self.conv if feature.is_cuda else self._conv_with_sparse_gradient
            hidden = F.relu(conv(feature), inplace=True)
            objectness.append(_flatten(self.objectness(hidden), 1))
            deltas.append(_flatten(self.deltas(hidden), 4))
        # What follows computes pixels and losses, so it leaves autocast's lower precision here.
        return RPNPrediction(torch.cat(objectness, dim=1)[..., 0].float(), torch.cat(deltas, dim=1).float())

    def _conv_with_sparse_gradient(self, feature: Tensor) -> Tensor:
        result: Tensor = _SparseGradientConv.apply(feature, self.conv.weight.to(feature.dtype), self.conv.bias)
        return result


class _SparseGradientConv(torch.autograd.Function):
    """A 3x3 convolution that keeps the size. Its gradient is exact, and cheap where that of its output is mostly 0."""

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
        if len(row) > MANY_CELLS * grad[:, 0].numel():
            grad_x = conv2d_input(x.shape, weight, grad, padding=1)
            return grad_x, conv2d_weight(x, weight.shape, grad, padding=1), grad.sum(dim=(0, 2, 3))
        grad = grad[image, :, row, column]  # [n, D]
        # The 3x3 cells around each of the n, those that the convolution read: their numbers in one row of all cells.
        (_, _, height, width), step = x.shape, torch.arange(-1, 2, device=x.device)
        rows, columns = row[:, None] + step, column[:, None] + step  # [n, 3]
        row_inside, column_inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        inside = row_inside[:, :, None] & column_inside[:, None]  # [n, 3, 3]
        cells = (image[:, None, None] * height + rows.clamp(0, height - 1)[:, :, None]) * width
        cells = cells + columns.clamp(0, width - 1)[:, None]  # [n, 3, 3]
        inputs = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])  # [B * H * W, C]
        patches = inputs[cells.flatten()].view(*cells.shape, x.shape[1]) * inside[..., None]  # [n, 3, 3, C]
        with torch.autocast(x.device.type, enabled=False):
            grad_weight = (grad.t() @ patches.flatten(1)).view(len(weight), 3, 3, x.shape[1]).permute(0, 3, 1, 2)
            grad_patches = grad @ weight.permute(0, 2, 3, 1).flatten(1)  # [n, 3 * 3 * C]
        grad_patches = grad_patches.view_as(patches) * inside[..., None]
        grad_inputs = torch.zeros_like(inputs).index_add_(0, cells.flatten(), grad_patches.flatten(0, 2))
        return grad_inputs.view(len(x), height, width, x.shape[1]).permute(0, 3, 1, 2), grad_weight, grad.sum(dim=0)


def _flatten(x: Tensor, values: int) -> Tensor:
    """[B, A_cell * values, H, W] -> [B, H * W * A_cell, values], the order of the anchors."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)
