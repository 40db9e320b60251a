"""RoIAlign: a feature of fixed size for a box of any size, without rounding (He et al. 2017, sec. 3 "RoIAlign").

A box is divided into h x w bins, each bin is sampled at a few points, each point is read by bilinear interpolation from its
4 nearest pixels, and the samples of a bin are averaged. The box is never rounded to whole pixels.

Bilinear interpolation is linear along y times linear along x. So this file computes, for each axis separately, where the
samples are and the weight of each row or column of pixels in a bin; kernels/sparse_pooling.py adds the pixels up.

Glossary: B images, R RoIs, C channels, L pyramid levels, P pixels of all maps, h x w bins; S samples along one axis of a
bin; T = 2 S (pixel, weight) pairs along one axis of a bin.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn.kernels import AxisWeights, merge_taps, sparse_pool


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
    tensors [R_i, 4]; spatial_scale converts their units to pixels of the input; they get no gradient. output_size: (h, w),
    or one number for both. sampling_ratio: samples along each axis of a bin; 0 or less: as many as the bin is pixels long,
    rounded up. aligned: True, the centre of pixel i is at i + 0.5; False, as in old checkpoints, it is at i, and no box is
    shorter than a pixel. The result's memory format is torch.channels_last.
    ValueError: shapes that do not agree, or a box of an image that does not exist (checked on a CPU only).
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
    0..L-1; scales: pixels of a level per image pixel, such as 1/4. The rest: see `roi_align`.
    """
    _check(features, boxes, levels, scales)
    h, w = (output_size, output_size) if isinstance(output_size, int) else output_size
    if min(h, w) < 1:
        raise ValueError(f"output_size must be 1 or more, got {output_size}")
    channels, dtype = features[0].shape[1], features[0].dtype
    exact = torch.promote_types(dtype, torch.float32)  # positions need more than half precision
    tables = [level.permute(0, 2, 3, 1).flatten(0, 2) for level in features]  # [B * H_l * W_l, C] each
    table = torch.cat(tables) if len(tables) > 1 else tables[0]  # [P, C]

    # In the coordinates of its level, in which whole numbers are the centres of pixels.
    scale = torch.tensor(scales, dtype=exact).to(boxes.device, non_blocking=True)[levels, None]  # [R, 1]
    corners = boxes.detach()[:, 1:].to(exact) * scale - (0.5 if aligned else 0.0)  # [R, 4]
    length = corners[:, 2:] - corners[:, :2]  # [R, 2]
    length = length if aligned else length.clamp(min=1)

    height, width, first = map_of_each_roi(features, boxes[:, 0], levels)  # [R] each
    samples = sampling_ratio if sampling_ratio > 0 else None
    if len(boxes) == 0:
        samples = 1  # without boxes there is no longest bin
    rows = _interpolate_axis(corners[:, 1], length[:, 1], height, h, samples)
    columns = _interpolate_axis(corners[:, 0], length[:, 0], width, w, samples)
    rows = rows._replace(pixel=rows.pixel * width[:, None, None] + first[:, None, None])  # where the row starts
    return sparse_pool(table, rows, columns).view(len(boxes), h, w, channels).permute(0, 3, 1, 2)


def map_of_each_roi(features: Sequence[Tensor], image: Tensor, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each RoI the height and width of its map, and the row of the table at which the map starts: int32 [R] each."""
    sizes, start = [], 0
    for level in features:
        sizes.append((level.shape[2], level.shape[3], start))
        start += level[:, 0].numel()
    # Built on the CPU and then sent: building it on the GPU from numbers would synchronise.
    per_level = torch.tensor(sizes, dtype=torch.int32).to(levels.device, non_blocking=True)  # [L, 3]
    height, width, first = per_level[levels].unbind(1)
    return height, width, first + image.int() * height * width


def _interpolate_axis(start: Tensor, length: Tensor, size: Tensor, bins: int, samples: int | None) -> AxisWeights:
    """Sampling points and linear interpolation along one axis.

    start, length: [R], of the RoIs; size: [R], pixels of their maps. samples: per bin, the same for all RoIs; None: as many
    as the bin is long, which differs from RoI to RoI.
    """
    bin_length = length[:, None] / bins  # [R, 1]
    if samples is None:
        n = bin_length.ceil().nan_to_num(0, 0, 0).clamp(min=0)  # [R, 1]; 0 for a box of negative length
        most = max(1, int(n.max()))
    else:
        n, most = torch.full_like(bin_length, samples), samples
    index = torch.arange(most, device=start.device)  # [S]
    fraction_of_bin = (index < n) / n.clamp(min=1)  # [R, S], a sample's part in the mean of its bin
    index = torch.minimum(index, (n - 1).clamp(min=0))  # [R, S]; repeats the last sample where a bin has fewer than S
    bin_start = start[:, None] + torch.arange(bins, device=start.device) * bin_length  # [R, bins]
    position = bin_start[:, :, None] + ((index + 0.5) * bin_length / n.clamp(min=1))[:, None]  # [R, bins, S]

    size = size[:, None, None]
    inside = (position >= -1) & (position <= size)  # up to a pixel outside reads the border's pixel; farther out is 0
    position = position.clamp(min=0).minimum(size - 1).nan_to_num(0)
    low = position.floor()
    fraction = position - low
    pixel = torch.stack([low, (low + 1).minimum(size - 1)], dim=-1).flatten(2).int()  # [R, bins, T = 2 S]
    weight = torch.stack([1 - fraction, fraction], dim=-1) * (inside * fraction_of_bin[:, None])[..., None]
    weight = weight.flatten(2)  # [R, bins, S, 2] -> [R, bins, T]
    return merge_taps(pixel, weight) if samples is None else AxisWeights(pixel, weight)


def _check(features: Sequence[Tensor], boxes: Tensor, levels: Tensor, scales: Sequence[float]) -> None:
    if len(features) == 0 or len(features) != len(scales):
        raise ValueError(f"one scale is needed for each map, got {len(features)} maps and {len(scales)} scales")
    if any(level.dim() != 4 or level.shape[:2] != features[0].shape[:2] for level in features):
        raise ValueError(f"features must be [B, C, H, W], got {[list(level.shape) for level in features]}")
    if boxes.dim() != 2 or boxes.shape[1] != 5:
        raise ValueError(f"boxes must be [R, 5] or a list of [R_i, 4], got {list(boxes.shape)}")
    if levels.shape != boxes.shape[:1]:
        raise ValueError(f"one level is needed for each of {len(boxes)} boxes, got {list(levels.shape)}")
    if len(boxes) > 0 and not boxes.is_cuda:  # reading values from a GPU would synchronise
        for name, index, count in (("image", boxes[:, 0], len(features[0])), ("level", levels, len(features))):
            if not 0 <= int(index.min()) <= int(index.max()) < count:
                raise ValueError(f"the {name} of a box must be in 0..{count - 1}, got {index.tolist()}")
