"""RoIAlign: a feature of fixed size for a box of any size, without rounding (He et al. 2017, sec. 3 "RoIAlign").

A box is cut into h x w bins, a bin is sampled at a few points, a point is read by bilinear interpolation from its 4
nearest pixels, and the samples of a bin are averaged. Every step is linear, so a bin is a weighted sum of pixels:

    output [R * h * w, C] = weights [R * h * w, P] @ table [P, C]

where the table has one row for each pixel of each image and each pyramid level, and the weights are sparse: 16 of them
for a bin of 2 x 2 samples. This file writes the weights down and multiplies; nothing of size samples x C is ever made.

Glossary: B images, R RoIs, C channels, L pyramid levels, P pixels in the table, h x w bins; S samples along one axis of
a bin; a tap, one (pixel, weight) of a bin; T taps along one axis of a bin; N taps of all bins.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def roi_align(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """RoIAlign with the arguments of torchvision.ops.roi_align. Returns [R, C, h, w] in the dtype of the input.

    input: [B, C, H, W]; fastest in torch.channels_last. boxes: [R, 5] as (image, x1, y1, x2, y2), or a list of B
    tensors [R_i, 4]; spatial_scale turns their units into pixels of the input; they get no gradient. output_size:
    (h, w), or one number for both. sampling_ratio: samples along each axis of a bin; 0 or less: as many as the bin is
    pixels long, rounded up. aligned: True, the centre of pixel i lies at i + 0.5; False, as in old checkpoints, it lies
    at i, and no box is shorter than a pixel. The result is laid out in memory as torch.channels_last.
    ValueError: shapes that do not agree, or a box of an image that is not there (looked for on a CPU only).
    """
    if not isinstance(boxes, Tensor):
        if len(boxes) != len(input):
            raise ValueError(f"a list of boxes needs one tensor for each of {len(input)} images, got {len(boxes)}")
        if any(b.dim() != 2 or b.shape[1] != 4 for b in boxes):
            raise ValueError(f"boxes in a list must be [R_i, 4], got {[list(b.shape) for b in boxes]}")
        numbered = [F.pad(b, (1, 0), value=i) for i, b in enumerate(boxes)]  # [R_i, 5] each
        boxes = torch.cat(numbered) if numbered else input.new_zeros(0, 5)
    levels = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    return pyramid_roi_align([input], boxes, levels, [spatial_scale], output_size, sampling_ratio, aligned)


def pyramid_roi_align(
    features: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    output_size: int | Sequence[int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """RoIAlign from L maps at once, each RoI from its own level (Lin et al. 2017, sec. 4.2). Returns [R, C, h, w].

    features: L maps [B, C, H_l, W_l]; boxes: [R, 5] as (image, x1, y1, x2, y2) in image pixels; levels: [R] int64, in
    0..L-1; scales: for each level, how many of its pixels an image pixel is, such as 1/4. The rest: see `roi_align`.
    """
    _check(features, boxes, levels, scales)
    h, w = (output_size, output_size) if isinstance(output_size, int) else output_size
    if min(h, w) < 1:
        raise ValueError(f"output_size must be 1 or more, got {output_size}")
    channels, dtype = features[0].shape[1], features[0].dtype
    exact = torch.promote_types(dtype, torch.float32)  # positions need more than half precision
    tables = [level.permute(0, 2, 3, 1).flatten(0, 2) for level in features]  # [B * H_l * W_l, C] each
    table = torch.cat(tables) if len(tables) > 1 else tables[0]  # [P, C]

    # On the grid of its level a box has the coordinates in which a whole number is the centre of a pixel.
    scale = torch.tensor(scales, dtype=exact).to(boxes.device, non_blocking=True)[levels, None]  # [R, 1]
    corners = boxes.detach()[:, 1:].to(exact) * scale - (0.5 if aligned else 0.0)  # [R, 4]
    length = corners[:, 2:] - corners[:, :2]  # [R, 2]
    length = length if aligned else length.clamp(min=1)

    height, width, first = _places(features, boxes[:, 0], levels)  # [R] each
    samples = sampling_ratio if sampling_ratio > 0 else None if len(boxes) > 0 else 1
    rows = _taps(corners[:, 1], length[:, 1], height, h, samples)
    columns = _taps(corners[:, 0], length[:, 0], width, w, samples)
    rows = rows._replace(pixel=rows.pixel * width[:, None, None] + first[:, None, None])  # where the row starts
    weights = _ragged_outer(rows, columns) if samples is None else _outer(rows, columns)
    output = _SparseProduct.apply(table, weights.pixel, weights.weight.to(dtype), weights.start)  # [R * h * w, C]
    return output.view(len(boxes), h, w, channels).permute(0, 3, 1, 2)


class _Taps(NamedTuple):
    """The weights of the bins along one axis: which row or column of pixels, and how much of it."""

    pixel: Tensor  # [R, bins, T] int32, its number along the axis
    weight: Tensor  # [R, bins, T]
    used: Tensor | None = None  # [R, bins]: how many of the T a bin uses; None: all


class _SparseWeights(NamedTuple):
    """The weights of all bins, bin after bin (compressed sparse rows)."""

    pixel: Tensor  # [N] int32, the row of the table
    weight: Tensor  # [N]
    start: Tensor  # [R * h * w + 1] int32, where the taps of a bin start; the last is N


def _places(features: Sequence[Tensor], image: Tensor, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each RoI, height and width of its map, and the row of the table where the map starts: int32 [R] each."""
    sizes, start = [], 0
    for level in features:
        sizes.append((level.shape[2], level.shape[3], start))
        start += level[:, 0].numel()
    # Made on the CPU and sent: a GPU that is handed a list of numbers is waited for.
    per_level = torch.tensor(sizes, dtype=torch.int32).to(levels.device, non_blocking=True)  # [L, 3]
    height, width, first = per_level[levels].unbind(1)
    return height, width, first + image.int() * height * width


