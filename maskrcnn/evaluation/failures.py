"""Every error of a detector on an image, by kind: what to look at when a number is not as good as it should be.

Of the cells that no detection matches (IoU 0.5):
  split         several detections lie in it, and together they cover most of it
  merged        one detection covers most of it and most of another cell
  poor outline  a detection lies on it, but not well enough
  missed        hardly anything lies on it
Of the detections:
  wrong class   matches a cell of another class
  duplicate     lies on a cell that another detection matches
  nothing there lies on no cell
A detection that is part of a split, a merger or a poor outline is not counted again.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn.evaluation.cells import Pairs

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
    """Shares of areas [D, N]: of the detection that lies in the cell, of the cell that the detection covers; and IoU."""

    of_detection: NDArray[np.float64]
    of_cell: NDArray[np.float64]
    iou: NDArray[np.float64]


def find_failures(
    prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], pairs: Pairs, min_score: float = 0.5
) -> list[Failure]:
    """prediction and target as in `match`, pairs what it returned for the same min_score. Sorted by kind."""
    keep = prediction["scores"] >= min_score
    overlaps = _overlaps(prediction["masks"][keep], target["masks"])
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
            on_found_cell = any(overlaps.of_detection[detection, cell] > MOST for cell in partner.values())
            kind = "duplicate" if on_found_cell else "nothing there"
            found.append(Failure(kind, None, detection, tuple(boxes[detection])))
    return sorted(found, key=lambda failure: KINDS.index(failure.kind))


def _unmatched_cell(cell: int, loose: list[int], overlaps: _Overlaps) -> tuple[str, list[int]]:
    """The kind of failure and the detections, among those that match nothing, that have to do with it."""
    inside = [d for d in loose if overlaps.of_detection[d, cell] > MOST and overlaps.iou[d, cell] > TOUCH / 2]
    if len(inside) > 1 and overlaps.of_cell[inside, cell].sum() > MOST:
        return "split", inside
    covering = [d for d in range(len(overlaps.iou)) if overlaps.of_cell[d, cell] > MOST]
    over_several = [d for d in covering if (overlaps.of_cell[d] > MOST).sum() > 1]
    if over_several:
        return "merged", over_several
    touching = [d for d in loose if overlaps.iou[d, cell] > TOUCH]
    return ("poor outline", touching) if touching else ("missed", [])


def _overlaps(masks: Tensor, gt_masks: Tensor) -> _Overlaps:
    a = (masks.flatten(1) > 0.5).double().cpu().numpy()
    b = (gt_masks.flatten(1) > 0).double().cpu().numpy()
    both = a @ b.T
    area, gt_area = a.sum(axis=1)[:, None], b.sum(axis=1)[None, :]
    union = area + gt_area - both
    shares = [np.divide(both, x, out=np.zeros_like(both), where=x > 0) for x in (area, gt_area, union)]
    return _Overlaps(*shares)
