"""From proposals to features of fixed size: sampling, pyramid levels, RoIAlign (He et al. 2017, sec. 3 "RoIAlign")."""

from maskrcnn.roi.align import pyramid_roi_align, roi_align
from maskrcnn.roi.pooler import RoIFeatures, RoIPooler, assign_levels
from maskrcnn.roi.sampling import RoIs, RoISampler

__all__ = [
    "RoIFeatures",
    "RoIPooler",
    "RoISampler",
    "RoIs",
    "assign_levels",
    "pyramid_roi_align",
    "roi_align",
]