def _taps(start: Tensor, length: Tensor, size: Tensor, bins: int, samples: int | None) -> _Taps:
    """Sampling and linear interpolation along one axis. start, length: [R], of the RoIs; size: [R], pixels in the map.

    samples: along each bin, the same for all RoIs; None: as many as the bin is long, which differs from RoI to RoI.
    """
    bin_length = length[:, None] / bins  # [R, 1]
    if samples is None:
        n = bin_length.ceil().nan_to_num(0, 0, 0).clamp(min=0)  # [R, 1], 0 for a box turned inside out
        most = max(1, int(n.max()))
    else:
        n, most = torch.full_like(bin_length, samples), samples
    number = torch.arange(most, device=start.device)  # [S]
    share = (number < n) / n.clamp(min=1)  # [R, S], of a sample in the mean of its bin
    number = torch.minimum(number, (n - 1).clamp(min=0))  # [R, S]; a sample that the bin does not have repeats its last
    bin_start = start[:, None] + torch.arange(bins, device=start.device) * bin_length  # [R, bins]
    position = bin_start[:, :, None] + ((number + 0.5) * bin_length / n.clamp(min=1))[:, None]  # [R, bins, S]

    size = size[:, None, None]
    inside = (position >= -1) & (position <= size)  # farther out a sample is 0; up to there it is the edge's pixel
    position = position.clamp(min=0).minimum(size - 1).nan_to_num(0)
    low = position.floor()
    fraction = position - low
    pixel = torch.stack([low, (low + 1).minimum(size - 1)], dim=-1).flatten(2).int()  # [R, bins, T = 2 S]
    weight = torch.stack([1 - fraction, fraction], dim=-1) * (inside * share[:, None])[..., None]  # [R, bins, S, 2]
    return _merged(pixel, weight.flatten(2)) if samples is None else _Taps(pixel, weight.flatten(2))


def _merged(pixel: Tensor, weight: Tensor) -> _Taps:
    """The same weights with every pixel named once: of many samples that lie close, most share their pixels."""
    first = pixel[:, :, :1]
    used = pixel[:, :, -1:] - first + 1  # [R, bins, 1]; samples rise, so their pixels lie from the first to the last
    number = torch.arange(int(used.max()), dtype=torch.int32, device=pixel.device)  # [T]
    merged = weight.new_zeros(*pixel.shape[:2], len(number)).scatter_add_(2, (pixel - first).long(), weight)
    return _Taps(first + number, merged, used[:, :, 0])


