"""Which level of the pyramid an RoI is pooled from (Lin et al. 2017, eq. 1), and pooling from all levels at once.

Glossary: R RoIs of all images together; L levels that RoIs are pooled from (P2 to P5).
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn import boxes as box_algebra
from maskrcnn.describe import described
from maskrcnn.roi.align import pyramid_roi_align
from maskrcnn.roi.crop_and_resize import pyramid_crop_and_resize
from maskrcnn.roi.pool import pyramid_roi_align_max, pyramid_roi_pool

# Config.roi_pooling -> what pools, with the arguments of `pyramid_roi_align`.
POOLINGS: dict[str, Callable[..., Tensor]] = {
    "align": pyramid_roi_align,
    "align_max": pyramid_roi_align_max,
    "pool": lambda *arguments: pyramid_roi_pool(*arguments[:5]),
    "crop_and_resize": lambda *arguments: pyramid_crop_and_resize(*arguments[:5]),  # no sampling_ratio, no aligned
}


@described
class RoIFeatures(NamedTuple):
    """Image after image: roi_features [R, C, size, size]; levels [R], which map each was pooled from, 0 the finest."""

    roi_features: Tensor
    levels: Tensor


def assign_levels(
    boxes: Tensor, min_level: int, max_level: int, canonical_box_size: float, canonical_level: int = 4
) -> Tensor:
    """k = floor(k0 + log2(sqrt(w h) / 224)), clamped to min_level..max_level. boxes [R, 4] -> int64 [R].

    canonical_box_size: side in pixels of the box that is pooled from level `canonical_level` (224 from P4).
    """
    side = box_algebra.area(boxes).clamp(min=0).sqrt()
    # 1e-6 keeps a side of exactly 224 on its level despite rounding. log2(0) is -inf, which clamp turns into min_level.
    level = torch.floor(canonical_level + torch.log2(side / canonical_box_size) + 1e-6)
    return level.clamp(min_level, max_level).long()


class RoIPooler:
    """Pools a feature of fixed size for every RoI from the pyramid.

    aligned and sampling_ratio: see `roi_align`; canonical_box_size: see `assign_levels`. pooling: a key of POOLINGS, else
    ValueError.
    """

    def __init__(self, aligned: bool, sampling_ratio: int, canonical_box_size: float, pooling: str = "align") -> None:
        if pooling not in POOLINGS:
            raise ValueError(f"roi_pooling {pooling!r} is not known; choose {' or '.join(POOLINGS)}")
        self.aligned = aligned
        self.sampling_ratio = sampling_ratio
        self.pooling = pooling
        self.canonical_box_size = canonical_box_size

    def __call__(
        self, maps: Sequence[Tensor], strides: Sequence[int], boxes: list[Tensor], output_size: int
    ) -> RoIFeatures:
        """maps: L levels [B, C, H_l, W_l], finest first, with their strides in pixels; boxes: [R_i, 4] for each image."""
        first, last = (int(math.log2(stride)) for stride in (strides[0], strides[-1]))  # P2 has stride 2^2
        rois = box_algebra.with_batch_index(boxes)  # [R, 5]
        levels = assign_levels(rois[:, 1:], first, last, self.canonical_box_size) - first  # [R], 0 is the finest
        scales = [1 / stride for stride in strides]
        pool = POOLINGS[self.pooling]
        roi_features = pool(maps, rois, levels, scales, output_size, self.sampling_ratio, self.aligned)
        return RoIFeatures(roi_features, levels)
