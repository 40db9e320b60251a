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
from torch import Tensor

from maskrcnn.evaluation.average_precision import CLASS_AGNOSTIC
from maskrcnn.evaluation.bootstrap import ArrayEstimate, Estimate, bootstrap
from maskrcnn.evaluation.iou import mask_iou
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
    prediction: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    score_threshold: float = 0.5,
    min_iou: float = MATCH_IOU,
) -> Matches:
    """prediction: labels [D], scores [D], masks [D, 1, H, W] (above 0.5 is the cell); target: labels [N], masks [N, H, W].

    Detections below score_threshold are removed first; D and the indices count the remaining ones.
    """
    keep = prediction["scores"] >= score_threshold
    pred_masks = prediction["masks"][keep]
    iou = mask_iou(pred_masks, target["masks"])  # [D, N]
    iou = np.where(iou >= min_iou, iou, 0.0)
    pred_indices, gt_indices = linear_sum_assignment(-iou)
    overlapping = iou[pred_indices, gt_indices] > 0  # the assignment also pairs what does not overlap
    pred_indices, gt_indices = pred_indices[overlapping], gt_indices[overlapping]
    pairs = zip(pred_masks[pred_indices, 0] > 0.5, target["masks"][gt_indices] > 0, strict=True)
    offset = np.array([outline_offset(p.cpu().numpy(), g.cpu().numpy()) for p, g in pairs], np.float64)
    labels, scores = (prediction[name][keep].cpu().numpy() for name in ("labels", "scores"))
    gt_labels = target["labels"].cpu().numpy()
    iou = iou[pred_indices, gt_indices]
    return Matches(pred_indices, gt_indices, iou, offset, labels, scores.astype(np.float64), gt_labels)


def outline_offset(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Pixels by which a predicted mask [H, W] is too large (positive) or too small all around: the difference of the areas
    divided by the mean length of the outlines. Errors that only shift the outline cancel."""
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


def metrics(tallies: Tallies) -> dict[str, NDArray[np.float64]]:
    """Metric -> [K + 1]: class-agnostic, then of classes 1..K; nan where it is undefined.

    A true positive is a matched cell; of a class, one that is also classified correctly. iou, dice and outline_offset
    (pixels) are means over matched cells, accuracy the fraction of matched cells that are classified correctly.
    calibration_error is the expected calibration error over bins of the score (Guo et al. 2017, eq. 3), class-agnostic only.
    """
    confusion = tallies.confusion
    matched, correct = confusion[1:, 1:], np.diag(confusion)[1:]

    def with_sum(of_classes: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([[of_classes.sum()], of_classes])  # [K] -> [K + 1]

    true_positives = np.concatenate([[matched.sum()], correct])
    num_cells, num_detections = with_sum(confusion[1:].sum(axis=1)), with_sum(confusion[:, 1:].sum(axis=0))
    num_matched = with_sum(matched.sum(axis=1))
    iou, dice, offset = (with_sum(of_classes[1:]) for of_classes in (tallies.iou, tallies.dice, tallies.offset))
    tp_iou = np.concatenate([iou[:1], tallies.tp_iou[1:]])
    number, number_correct, score_sum = tallies.reliability.T
    calibration_error = ratio(np.abs(number_correct - score_sum).sum(), number.sum())
    return {
        "precision": ratio(true_positives, num_detections),
        "recall": ratio(true_positives, num_cells),
        "f1": ratio(2 * true_positives, num_cells + num_detections),
        "panoptic_quality": ratio(tp_iou, (num_cells + num_detections) / 2),
        "iou": ratio(iou, num_matched),
        "dice": ratio(dice, num_matched),
        "outline_offset": ratio(offset, num_matched),
        "accuracy": ratio(with_sum(correct), num_matched),
        "calibration_error": np.concatenate([[calibration_error], np.full(len(correct), np.nan)]),
    }


class InstanceMetrics:
    """Collects the tallies of image after image, then computes the metrics of all with confidence intervals."""

    def __init__(
        self, class_names: Sequence[str], score_threshold: float = 0.5, groups: Sequence[int] | None = None
    ) -> None:
        """score_threshold: see `match_instances`; groups: see `bootstrap`."""
        self.class_names, self.score_threshold, self.groups = tuple(class_names), score_threshold, groups
        self.images: list[Tallies] = []

    def update(self, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Matches:
        """Add one image, as `match_instances` takes it. Returns its matches."""
        matches = match_instances(prediction, target, self.score_threshold)
        self.images.append(tally(matches, len(self.class_names)))
        return matches

    def total(self) -> Tallies:
        """Summed over all images so far."""
        return Tallies(*(np.sum(values, axis=0) for values in zip(*self.images, strict=True)))

    def compute(self, rounds: int = 1000, seed: int = 0) -> dict[str, dict[str, Estimate]]:
        """Metric -> column -> estimate. Columns: CLASS_AGNOSTIC, CLASS_MEAN, and each class with a cell or a detection."""

        def with_class_mean(tallies: Tallies) -> dict[str, NDArray[np.float64]]:
            return {name: _append_class_mean(values) for name, values in metrics(tallies).items()}

        confusion = self.total().confusion
        occurs = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
        columns = {CLASS_AGNOSTIC: 0, CLASS_MEAN: len(self.class_names) + 1}
        columns |= {name: k for k, name in enumerate(self.class_names, start=1) if occurs[k]}
        estimates = self.bootstrap(with_class_mean, rounds, seed)
        return {
            metric: {column: estimate.at(k) for column, k in columns.items()} for metric, estimate in estimates.items()
        }

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
