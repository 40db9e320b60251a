"""Metrics that a microscopist asks for: were the cells found, classified correctly and segmented well.

Detections with a score of at least `score_threshold` are matched one to one to cells with an IoU of at least 0.5, whatever
their classes, so that the sum of IoUs is largest. All metrics follow from tallies of the matches, the missed cells and the
false positives. Tallies are kept per image, so that images can be resampled for confidence intervals (`bootstrap`).

Glossary: D detections and N cells of one image, M matches; K classes, labels 1..K. In tallies, index 0 means "none": as a
predicted class a missed cell, as a true class a false positive. Panoptic quality is that of Kirillov et al. 2019, eq. 2.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from maskrcnn.evaluation.average_precision import CLASS_AGNOSTIC
from maskrcnn.evaluation.bootstrap import ArrayEstimate, Estimate, bootstrap, exact_interval
from maskrcnn.evaluation.instances import Instances, labels_of, predicted_regions, scores_of, true_regions
from maskrcnn.evaluation.iou import region_iou
from maskrcnn.inference.regionprops import perimeter

MATCH_IOU = 0.5
BINS = 10  # of the score, for calibration
CLASS_MEAN = "class_mean"


class Matches(NamedTuple):
    """The matches of one image. Detections without a match are false positives, cells without one are missed."""

    pred_indices: NDArray[np.int64]  # [M] into the detections of the image, increasing
    gt_indices: NDArray[np.int64]  # [M] into its cells
    iou: NDArray[np.float64]  # [M]
    offset: NDArray[np.float64]  # [M], see `outline_offset`
    pred_labels: NDArray[np.int64]  # [D]
    scores: NDArray[np.float64]  # [D]
    gt_labels: NDArray[np.int64]  # [N]


def match_instances(
    prediction: Instances, target: Instances, score_threshold: float = 0.5, min_iou: float = MATCH_IOU
) -> Matches:
    """prediction, target: see `instances`; their boxes are not needed.

    Detections below score_threshold are removed first; D and the indices count the remaining ones.
    """
    keep = scores_of(prediction) >= score_threshold
    regions = [region for region, kept in zip(predicted_regions(prediction), keep, strict=True) if kept]
    gt_regions = true_regions(target)
    iou = region_iou(regions, gt_regions)  # [D, N]
    iou = np.where(iou >= min_iou, iou, 0.0)
    pred_indices, gt_indices = linear_sum_assignment(-iou)
    overlapping = iou[pred_indices, gt_indices] > 0  # the assignment also pairs what does not overlap
    pred_indices, gt_indices = pred_indices[overlapping], gt_indices[overlapping]
    pairs = [(regions[d], gt_regions[n]) for d, n in zip(pred_indices, gt_indices, strict=True)]
    offset = np.array([outline_offset(p.mask, g.mask) for p, g in pairs if p and g], np.float64)
    labels, scores = labels_of(prediction)[keep], scores_of(prediction)[keep].astype(np.float64)
    iou = iou[pred_indices, gt_indices]
    return Matches(pred_indices, gt_indices, iou, offset, labels, scores, labels_of(target))


def outline_offset(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Pixels by which a predicted mask is too large (positive) or too small all around: the difference of the areas divided
    by the mean length of the outlines. Errors that only shift the outline cancel. predicted, true: [h, w] of any size."""
    length = (perimeter(predicted) + perimeter(true)) / 2
    return (int(predicted.sum()) - int(true.sum())) / length


class Tallies(NamedTuple):
    """Sums over one image, or over many, from which all metrics follow."""

    confusion: NDArray[np.float64]  # [K + 1, K + 1]: true class, predicted class
    iou: NDArray[np.float64]  # [K + 1], by true class: sum over the matches
    dice: NDArray[np.float64]  # [K + 1], the same
    offset: NDArray[np.float64]  # [K + 1], the same
    tp_iou: NDArray[np.float64]  # [K + 1], the same over correctly classified matches only
    reliability: NDArray[np.float64]  # [BINS, 3], by score: number of detections, of correct ones, sum of scores