def _outer(rows: _Taps, columns: _Taps) -> _SparseWeights:
    """Bilinear is linear in y times linear in x: the weights of a bin are the outer product of those of its axes."""
    pixel = rows.pixel[:, :, None, :, None] + columns.pixel[:, None, :, None, :]  # [R, h, w, T, T]
    weight = rows.weight[:, :, None, :, None] * columns.weight[:, None, :, None, :]
    taps = pixel.shape[3] * pixel.shape[4]
    start = torch.arange(pixel[..., 0, 0].numel() + 1, dtype=torch.int32, device=pixel.device) * taps
    return _SparseWeights(pixel.flatten(), weight.flatten(), start)


def _ragged_outer(rows: _Taps, columns: _Taps) -> _SparseWeights:
    """The same where each bin has its own number of rows and columns: each tap of one long list looks up its two."""
    assert rows.used is not None
    assert columns.used is not None
    (r, h, row_taps), (_, w, column_taps) = rows.pixel.shape, columns.pixel.shape
    across = columns.used[:, None].expand(r, h, w).flatten()  # [R * h * w], columns of a bin
    taps = rows.used.flatten().repeat_interleave(w) * across  # [R * h * w]
    start = F.pad(taps.cumsum(0), (1, 0))  # [R * h * w + 1]
    bin = torch.arange(len(taps), device=taps.device).repeat_interleave(taps)  # [N], that a tap belongs to
    number = torch.arange(len(bin), device=taps.device) - start[bin]  # [N], of a tap in its bin
    row = bin // w * row_taps + number // across[bin]  # [N], in rows.pixel
    column = (bin // (h * w) * w + bin % w) * column_taps + number % across[bin]  # [N], in columns.pixel
    pixel = rows.pixel.flatten()[row] + columns.pixel.flatten()[column]
    return _SparseWeights(pixel, rows.weight.flatten()[row] * columns.weight.flatten()[column], start.int())


class _SparseProduct(torch.autograd.Function):
    """weights [M, P] @ table [P, C] for sparse weights; its gradient is the product with the transposed weights.

    embedding_bag adds up multiples of rows of a table without storing the multiples, in float32 for a table in half
    precision. To transpose the weights is to sort the taps by pixel, so the backward is one more embedding_bag, in which
    no two sums meet in one place.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, pixel: Tensor, weight: Tensor, start: Tensor) -> Tensor:
        ctx.save_for_backward(pixel, weight, start)
        ctx.table_length = len(table)
        table = table.detach().contiguous()  # detached, embedding_bag keeps no notes for a backward of its own
        return F.embedding_bag(pixel, table, start, mode="sum", per_sample_weights=weight, include_last_offset=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pixel, weight, start = ctx.saved_tensors
        bins = torch.arange(len(start) - 1, dtype=torch.int32, device=start.device)
        bin = bins.repeat_interleave(start.diff(), output_size=len(pixel))  # [N], that a tap belongs to
        pixel, by_pixel = pixel.sort()
        pixels = torch.arange(ctx.table_length + 1, dtype=torch.int32, device=start.device)
        start = torch.searchsorted(pixel, pixels, out_int32=True)  # [P + 1], where the taps of a pixel start
        return _SparseProduct.apply(grads[0], bin[by_pixel], weight[by_pixel], start), None, None, None


def _check(features: Sequence[Tensor], boxes: Tensor, levels: Tensor, scales: Sequence[float]) -> None:
    if len(features) == 0 or len(features) != len(scales):
        raise ValueError(f"one scale is needed for each map, got {len(features)} maps and {len(scales)} scales")
    if any(level.dim() != 4 or level.shape[:2] != features[0].shape[:2] for level in features):
        raise ValueError(f"features must be [B, C, H, W], got {[list(level.shape) for level in features]}")
    if boxes.dim() != 2 or boxes.shape[1] != 5:
        raise ValueError(f"boxes must be [R, 5] or a list of [R_i, 4], got {list(boxes.shape)}")
    if levels.shape != boxes.shape[:1]:
        raise ValueError(f"one level is needed for each of {len(boxes)} boxes, got {list(levels.shape)}")
    if len(boxes) > 0 and not boxes.is_cuda:  # a look at values on a GPU would wait for it
        for name, index, count in (("image", boxes[:, 0], len(features[0])), ("level", levels, len(features))):
            if not 0 <= int(index.min()) <= int(index.max()) < count:
                raise ValueError(f"the {name} of a box must lie in 0..{count - 1}, got {index.tolist()}")
