"""Two label maps of one image compared: which objects of one match which of the other, at several IoUs.

The figures are those of StarDist's and cellpose's `matching`, from wherever the label maps are: at each threshold as many
pairs as possible are matched one to one, and of several ways to do so that with the largest sum of IoUs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))  # 0.7 and not 0.7000000000000001, as of np.linspace
LabelMap = NDArray[np.integer]


class Matching(NamedTuple):
    """What matches at one threshold. Fractions are nan where there is nothing to divide by."""

    threshold: float  # the lowest IoU of a match
    tp: int  # matches
    fp: int  # predicted objects without one
    fn: int  # true objects without one
    iou_sum: float  # over the matches

    @property
    def precision(self) -> float:
        """The fraction of the predicted objects that match."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """The fraction of the true objects that match."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def accuracy(self) -> float:
        """tp / (tp + fp + fn), which StarDist and cellpose also call average precision."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def mean_iou(self) -> float:
        """Over the matches."""
        return _ratio(self.iou_sum, self.tp)

    @property
    def panoptic_quality(self) -> float:
        """F1 times the mean IoU (Kirillov et al. 2019, eq. 2)."""
        return _ratio(2 * self.iou_sum, 2 * self.tp + self.fp + self.fn)


def compare_label_maps(
    truth: LabelMap, prediction: LabelMap, thresholds: Sequence[float] = THRESHOLDS
) -> list[Matching]:
    """The matching at each threshold, above 0 and up to 1. truth, prediction: [H, W] of one size, 0 is background, every
    other number an object, not necessarily in one piece. Raises ValueError."""
    for name, label_map in (("truth", truth), ("prediction", prediction)):
        if label_map.ndim != 2 or not np.issubdtype(label_map.dtype, np.integer) or label_map.min(initial=0) < 0:
            raise ValueError(f"{name} is not a label map: [H, W], whole numbers, 0 for the background")
    if truth.shape != prediction.shape:
        raise ValueError(f"truth has the shape {truth.shape}, prediction {prediction.shape}; they must be equal")
    if not all(0 < threshold <= 1 for threshold in thresholds):
        raise ValueError(f"thresholds {tuple(thresholds)}: each must be above 0, and 1 at most")
    (rows, columns, iou), num_true, num_predicted = _overlaps(truth, prediction)
    found = []
    for threshold in thresholds:
        high = iou >= threshold
        matched = _assign(rows[high], columns[high], iou[high])
        tp = len(matched)
        found.append(Matching(threshold, tp, num_predicted - tp, num_true - tp, float(matched.sum())))
    return found


def total(matchings: Sequence[Sequence[Matching]]) -> list[Matching]:
    """Over several images, one or more, that were compared at the same thresholds: their objects counted together."""
    return [
        Matching(each[0].threshold, *(sum(values) for values in zip(*(m[1:] for m in each), strict=True)))
        for each in zip(*matchings, strict=True)
    ]


def _overlaps(
    truth: LabelMap, prediction: LabelMap
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]], int, int]:
    """(indices of true objects, of predicted ones, IoU) of all pairs that overlap; the number of either."""
    (true_numbers, true_areas), (numbers, areas) = (
        np.unique(label_map[label_map != 0], return_counts=True) for label_map in (truth, prediction)
    )
    both = (truth != 0) & (prediction != 0)
    rows, columns = np.searchsorted(true_numbers, truth[both]), np.searchsorted(numbers, prediction[both])
    pairs, shared = np.unique(rows * len(numbers) + columns, return_counts=True)
    rows, columns = np.divmod(pairs, max(len(numbers), 1))
    iou = shared / (true_areas[rows] + areas[columns] - shared)
    return (rows, columns, iou), len(true_numbers), len(numbers)


def _assign(rows: NDArray[np.int64], columns: NDArray[np.int64], iou: NDArray[np.float64]) -> NDArray[np.float64]:
    """The IoUs of the matches among pairs. Those above 0.5 are one to one of themselves, so only few need to be assigned."""
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    if alone.all():
        return iou
    (_, row), (_, column) = (np.unique(indices[~alone], return_inverse=True) for indices in (rows, columns))
    table = np.zeros((row.max() + 1, column.max() + 1))
    table[row, column] = iou[~alone]
    gain = (table > 0) + table / (2 * min(table.shape))  # another match counts more than all IoUs together
    chosen = table[linear_sum_assignment(gain, maximize=True)]
    return np.concatenate([iou[alone], chosen[chosen > 0]])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
