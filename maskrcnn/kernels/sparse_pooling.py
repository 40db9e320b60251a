"""RoIAlign's weighted sums as one sparse matrix product, forward and backward.

A bin of RoIAlign is a weighted sum of pixels, so all bins together are

    output [R * h * w, C] = weights [R * h * w, P] @ table [P, C]

where the table has one row per pixel of every image and pyramid level. The weights are sparse: 16 per bin of 2 x 2 samples.
Nothing of size samples x C is ever stored.

Glossary: R RoIs, h x w bins, C channels, P pixels in the table; a tap is one (pixel, weight) of a bin; T taps along one
axis of a bin; N taps of all bins.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class AxisWeights(NamedTuple):
    """The weights of the bins along one axis: which row or column of pixels, and how much of it."""

    pixel: Tensor  # [R, bins, T] int32, index along the axis
    weight: Tensor  # [R, bins, T]
    used: Tensor | None = None  # [R, bins]: how many of the T a bin uses; None: all


class _SparseWeights(NamedTuple):
    """The weights of all bins, bin after bin (compressed sparse rows)."""

    pixel: Tensor  # [N] int32, row of the table
    weight: Tensor  # [N]
    start: Tensor  # [R * h * w + 1] int32, where the taps of a bin start; the last is N


def sparse_pool(table: Tensor, rows: AxisWeights, columns: AxisWeights) -> Tensor:
    """Sum up pixels of the table [P, C] for every bin: [R * h * w, C].

    Bilinear interpolation is linear in y times linear in x, so the weights of a bin are the outer product of those of its
    rows and columns. rows.pixel: row of the table at which the row of pixels starts; columns.pixel: offset within it.
    """
    weights = _outer(rows, columns) if rows.used is None else _ragged_outer(rows, columns)
    result: Tensor = _SparseProduct.apply(table, weights.pixel, weights.weight.to(table.dtype), weights.start)
    return result


def merge_taps(pixel: Tensor, weight: Tensor) -> AxisWeights:
    """The same weights with each pixel only once per bin: samples that are close together share most of their pixels.

    pixel [R, bins, T] int32, rising along a bin; weight [R, bins, T].
    """
    first = pixel[:, :, :1]
    used = pixel[:, :, -1:] - first + 1  # [R, bins, 1]
    index = torch.arange(int(used.max()), dtype=torch.int32, device=pixel.device)  # [T]
    merged = weight.new_zeros(*pixel.shape[:2], len(index)).scatter_add_(2, (pixel - first).long(), weight)
    return AxisWeights(first + index, merged, used[:, :, 0])


def _outer(rows: AxisWeights, columns: AxisWeights) -> _SparseWeights:
    """The outer product where every bin has the same number of taps."""
    pixel = rows.pixel[:, :, None, :, None] + columns.pixel[:, None, :, None, :]  # [R, h, w, T, T]
    weight = rows.weight[:, :, None, :, None] * columns.weight[:, None, :, None, :]
    taps = pixel.shape[3] * pixel.shape[4]
    start = torch.arange(pixel[..., 0, 0].numel() + 1, dtype=torch.int32, device=pixel.device) * taps
    return _SparseWeights(pixel.flatten(), weight.flatten(), start)


def _ragged_outer(rows: AxisWeights, columns: AxisWeights) -> _SparseWeights:
    """The outer product where bins differ in their number of taps: each tap of one long list looks up its row and column."""
    assert rows.used is not None
    assert columns.used is not None
    (r, h, row_taps), (_, w, column_taps) = rows.pixel.shape, columns.pixel.shape
    across = columns.used[:, None].expand(r, h, w).flatten()  # [R * h * w], columns of a bin
    taps = rows.used.flatten().repeat_interleave(w) * across  # [R * h * w]
    start = F.pad(taps.cumsum(0), (1, 0))  # [R * h * w + 1]
    bin = torch.arange(len(taps), device=taps.device).repeat_interleave(taps)  # [N], the bin of a tap
    index = torch.arange(len(bin), device=taps.device) - start[bin]  # [N], of a tap within its bin
    row = bin // w * row_taps + index // across[bin]  # [N], in rows.pixel
    column = (bin // (h * w) * w + bin % w) * column_taps + index % across[bin]  # [N], in columns.pixel
    pixel = rows.pixel.flatten()[row] + columns.pixel.flatten()[column]
    return _SparseWeights(pixel, rows.weight.flatten()[row] * columns.weight.flatten()[column], start.int())


class _SparseProduct(torch.autograd.Function):
    """weights [M, P] @ table [P, C] for sparse weights; its gradient is the product with the transposed weights.

    embedding_bag adds up multiples of rows of a table without storing the multiples, and sums in float32 for a table in half
    precision. To transpose the weights is to sort the taps by pixel, so the backward pass is another embedding_bag, in which
    no two sums write to the same place.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, pixel: Tensor, weight: Tensor, start: Tensor) -> Tensor:
        ctx.save_for_backward(pixel, weight, start)
        ctx.table_length = len(table)
        table = table.detach().contiguous()  # detached: embedding_bag need not prepare a backward pass of its own
        return F.embedding_bag(pixel, table, start, mode="sum", per_sample_weights=weight, include_last_offset=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pixel, weight, start = ctx.saved_tensors
        bins = torch.arange(len(start) - 1, dtype=torch.int32, device=start.device)
        bin = bins.repeat_interleave(start.diff(), output_size=len(pixel))  # [N], the bin of a tap
        pixel, by_pixel = pixel.sort()
        pixels = torch.arange(ctx.table_length + 1, dtype=torch.int32, device=start.device)
        start = torch.searchsorted(pixel, pixels, out_int32=True)  # [P + 1], where the taps of a pixel start
        return _SparseProduct.apply(grads[0], bin[by_pixel], weight[by_pixel], start), None, None, None
