"""What RoIAlign is compared with in tables 2c and 2d (He et al. 2017, sec. 4.2): RoIPool, and RoIAlign with the maximum.

Glossary: R RoIs of all images together; C channels; h x w bins.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn.roi.align import pyramid_roi_align


def pyramid_roi_pool(
    features: Sequence[Tensor], boxes: Tensor, levels: Tensor, scales: Sequence[float], output_size: int
) -> Tensor:
    """RoIPool (Girshick 2015, sec. 2.1), each RoI from its own level. Returns [R, C, h, w].

    A box is rounded to whole pixels, the pixel of its lower right corner included, and divided into bins, which are rounded
    outwards; each bin is the maximum of its pixels, 0 if they are all outside of the map. So features may be off by half a
    pixel of the map at each side, which moves a box little and the outline of a mask much. Arguments: see
    `pyramid_roi_align`; boxes get no gradient.
    """
    if len(boxes) == 0:
        return features[0].new_zeros(0, features[0].shape[1], output_size, output_size)
    pooled = []
    for (image, *corners), level in zip(boxes.tolist(), levels.tolist(), strict=True):
        left, top, right, bottom = (
            int(corner * scales[level] + 0.5) for corner in corners
        )  # inside of the image: above 0
        window = _window(features[level][int(image)], left, top, max(right, left) + 1, max(bottom, top) + 1)
        pooled.append(F.adaptive_max_pool2d(window, output_size))  # rounds its bins in the same way
    result = torch.stack(pooled)
    return result.masked_fill(result == -torch.inf, 0)


def _window(feature: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """feature[:, top:bottom, left:right], with -inf where that is outside of the map."""
    height, width = feature.shape[1:]
    inside = feature[:, min(top, height) : bottom, min(left, width) : right]
    return F.pad(inside, (0, right - left - inside.shape[2], 0, bottom - top - inside.shape[1]), value=-torch.inf)


def pyramid_roi_align_max(
    features: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    output_size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """RoIAlign with the maximum of a bin's samples in place of their mean (table 2c). Arguments: see `pyramid_roi_align`;
    sampling_ratio must be 1 or more.

    A bin of n x n samples is n x n bins of one sample, which are at the same points.
    """
    fine = pyramid_roi_align(features, boxes, levels, scales, output_size * sampling_ratio, 1, aligned)
    return F.max_pool2d(fine, sampling_ratio)