def tally(matches: Matches, num_classes: int) -> Tallies:
    """The tallies of one image."""
    confusion = np.zeros((num_classes + 1, num_classes + 1))
    iou, dice, offset, tp_iou = np.zeros((4, num_classes + 1))
    predicted, true = matches.pred_labels[matches.pred_indices], matches.gt_labels[matches.gt_indices]  # [M] each
    np.add.at(confusion, (true, predicted), 1)
    np.add.at(confusion[:, 0], np.delete(matches.gt_labels, matches.gt_indices), 1)  # missed cells
    np.add.at(confusion[0], np.delete(matches.pred_labels, matches.pred_indices), 1)  # false positives
    np.add.at(iou, true, matches.iou)
    np.add.at(dice, true, 2 * matches.iou / (1 + matches.iou))
    np.add.at(offset, true, matches.offset)
    np.add.at(tp_iou, true, np.where(predicted == true, matches.iou, 0))
    correct = np.zeros(len(matches.pred_labels))  # [D]
    correct[matches.pred_indices] = predicted == true
    reliability = np.zeros((BINS, 3))
    bins = np.minimum((matches.scores * BINS).astype(int), BINS - 1)
    np.add.at(reliability, bins, np.stack([np.ones_like(correct), correct, matches.scores], axis=1))
    return Tallies(confusion, iou, dice, offset, tp_iou, reliability)


