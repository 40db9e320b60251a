"""How much D detections overlap the N objects of an image: IoU of boxes and of masks, in float64 as in COCO's code.

Crowds follow COCO's rule: a detection overlaps a crowd by the fraction of its own area that lies inside the crowd.
"""

import numpy as np
from torch import Tensor

from maskrcnn.boxes import area, intersection_and_union, masks_to_boxes


def box_iou(boxes: Tensor, gt_boxes: Tensor, crowd: np.ndarray) -> np.ndarray:
    """IoU [D, N] of boxes [D, 4] and [N, 4]. crowd: bool [N]."""
    intersection, union = intersection_and_union(boxes.cpu().double(), gt_boxes.cpu().double())
    return _overlap(intersection.numpy(), union.numpy(), box_areas(boxes), crowd)


def mask_iou(masks: Tensor, gt_masks: Tensor, crowd: np.ndarray | None = None) -> np.ndarray:
    """IoU [D, N] of predicted masks [D, 1, H, W] (above 0.5 is the object) and true ones [N, H, W]. crowd: bool [N]."""
    crowd = np.zeros(len(gt_masks), bool) if crowd is None else crowd
    intersection = mask_intersections(masks.flatten(0, 1) > 0.5, gt_masks > 0)
    areas = mask_areas(masks, 0.5)
    return _overlap(intersection, areas[:, None] + mask_areas(gt_masks, 0) - intersection, areas, crowd)


def mask_intersections(masks: Tensor, gt_masks: Tensor) -> np.ndarray:
    """The number of shared pixels [D, N] of masks [D, H, W] and [N, H, W], all bool."""
    intersection = np.zeros((len(masks), len(gt_masks)))
    for i, gt in enumerate(gt_masks):
        if gt.any():  # compare inside the box of the true mask only: nothing outside it can overlap
            x1, y1, x2, y2 = masks_to_boxes(gt[None])[0].int().tolist()
            inside = masks[:, y1:y2, x1:x2] & gt[y1:y2, x1:x2]
            intersection[:, i] = inside.sum(dim=(1, 2)).cpu().numpy()
    return intersection


def box_areas(boxes: Tensor) -> np.ndarray:
    """Areas [N] of boxes [N, 4], in square pixels."""
    return np.asarray(area(boxes.cpu().double()).numpy())


def mask_areas(masks: Tensor, level: float) -> np.ndarray:
    """The number of pixels [N] above `level` in masks [N, .., H, W]."""
    return (masks.reshape(len(masks), -1) > level).sum(dim=1).cpu().double().numpy() if len(masks) else np.zeros(0)


def _overlap(intersection: np.ndarray, union: np.ndarray, areas: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU [D, N], or the fraction of the detection inside the crowd; 0 where both objects are empty. areas: [D]."""
    whole = np.where(crowd, areas[:, None], union)
    return np.divide(intersection, whole, out=np.zeros_like(intersection), where=whole > 0)
