"""What TensorFlow programs pool RoIs with instead of RoIAlign, tf.image.crop_and_resize: one bilinear sample per bin.

Here only for weights that were trained with it, Matterport's among them. Its coordinates differ from RoIAlign's twice. The
centre of the first pixel of a map is the first pixel of the image, that of the last one the last pixel, so a map's pixels
are not a whole stride apart. And the samples of a box reach from its first pixel to its last one, both included, where
RoIAlign's are the centres of equal bins.

Glossary as in align.py; a normalised coordinate is 0 at the centre of an image's first pixel and 1 at that of its last.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from maskrcnn.kernels import AxisWeights, sparse_pool
from maskrcnn.roi.align import map_of_each_roi


def pyramid_crop_and_resize(
    features: Sequence[Tensor], boxes: Tensor, levels: Tensor, scales: Sequence[float], output_size: int
) -> Tensor:
    """`crop_and_resize` of boxes in pixels: [R, C, size, size]. The arguments are those of `align.pyramid_roi_align`.

    The image is that of the batch, padding included: a map's size divided by its scale. A box that ends at x2 has x2 - 1 as
    its last pixel.
    """
    sizes = [
        (round(level.shape[2] / scale), round(level.shape[3] / scale))
        for level, scale in zip(features, scales, strict=True)
    ]
    height, width = boxes.new_tensor(sizes)[levels].unbind(1)  # [R] each, of the image
    last = torch.stack([width, height], dim=1) - 1  # [R, 2]
    normalised = torch.cat([boxes[:, 1:3] / last, (boxes[:, 3:] - 1) / last], dim=1)
    return crop_and_resize(features, torch.cat([boxes[:, :1], normalised], dim=1), levels, output_size)


def crop_and_resize(features: Sequence[Tensor], boxes: Tensor, levels: Tensor, output_size: int) -> Tensor:
    """One sample per bin, each RoI from its own map: [R, C, size, size]; boxes get no gradient.

    features: L maps [B, C, H_l, W_l]; boxes: [R, 5] as (image, x1, y1, x2, y2), normalised; levels: [R] int64, in 0..L-1.
    Sample i of a row is at x1 + i (x2 - x1) / (size - 1), or in the middle if it is the only one; normalised x is at column
    x (W_l - 1). A sample outside of the map is 0.
    """
    channels = features[0].shape[1]
    tables = [level.permute(0, 2, 3, 1).flatten(0, 2) for level in features]  # [B * H_l * W_l, C] each
    height, width, first = map_of_each_roi(features, boxes[:, 0], levels)  # [R] each
    x1, y1, x2, y2 = boxes.detach()[:, 1:].unbind(1)
    rows = _interpolate_axis(y1, y2, height, output_size)
    columns = _interpolate_axis(x1, x2, width, output_size)
    rows = rows._replace(pixel=rows.pixel * width[:, None, None] + first[:, None, None])  # where the row starts
    pooled = sparse_pool(torch.cat(tables), rows, columns)
    return pooled.view(len(boxes), output_size, output_size, channels).permute(0, 3, 1, 2)


def _interpolate_axis(start: Tensor, end: Tensor, size: Tensor, bins: int) -> AxisWeights:
    """The two pixels around each sample along one axis. start, end: [R], normalised; size: [R], pixels of the maps."""
    steps = torch.linspace(0, 1, bins, dtype=start.dtype, device=start.device) if bins > 1 else start.new_tensor([0.5])
    last = (size - 1)[:, None]  # [R, 1]
    position = (start[:, None] + (end - start)[:, None] * steps) * last  # [R, bins]
    inside = (position >= 0) & (position <= last)
    position = position.clamp(min=0).minimum(last).nan_to_num(0)
    low = position.floor()
    fraction = position - low
    pixel = torch.stack([low, (low + 1).minimum(last)], dim=-1).int()  # [R, bins, 2]
    weight = torch.stack([1 - fraction, fraction], dim=-1) * inside[..., None]
    return AxisWeights(pixel, weight)