def ratio(part: NDArray[np.float64] | float, whole: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """part / whole; nan where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def proportions(tallies: Tallies) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Those metrics that are a part of a number of cells or detections: metric -> part and whole, [K + 1] each."""
    confusion = tallies.confusion
    matched, correct = confusion[1:, 1:], np.diag(confusion)[1:]
    true_positives = np.concatenate([[matched.sum()], correct])
    return {
        "precision": (true_positives, _with_sum(confusion[:, 1:].sum(axis=0))),
        "recall": (true_positives, _with_sum(confusion[1:].sum(axis=1))),
        "accuracy": (_with_sum(correct), _with_sum(matched.sum(axis=1))),
    }


def metrics(tallies: Tallies) -> dict[str, NDArray[np.float64]]:
    """Metric -> [K + 1]: class-agnostic, then of classes 1..K; nan where it is undefined.

    A true positive is a matched cell; of a class, one that is also classified correctly. iou, dice and outline_offset
    (pixels) are means over matched cells, accuracy the fraction of matched cells that are classified correctly.
    calibration_error is the expected calibration error over bins of the score (Guo et al. 2017, eq. 3), class-agnostic only.
    """
    parts = proportions(tallies)
    (true_positives, num_detections), (_, num_cells), (_, num_matched) = parts.values()
    iou, dice, offset = (_with_sum(of_classes[1:]) for of_classes in (tallies.iou, tallies.dice, tallies.offset))
    tp_iou = np.concatenate([iou[:1], tallies.tp_iou[1:]])
    number, number_correct, score_sum = tallies.reliability.T
    calibration_error = ratio(np.abs(number_correct - score_sum).sum(), number.sum())
    return {
        "precision": ratio(*parts["precision"]),
        "recall": ratio(*parts["recall"]),
        "f1": ratio(2 * true_positives, num_cells + num_detections),
        "panoptic_quality": ratio(tp_iou, (num_cells + num_detections) / 2),
        "iou": ratio(iou, num_matched),
        "dice": ratio(dice, num_matched),
        "outline_offset": ratio(offset, num_matched),
        "accuracy": ratio(*parts["accuracy"]),
        "calibration_error": np.concatenate([[calibration_error], np.full(len(iou) - 1, np.nan)]),
    }


def _with_sum(of_classes: NDArray[np.float64]) -> NDArray[np.float64]:
    """[K] -> [K + 1], the sum first."""
    return np.concatenate([[of_classes.sum()], of_classes])


class InstanceMetrics:
    """Collects the tallies of image after image, then computes the metrics of all with confidence intervals."""

    def __init__(
        self, class_names: Sequence[str], score_threshold: float = 0.5, groups: Sequence[int] | None = None
    ) -> None:
        """score_threshold: see `match_instances`; groups: see `bootstrap`."""
        self.class_names, self.score_threshold, self.groups = tuple(class_names), score_threshold, groups
        self.images: list[Tallies] = []

    def update(self, prediction: Instances, target: Instances) -> Matches:
        """Add one image, as `match_instances` takes it. Returns its matches."""
        matches = match_instances(prediction, target, self.score_threshold)
        self.images.append(tally(matches, len(self.class_names)))
        return matches

    def total(self) -> Tallies:
        """Summed over all images so far."""
        return Tallies(*(np.sum(values, axis=0) for values in zip(*self.images, strict=True)))

    def compute(self, rounds: int = 1000, seed: int = 0) -> dict[str, dict[str, Estimate]]:
        """Metric -> column -> estimate. Columns: CLASS_AGNOSTIC, CLASS_MEAN, and each class with a cell or a detection.

        Precision, recall and accuracy have exact intervals, which take cells to be independent. Where groups of images show
        the same cells they are not, and the interval is widened to that of resampled groups. A class of one cell has no
        interval: nothing tells how another one would fare.
        """

        def with_class_mean(tallies: Tallies) -> dict[str, NDArray[np.float64]]:
            return {name: _append_class_mean(values) for name, values in metrics(tallies).items()}

        total = self.total()
        num_cells, num_detections = total.confusion[1:].sum(axis=1), total.confusion[:, 1:].sum(axis=0)
        columns = {CLASS_AGNOSTIC: 0, CLASS_MEAN: len(self.class_names) + 1}
        occurs = num_cells + num_detections > 0
        columns |= {name: k for k, name in enumerate(self.class_names, start=1) if occurs[k - 1]}
        estimates = self.bootstrap(with_class_mean, rounds, seed)
        for name, (part, whole) in proportions(total).items():
            estimates[name] = self._exact(estimates[name], exact_interval(part, whole))
        table = {
            name: {column: estimate.at(k) for column, k in columns.items()} for name, estimate in estimates.items()
        }
        for row in table.values():
            for name, count in zip(self.class_names, num_cells, strict=True):
                if count == 1:
                    row[name] = row[name].without_interval()
        return table

    def _exact(self, resampled: ArrayEstimate, exact: ArrayEstimate) -> ArrayEstimate:
        """[K + 2]: exact intervals [K + 1], then the resampled one of the class mean; see `compute`."""
        low, high = (np.append(end, of_mean[-1:]) for end, of_mean in zip(exact[1:], resampled[1:], strict=True))
        if self.groups is not None and len(set(self.groups)) < len(self.groups):
            low, high = np.minimum(low, resampled.low), np.maximum(high, resampled.high)
        return ArrayEstimate(resampled.value, low, high)

    def bootstrap(
        self, statistics: Callable[[Tallies], Mapping[str, NDArray[np.float64]]], rounds: int = 1000, seed: int = 0
    ) -> dict[str, ArrayEstimate]:
        """See `bootstrap`, of named arrays that are computed from summed tallies."""
        stacked = [np.stack(values) for values in zip(*self.images, strict=True)]  # [images, ..] each

        def of_weights(weights: NDArray[np.float64]) -> Mapping[str, NDArray[np.float64]]:
            return statistics(Tallies(*(np.tensordot(weights, values, axes=1) for values in stacked)))

        return bootstrap(of_weights, len(self.images), rounds, seed, self.groups)


def _append_class_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[K + 1] -> [K + 2], with the mean over the classes for which the metric is defined."""
    of_classes = values[1:]
    return np.append(values, ratio(np.nansum(of_classes), np.sum(~np.isnan(of_classes))))
