"""RoIAlign (He et al. 2017, sec. 3 "RoIAlign"): cut a fixed number of bins out of a feature map, without rounding.

A bin's value is the mean of a few samples, and a sample is read between four pixels bilinearly. So a bin is a weighted sum
of some rows of the table of all pixels [pixels, C], and RoIAlign is one sparse matrix times that table: which pixels and
with what weights depends on the boxes only, the same for all channels. Pixels of all images and all levels of a pyramid
can stand in one table.

Glossary: R RoIs; C channels; S samples a bin along an axis; a tap is one of the two pixels along an axis that a sample
lies between, so an axis of a bin has 2 S of them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def roi_align(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """The operator with the arguments, meanings and defaults of torchvision.ops.roi_align.

    input [B, C, H, W]; boxes [R, 5] of (image, x1, y1, x2, y2), or a list of [R_i, 4] for each image, times spatial_scale
    in pixels of the map. sampling_ratio: samples along each axis of a bin; 0 or less takes as many as it has pixels.
    aligned: pixel i's centre is at i + 0.5, as everywhere in this project; False is the older reading, off by half a
    pixel, with RoIs of at least one pixel.

    Returns [R, C, h, w] in the channels-last memory format. The gradient goes to input, not to boxes. Raises ValueError
    for other shapes.
    """
    if input.dim() != 4:
        raise ValueError(f"input has shape {list(input.shape)}; expected [B, C, H, W]")
    if not isinstance(boxes, Tensor):
        boxes = _with_image_index(boxes, input)
    levels = torch.zeros(len(boxes), dtype=torch.int64, device=input.device)
    return pyramid_roi_align([input], boxes, levels, [spatial_scale], output_size, sampling_ratio, aligned)


def pyramid_roi_align(
    features: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    output_size: int | tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """`roi_align` from several maps at once: RoI r is read from features[levels[r]].

    features: L maps [B, C, H_l, W_l]; boxes [R, 5] in pixels of the image; levels [R] int64; scales: L factors from the
    image to each map. Returns [R, C, h, w].
    """
    if boxes.dim() != 2 or boxes.shape[1] != 5:
        raise ValueError(f"boxes have shape {list(boxes.shape)}; expected [R, 5] of (image, x1, y1, x2, y2)")
    h, w = (output_size, output_size) if isinstance(output_size, int) else output_size
    dtype = torch.promote_types(features[0].dtype, torch.float32)  # half precision cannot hold a coordinate
    boxes = boxes.detach().to(dtype)
    channels, device = features[0].shape[1], boxes.device
    table = torch.cat([level.permute(0, 2, 3, 1).reshape(-1, channels) for level in features])  # [pixels, C]

    first, heights, widths = _layout(features, device)
    image, first, height, width = boxes[:, 0].long(), first[levels], heights[levels], widths[levels]  # [R] each
    edges = boxes[:, 1:] * torch.tensor(scales, dtype=dtype, device=device)[levels, None] - (0.5 if aligned else 0.0)
    x1, y1, x2, y2 = edges.unbind(1)
    rows = _axis_taps(y1, y2 - y1, height, h, sampling_ratio, aligned)
    columns = _axis_taps(x1, x2 - x1, width, w, sampling_ratio, aligned)
    start = first + image * height * width  # [R], the first pixel of the RoI's map in the table
    rows = rows._replace(pixel=rows.pixel * width[:, None, None] + start[:, None, None])
    pixels, weights, offsets = _dense_bins(rows, columns) if sampling_ratio > 0 else _ragged_bins(rows, columns)
    bins = _WeightedRows.apply(table.to(dtype), pixels, weights, offsets).to(table.dtype)  # [R * h * w, C]
    return bins.view(-1, h, w, channels).permute(0, 3, 1, 2)


class _Taps(NamedTuple):
    """Along one axis: pixel and weight [R, bins, taps]; used [R], how many of the taps are meant, the others weigh 0."""

    pixel: Tensor
    weight: Tensor
    used: Tensor


def _axis_taps(start: Tensor, length: Tensor, size: Tensor, bins: int, sampling_ratio: int, aligned: bool) -> _Taps:
    """The pixels that the bins of each RoI read along one axis. start, length, size (of the map): [R]."""
    if not aligned:
        length = length.clamp(min=1)
    if sampling_ratio > 0:
        samples, most = torch.full_like(size, sampling_ratio), sampling_ratio  # [R]
    else:
        samples = torch.ceil(length / bins).long().clamp(min=0)
        most = int(samples.max()) if len(samples) else 0
    bin_length = (length / bins)[:, None, None]
    bin_index = torch.arange(bins, device=size.device)[:, None]
    sample_index = torch.arange(most, device=size.device)
    share = bin_length / samples.clamp(min=1)[:, None, None]
    position = start[:, None, None] + bin_index * bin_length + (sample_index + 0.5) * share  # [R, bins, S]

    limit = size[:, None, None]
    # A sample up to one pixel outside the map reads its border, one further out reads 0.
    counts = (position >= -1) & (position <= limit) & (sample_index < samples[:, None, None])
    position = torch.minimum(position.clamp(min=0), limit - 1)
    low = position.floor()
    high = torch.minimum(low + 1, limit - 1)
    weight = torch.stack([1 - (position - low), position - low], dim=-1) * counts[..., None]
    weight = weight / samples.clamp(min=1)[:, None, None, None]
    pixel = torch.stack([low, high], dim=-1).long()
    return _Taps(pixel.flatten(2), weight.flatten(2), 2 * samples)


def _dense_bins(rows: _Taps, columns: _Taps) -> tuple[Tensor, Tensor, Tensor]:
    """Every bin has the same number of taps: the outer product of both axes. Returns pixels, weights, offsets of bins."""
    pixel = rows.pixel[:, :, None, :, None] + columns.pixel[:, None, :, None, :]  # [R, h, w, 2S, 2S]
    weight = rows.weight[:, :, None, :, None] * columns.weight[:, None, :, None, :]
    taps = pixel.shape[-1] * pixel.shape[-2]
    return pixel.flatten(), weight.flatten(), torch.arange(0, pixel.numel(), taps, device=pixel.device)


def _ragged_bins(rows: _Taps, columns: _Taps) -> tuple[Tensor, Tensor, Tensor]:
    """The number of taps differs from RoI to RoI, and a large RoI must not make all the others as large."""
    (_, h, most_rows), (_, w, most_columns) = rows.pixel.shape, columns.pixel.shape
    taps = (rows.used * columns.used).repeat_interleave(h * w)  # [R * h * w]
    offsets = taps.cumsum(0) - taps
    bin_index = torch.arange(len(taps), device=taps.device).repeat_interleave(taps)  # [E], E taps in all
    tap = torch.arange(len(bin_index), device=taps.device) - offsets[bin_index]
    roi = bin_index // (h * w)
    used = columns.used[roi]
    row = (bin_index // w) * most_rows + tap // used  # into [R, h, taps] in one row
    column = (roi * w + bin_index % w) * most_columns + tap % used
    pixel = rows.pixel.flatten()[row] + columns.pixel.flatten()[column]
    return pixel, rows.weight.flatten()[row] * columns.weight.flatten()[column], offsets


class _WeightedRows(torch.autograd.Function):
    """bins = matrix @ table, the matrix given by its pixels and weights, bin after bin; offsets say where a bin starts.

    The gradient is the transposed matrix times the bins' gradient: the same operation with the taps sorted by pixel,
    which adds up in order, without the atomic or scattered additions of the usual backward pass.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, pixels: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(pixels, weights, offsets)
        ctx.pixel_count = len(table)
        return F.embedding_bag(pixels, table, offsets, mode="sum", per_sample_weights=weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        pixels, weights, offsets = ctx.saved_tensors
        order = torch.argsort(pixels)
        bin_index = torch.searchsorted(offsets, order, right=True) - 1
        taps = torch.bincount(pixels, minlength=ctx.pixel_count)
        gradient = F.embedding_bag(
            bin_index, gradient.contiguous(), taps.cumsum(0) - taps, mode="sum", per_sample_weights=weights[order]
        )
        return gradient, None, None, None


def _layout(features: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each level, its first pixel in the table, its height and its width: int64 [L] each."""
    first, start = [], 0
    for level in features:
        first.append(start)
        start += level.shape[0] * level.shape[2] * level.shape[3]
    sizes = [first, [level.shape[2] for level in features], [level.shape[3] for level in features]]
    first_pixel, heights, widths = torch.tensor(sizes, device=device).unbind(0)
    return first_pixel, heights, widths


def _with_image_index(boxes: Sequence[Tensor], input: Tensor) -> Tensor:
    if len(boxes) != len(input) or any(b.dim() != 2 or b.shape[1] != 4 for b in boxes):
        shapes = [list(b.shape) for b in boxes]
        raise ValueError(f"boxes have shapes {shapes}; expected [R_i, 4] for each of {len(input)} images")
    image = [b.new_full((len(b), 1), i) for i, b in enumerate(boxes)]
    return torch.cat([torch.cat(image), torch.cat(list(boxes))], dim=1)
