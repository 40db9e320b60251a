"""Every error of a detector on an image, by kind: what to look at when a number is not as good as it should be.

Of the cells that no detection matches (IoU 0.5):
  split         several detections lie in it, and together they cover most of it
  merged        one detection covers most of it and most of another cell
  poor outline  a detection lies on it, but not well enough
  missed        nothing lies on it
Of the detections:
  wrong class   matches a cell of another class
  split         lies in a cell that another detection matches, but beside that one: a piece that was cut off
  duplicate     lies in a cell that another detection matches, or around it
  nothing there most of it lies on no cell
A detection that is part of a split, a merger or a poor outline is not counted again.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn.evaluation.cells import Pairs
from maskrcnn.evaluation.overlaps import mask_areas, mask_intersections

KINDS = ("missed", "nothing there", "wrong class", "split", "merged", "duplicate", "poor outline")
MOST = 0.5  # of an area
TOUCH = 0.1  # IoU from which a detection has to do with a cell


class Failure(NamedTuple):
    """kind of KINDS; cell and detection: indices into the image's, None where there is none; box: where to look."""

    kind: str
    cell: int | None
    detection: int | None
    box: tuple[float, float, float, float]


class _Overlaps(NamedTuple):
    """Masks, bool, of detections [D, H, W] and cells [N, H, W]; and shares of areas [D, N]: of the detection that lies in
    the cell, of the cell that the detection covers; and IoU."""

    detections: Tensor
    cells: Tensor
    of_detection: NDArray[np.float64]
    of_cell: NDArray[np.float64]
    iou: NDArray[np.float64]

    @classmethod
    def of(cls, masks: Tensor, gt_masks: Tensor) -> "_Overlaps":
        detections, cells = masks.flatten(0, 1) > 0.5, gt_masks > 0
        both = mask_intersections(detections, cells)
        area, gt_area = mask_areas(masks, 0.5)[:, None], mask_areas(gt_masks, 0)[None, :]
        union = area + gt_area - both
        shares = [np.divide(both, x, out=np.zeros_like(both), where=x > 0) for x in (area, gt_area, union)]
        return cls(detections, cells, *shares)

    def covered(self, cell: int, by: list[int]) -> float:
        """The share of the cell that some detections cover together."""
        own = self.cells[cell]
        return float((self.detections[by].any(dim=0) & own).sum() / own.sum())

    def is_beside(self, detection: int, other: int, cell: int) -> bool:
        """Whether most of what a detection covers of a cell is left free by another one."""
        part = self.detections[detection] & self.cells[cell]
        return float((part & self.detections[other]).sum()) < (1 - MOST) * float(part.sum())


def find_failures(
    prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], pairs: Pairs, min_score: float = 0.5
) -> list[Failure]:
    """prediction and target as in `match`, pairs what it returned for the same min_score. Sorted by kind."""
    keep = prediction["scores"] >= min_score
    overlaps = _Overlaps.of(prediction["masks"][keep], target["masks"])
    boxes, gt_boxes = prediction["boxes"][keep].tolist(), target["boxes"].tolist()
    partner = dict(zip(pairs.detections.tolist(), pairs.cells.tolist(), strict=True))
    found = [
        Failure("wrong class", cell, detection, tuple(gt_boxes[cell]))
        for detection, cell in partner.items()
        if pairs.labels[detection] != pairs.gt_labels[cell]
    ]
    loose = [d for d in range(len(boxes)) if d not in partner]
    explained: set[int] = set()
    for cell in sorted(set(range(len(gt_boxes))) - set(partner.values())):
        kind, involved = _unmatched_cell(cell, loose, overlaps)
        explained.update(involved)
        found.append(Failure(kind, cell, involved[0] if involved else None, tuple(gt_boxes[cell])))
    for detection in loose:
        if detection not in explained:
            kind, cell_of_it = _loose_detection(detection, partner, overlaps)
            found.append(Failure(kind, cell_of_it, detection, tuple(boxes[detection])))
    return sorted(found, key=lambda failure: KINDS.index(failure.kind))


def _unmatched_cell(cell: int, loose: list[int], overlaps: _Overlaps) -> tuple[str, list[int]]:
    """The kind of failure, and the detections that have to do with it, the one that best shows it first."""
    inside = [d for d in loose if overlaps.of_detection[d, cell] > MOST]
    if len(inside) > 1 and overlaps.covered(cell, inside) > MOST:
        return "split", inside
    covering = [d for d in range(len(overlaps.iou)) if overlaps.of_cell[d, cell] > MOST]
    over_several = [d for d in covering if (overlaps.of_cell[d] > MOST).sum() > 1]
    touching = [d for d in loose if d in inside or overlaps.iou[d, cell] > TOUCH]
    if over_several:
        return "merged", [*over_several, *touching]
    return ("poor outline", touching) if touching else ("missed", [])


def _loose_detection(detection: int, partner: Mapping[int, int], overlaps: _Overlaps) -> tuple[str, int | None]:
    """The kind of failure of a detection that matches nothing, and the found cell that it has to do with, if any.

    partner: the cell of each detection that matches one.
    """
    for other, cell in partner.items():
        if overlaps.of_detection[detection, cell] > MOST and overlaps.is_beside(detection, other, cell):
            return "split", cell
        if max(overlaps.of_detection[detection, cell], overlaps.of_cell[detection, cell]) > MOST:
            return "duplicate", cell
    return "nothing there", None
