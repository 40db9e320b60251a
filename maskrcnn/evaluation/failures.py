"""Every error on an image, sorted by kind: where to look when a metric is low.

Kinds of cells that no detection matches (IoU 0.5):
  split          several detections lie inside the cell and together cover most of it
  merged         one detection covers most of this cell and most of another
  poor outline   a detection overlaps the cell, but too little to match
  missed         none of that (an IoU of up to MIN_IOU does not count as overlap)
Kinds of detections:
  misclassified  matches a cell of another class
  split          lies inside a matched cell, mostly on a part that the matching detection leaves out
  duplicate      lies inside a matched cell, or covers it
  false positive none of that: most of it lies on no cell, or on several
A detection that belongs to a split, merged or poorly outlined cell is not reported again.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn.evaluation.instance_metrics import Matches
from maskrcnn.evaluation.instances import Instances, predicted_regions, scores_of, tensor, true_regions
from maskrcnn.evaluation.iou import region_areas, region_intersections
from maskrcnn.regions import BoolMask, Region

KINDS = ("missed", "false positive", "misclassified", "split", "merged", "duplicate", "poor outline")
MIN_OVERLAP = 0.5  # "most of": a larger fraction of an area than this
MIN_IOU = 0.1  # a detection overlaps a cell if their IoU is larger


class Failure(NamedTuple):
    """One error. The indices count cells and detections of the image; None: no cell, or no detection, is involved."""

    kind: str  # one of KINDS
    gt_index: int | None
    pred_index: int | None
    box: tuple[float, float, float, float]  # of the unmatched or misclassified cell, else of the detection


class _Overlaps(NamedTuple):
    """Masks of one image's detections and cells, and how much each detection overlaps each cell."""

    regions: list[Region | None]  # D
    gt_regions: list[Region | None]  # N
    of_pred: NDArray[np.float64]  # [D, N]: fraction of the detection inside the cell
    of_gt: NDArray[np.float64]  # [D, N]: fraction of the cell covered by the detection
    iou: NDArray[np.float64]  # [D, N]

    @classmethod
    def of_regions(cls, regions: list[Region | None], gt_regions: list[Region | None]) -> "_Overlaps":
        shared = region_intersections(regions, gt_regions)
        pred_area, gt_area = region_areas(regions)[:, None], region_areas(gt_regions)[None, :]
        fractions = [
            np.divide(shared, area, out=np.zeros_like(shared), where=area > 0)
            for area in (pred_area, gt_area, pred_area + gt_area - shared)
        ]
        return cls(regions, gt_regions, *fractions)

    def covered(self, gt_index: int, pred_indices: list[int]) -> float:
        """The fraction of the cell that the detections cover together."""
        whole = self.gt_regions[gt_index]
        parts = [self._part(pred_index, gt_index) for pred_index in pred_indices]
        return float(np.any(parts, axis=0).sum() / whole.mask.sum()) if whole else 0.0

    def leaves_out(self, matched: int, pred_index: int, gt_index: int) -> bool:
        """Whether the matched detection leaves out most of what another one covers of the cell."""
        part = self._part(pred_index, gt_index)
        shared = part & self._part(matched, gt_index)
        return float(shared.sum()) < (1 - MIN_OVERLAP) * float(part.sum())

    def _part(self, pred_index: int, gt_index: int) -> BoolMask:
        """What the detection covers of the cell, within the box of the cell."""
        region, cell = self.regions[pred_index], self.gt_regions[gt_index]
        if cell is None:
            return np.zeros((0, 0), bool)
        x1, y1, x2, y2 = cell.box
        covered = np.zeros_like(cell.mask)
        if inside := region and region.within(y1, x1, y2, x2):
            covered[inside.moved(-y1, -x1).slices] = inside.mask
        return covered & cell.mask


def find_failures(
    prediction: Instances, target: Instances, matches: Matches, score_threshold: float = 0.5
) -> list[Failure]:
    """All failures of one image, in the order of KINDS.

    prediction, target: see `instances`; matches: what `match_instances` returns of them for the same score_threshold.
    """
    keep = scores_of(prediction) >= score_threshold
    regions = [region for region, kept in zip(predicted_regions(prediction), keep, strict=True) if kept]
    overlaps = _Overlaps.of_regions(regions, true_regions(target))
    boxes, gt_boxes = tensor(prediction, "boxes")[keep].tolist(), tensor(target, "boxes").tolist()
    gt_of_pred = dict(zip(matches.pred_indices.tolist(), matches.gt_indices.tolist(), strict=True))
    failures = [
        Failure("misclassified", gt_index, pred_index, tuple(gt_boxes[gt_index]))
        for pred_index, gt_index in gt_of_pred.items()
        if matches.pred_labels[pred_index] != matches.gt_labels[gt_index]
    ]
    unmatched = [d for d in range(len(boxes)) if d not in gt_of_pred]
    explained: set[int] = set()
    for gt_index in sorted(set(range(len(gt_boxes))) - set(gt_of_pred.values())):
        kind, involved = _unmatched_cell(gt_index, unmatched, overlaps)
        explained.update(involved)
        failures.append(Failure(kind, gt_index, involved[0] if involved else None, tuple(gt_boxes[gt_index])))
    for pred_index in unmatched:
        if pred_index not in explained:
            kind, near = _unmatched_detection(pred_index, gt_of_pred, overlaps)
            failures.append(Failure(kind, near, pred_index, tuple(boxes[pred_index])))
    return sorted(failures, key=lambda failure: KINDS.index(failure.kind))


def _unmatched_cell(gt_index: int, unmatched: list[int], overlaps: _Overlaps) -> tuple[str, list[int]]:
    """The kind of failure, and the detections that are involved, the one that shows it best first.

    unmatched: the detections that match no cell.
    """
    inside = [d for d in unmatched if overlaps.of_pred[d, gt_index] > MIN_OVERLAP]
    if len(inside) > 1 and overlaps.covered(gt_index, inside) > MIN_OVERLAP:
        return "split", inside
    covering = [d for d in range(len(overlaps.iou)) if overlaps.of_gt[d, gt_index] > MIN_OVERLAP]
    covering_several = [d for d in covering if (overlaps.of_gt[d] > MIN_OVERLAP).sum() > 1]
    overlapping = [d for d in unmatched if d in inside or overlaps.iou[d, gt_index] > MIN_IOU]
    if covering_several:
        return "merged", [*covering_several, *overlapping]
    return ("poor outline", overlapping) if overlapping else ("missed", [])


def _unmatched_detection(pred_index: int, gt_of_pred: Mapping[int, int], overlaps: _Overlaps) -> tuple[str, int | None]:
    """The kind of failure, and the matched cell that the detection overlaps, if any.

    gt_of_pred: the cell of each detection that matches one.
    """
    for matched, gt_index in gt_of_pred.items():
        of_pred, of_gt = overlaps.of_pred[pred_index, gt_index], overlaps.of_gt[pred_index, gt_index]
        if of_pred > MIN_OVERLAP and overlaps.leaves_out(matched, pred_index, gt_index):
            return "split", gt_index
        if max(of_pred, of_gt) > MIN_OVERLAP:
            return "duplicate", gt_index
    return "false positive", None
