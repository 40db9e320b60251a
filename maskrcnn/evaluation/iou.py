"""How much D detections overlap the N objects of an image: IoU of boxes and of masks, in float64 as in COCO's code.

Crowds follow COCO's rule: a detection overlaps a crowd by the fraction of its own area that lies inside the crowd.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from maskrcnn.boxes import area, intersection_and_union
from maskrcnn.evaluation.instances import regions_of_masks
from maskrcnn.regions import Region, intersection


def box_iou(boxes: Tensor, gt_boxes: Tensor, crowd: np.ndarray) -> np.ndarray:
    """IoU [D, N] of boxes [D, 4] and [N, 4]. crowd: bool [N]."""
    shared, union = intersection_and_union(boxes.cpu().double(), gt_boxes.cpu().double())
    return _overlap(shared.numpy(), union.numpy(), box_areas(boxes), crowd)


def mask_iou(masks: Tensor, gt_masks: Tensor, crowd: np.ndarray | None = None) -> np.ndarray:
    """IoU [D, N] of predicted masks [D, 1, H, W] (above 0.5 is the object) and true ones [N, H, W]. crowd: bool [N]."""
    return region_iou(regions_of_masks(masks[:, 0], 0.5), regions_of_masks(gt_masks, 0), crowd)


def region_iou(
    regions: Sequence[Region | None], gt_regions: Sequence[Region | None], crowd: np.ndarray | None = None
) -> np.ndarray:
    """IoU [D, N] of masks cut to their boxes; None is an empty one. crowd: bool [N]."""
    crowd = np.zeros(len(gt_regions), bool) if crowd is None else crowd
    shared, areas = region_intersections(regions, gt_regions), region_areas(regions)
    return _overlap(shared, areas[:, None] + region_areas(gt_regions) - shared, areas, crowd)


def region_intersections(regions: Sequence[Region | None], gt_regions: Sequence[Region | None]) -> np.ndarray:
    """The number of shared pixels [D, N]."""
    x1, y1, x2, y2 = _boxes(regions)[..., None]  # [D, 1] each
    gt_x1, gt_y1, gt_x2, gt_y2 = _boxes(gt_regions)  # [N] each
    shared = np.zeros((len(regions), len(gt_regions)))
    # Pixels are compared only where the boxes overlap: of thousands of cells few do.
    near = (x1 < gt_x2) & (gt_x1 < x2) & (y1 < gt_y2) & (gt_y1 < y2)
    for d, n in np.argwhere(near).tolist():
        a, b = regions[d], gt_regions[n]
        shared[d, n] = intersection(a, b) if a and b else 0
    return shared


def region_areas(regions: Sequence[Region | None]) -> np.ndarray:
    """The number of pixels [N] of each."""
    return np.array([region.mask.sum() if region else 0 for region in regions], np.float64)


def box_areas(boxes: Tensor) -> np.ndarray:
    """Areas [N] of boxes [N, 4], in square pixels."""
    return np.asarray(area(boxes.cpu().double()).numpy())


def _boxes(regions: Sequence[Region | None]) -> np.ndarray:
    """[4, N]: x1, y1, x2, y2 of each; all 0 without a pixel."""
    return np.array([region.box if region else (0, 0, 0, 0) for region in regions], np.int64).reshape(-1, 4).T


def _overlap(shared: np.ndarray, union: np.ndarray, areas: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU [D, N], or the fraction of the detection inside the crowd; 0 where both objects are empty. areas: [D]."""
    whole = np.where(crowd, areas[:, None], union)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
