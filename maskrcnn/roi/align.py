"""RoIAlign: a fixed-size feature for a box of any size, without rounding (He et al. 2017, sec. 3 "RoIAlign").

A box is cut into h x w bins, a bin is sampled at a few points, a point is read by bilinear interpolation from its 4
nearest pixels, and the samples of a bin are averaged. Every step is linear, so a bin is a weighted sum of pixels:

    output [R * h * w, C] = weights [R * h * w, P] @ pixels [P, C]

where pixels is a table with one row for each pixel of each image (and each pyramid level), and weights is sparse: 16 numbers
a row for 2 x 2 samples. This file writes down the sparse weights and multiplies. Nothing of size samples x C is ever made.

Glossary: B images, R RoIs, C channels, L pyramid levels, P pixels in the table, h x w bins; S samples along one axis of a
bin; a tap, one (pixel, weight) of one bin; T taps of a bin along one axis; N taps in all.
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

    input: [B, C, H, W]; fastest in torch.channels_last. boxes: [R, 5] as (image, x1, y1, x2, y2), or a list of B tensors
    [R_i, 4], in units that spatial_scale turns into pixels of the input; they get no gradient. output_size: h and w, or one
    number for both. sampling_ratio: samples a bin along each axis; 0 or less: as many as the bin is pixels long, rounded
    up. aligned: the centre of pixel 0 lies at 0.5, as it should; False: at 0, and no box is smaller than one pixel.
    The result's memory is laid out as torch.channels_last. ValueError: shapes that do not agree, an image that is not there.
    """
    if not isinstance(boxes, Tensor):
        if input.dim() == 4 and len(boxes) != len(input):
            raise ValueError(f"a list of boxes needs one tensor for each of {len(input)} images, got {len(boxes)}")
        if any(b.dim() != 2 or b.shape[1] != 4 for b in boxes):
            raise ValueError(f"listed boxes must be [R_i, 4], got {[list(b.shape) for b in boxes]}")
        numbered = [F.pad(b, (1, 0), value=i) for i, b in enumerate(boxes)]  # [R_i, 5]
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
    """RoIAlign from L maps at once, each RoI from the map of its level (Lin et al. 2017, sec. 4.2). Returns [R, C, h, w].

    features: L maps [B, C, H_l, W_l]; boxes: [R, 5] as (image, x1, y1, x2, y2) in image pixels; levels: [R] int64, in
    0..L-1; scales: for each level, its pixels per image pixel, such as 1/4. The rest: see `roi_align`.
    """
    _check(features, boxes, levels, scales)
    height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
    channels, dtype = features[0].shape[1], torch.promote_types(features[0].dtype, torch.float32)
    tables = [level.permute(0, 2, 3, 1).flatten(0, 2).to(dtype) for level in features]  # [B * H_l * W_l, C] each
    pixels = torch.cat(tables) if len(tables) > 1 else tables[0]  # [P, C]

    rows, columns = _taps_along_both_axes(features, boxes.detach().to(dtype), levels, scales, height, width, sampling_ratio, aligned)
    bins = _bins_of_equal_size(rows, columns) if sampling_ratio > 0 else _bins_of_any_size(rows, columns)
    output = _WeightedSums.apply(pixels, bins.pixel, bins.weight, bins.start)  # [R * h * w, C]
    return output.view(len(boxes), height, width, channels).permute(0, 3, 1, 2).to(features[0].dtype)
