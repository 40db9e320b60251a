"""How far D detections overlap N objects of an image: intersection over union of boxes and masks, in float64 as COCO's."""

import numpy as np
from torch import Tensor


def box_iou(boxes: Tensor, gt_boxes: Tensor, crowd: np.ndarray) -> np.ndarray:
    """[D, 4] and [N, 4] -> IoU [D, N]; with a crowd, the share of the detection in it."""
    a, b = (x.cpu().double().numpy() for x in (boxes, gt_boxes))
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    area, gt_area = ((x[:, 2:] - x[:, :2]).prod(axis=1) for x in (a, b))
    return _iou((high - low).clip(min=0).prod(axis=2), area, gt_area, crowd)


def mask_iou(masks: Tensor, gt_masks: Tensor, crowd: np.ndarray | None = None) -> np.ndarray:
    """[D, 1, H, W] (above 0.5 is the object) and [N, H, W] -> IoU [D, N]; with a crowd, the share of the detection in it."""
    crowd = np.zeros(len(gt_masks), bool) if crowd is None else crowd
    both = mask_intersections(masks.flatten(0, 1) > 0.5, gt_masks > 0)
    return _iou(both, mask_areas(masks, 0.5), mask_areas(gt_masks, 0), crowd)


def mask_intersections(masks: Tensor, gt_masks: Tensor) -> np.ndarray:
    """bool [D, H, W] and [N, H, W] -> pixels that both have [D, N]."""
    intersection = np.zeros((len(masks), len(gt_masks)))
    for i, gt in enumerate(gt_masks):  # each object is compared inside its own box only: the rest cannot overlap it
        if gt.any():
            rows, columns = _extent(gt.any(dim=1)), _extent(gt.any(dim=0))
            intersection[:, i] = (masks[:, rows, columns] & gt[rows, columns]).sum(dim=(1, 2)).cpu().numpy()
    return intersection


def box_areas(boxes: Tensor) -> np.ndarray:
    """[N, 4] -> [N]."""
    sides = (boxes[:, 2:] - boxes[:, :2]).cpu().double().numpy()
    return np.asarray(sides.prod(axis=1))


def mask_areas(masks: Tensor, level: float) -> np.ndarray:
    """[N, .., H, W] -> [N], the pixels above `level`."""
    return (masks.reshape(len(masks), -1) > level).sum(dim=1).cpu().double().numpy() if len(masks) else np.zeros(0)


def _iou(intersection: np.ndarray, area: np.ndarray, gt_area: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU [D, N]; with a crowd, the share of the detection that lies in it."""
    union = np.where(crowd, area[:, None], area[:, None] + gt_area - intersection)
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def _extent(line: Tensor) -> slice:
    """From the first to the last True of bool [N]."""
    true = line.nonzero()
    return slice(int(true[0]), int(true[-1]) + 1)
