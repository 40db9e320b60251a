"""What a microscopist asks of a detector: which cells it found, what it called them, how well it outlined them, how sure
that is.

A detection with a score of at least `min_score` is matched to the cell that it overlaps with an IoU of 0.5 or more, whatever
either is called; one to one, so that the sum of IoUs is largest. From the pairs, the cells missed and the detections with
nothing there, everything else is counted, image by image, so that the images can be drawn again (bootstrap): with 50 cells
one error is two points, and an interval says so.

Glossary: D detections and N cells of one image; K classes, labels 1..K; in counts, index 0 is "none": a cell missed, or
nothing there. Panoptic quality is that of Kirillov et al. 2019, eq. 2, of each class; theirs is the mean over classes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from maskrcnn.evaluation.overlaps import mask_iou

MATCH_IOU = 0.5
BINS = 10  # of scores, for calibration


class Estimate(NamedTuple):
    """A measure and its 95 % interval over images; nan where there is nothing to measure."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "-"
        return f"{self.value:.3f}" + ("" if np.isnan(self.low) else f" ({self.low:.3f} to {self.high:.3f})")


class Pairs(NamedTuple):
    """The outcome of one image. Pairs P in order of detections; what is in no pair is in the rest."""

    detections: NDArray[np.int64]  # [P] indices into the image's detections
    cells: NDArray[np.int64]  # [P] indices into its cells
    iou: NDArray[np.float64]  # [P]
    labels: NDArray[np.int64]  # [D]
    scores: NDArray[np.float64]  # [D]
    gt_labels: NDArray[np.int64]  # [N]


def match(
    prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], min_score: float = 0.5, iou: float = MATCH_IOU
) -> Pairs:
    """prediction: labels [D], scores [D], masks [D, 1, H, W] (above 0.5 is the cell); target: labels [N], masks [N, H, W].

    Detections below min_score are as if they were not there; the indices returned count those that are.
    """
    keep = prediction["scores"] >= min_score
    overlaps = mask_iou(prediction["masks"][keep], target["masks"])  # [D, N]
    overlaps = np.where(overlaps >= iou, overlaps, 0.0)
    detections, cells = linear_sum_assignment(-overlaps)
    proper = overlaps[detections, cells] > 0
    detections, cells = detections[proper], cells[proper]
    labels, scores = (prediction[name][keep].cpu().numpy() for name in ("labels", "scores"))
    gt_labels = target["labels"].cpu().numpy()
    return Pairs(detections, cells, overlaps[detections, cells], labels, scores.astype(np.float64), gt_labels)


class Counts(NamedTuple):
    """What of one image (or, summed, of many) all measures follow from."""

    confusion: NDArray[np.float64]  # [K + 1, K + 1]: true class, class it was called
    iou: NDArray[np.float64]  # [K + 1]: sum over the pairs whose cell is of the class
    dice: NDArray[np.float64]  # [K + 1]
    right_iou: NDArray[np.float64]  # [K + 1]: sum over the pairs that agree on the class
    sure: NDArray[np.float64]  # [BINS, 3]: detections, how many of them right, and the sum of their scores


def count(pairs: Pairs, classes: int) -> Counts:
    """Of one image."""
    confusion = np.zeros((classes + 1, classes + 1))
    iou, dice, right_iou = np.zeros((3, classes + 1))
    called, true = pairs.labels[pairs.detections], pairs.gt_labels[pairs.cells]
    np.add.at(confusion, (true, called), 1)
    missed, nothing_there = np.delete(pairs.gt_labels, pairs.cells), np.delete(pairs.labels, pairs.detections)
    np.add.at(confusion[:, 0], missed, 1)
    np.add.at(confusion[0], nothing_there, 1)
    np.add.at(iou, true, pairs.iou)
    np.add.at(dice, true, 2 * pairs.iou / (1 + pairs.iou))
    np.add.at(right_iou, true, np.where(called == true, pairs.iou, 0))
    right = np.zeros(len(pairs.labels))
    right[pairs.detections] = called == true
    sure = np.zeros((BINS, 3))
    place = np.minimum((pairs.scores * BINS).astype(int), BINS - 1)
    np.add.at(sure, place, np.stack([np.ones_like(right), right, pairs.scores], axis=1))
    return Counts(confusion, iou, dice, right_iou, sure)


def ratio(part: NDArray[np.float64] | float, whole: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """nan where there is nothing to divide by."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def measures(counts: Counts) -> dict[str, NDArray[np.float64]]:
    """Every measure from summed counts: [K + 1] each, first over all classes, then of each; nan where there is none.

    Over all, a cell is found if it is matched, whatever it was called; of a class, if it was called so, too. dice and iou
    are those of matched cells. "accuracy" is the share of matched cells that got their name.
    """
    confusion = counts.confusion
    found = confusion[1:, 1:]
    right = np.diag(found)
    cells, calls = confusion[1:].sum(axis=1), confusion[:, 1:].sum(axis=0)
    hits = np.concatenate([[found.sum()], right])
    cells, calls = np.concatenate([[cells.sum()], cells]), np.concatenate([[calls.sum()], calls])
    matched = np.concatenate([[found.sum()], found.sum(axis=1)])
    overlap, right_iou = (np.concatenate([[x[1:].sum()], x[1:]]) for x in (counts.iou, counts.right_iou))
    right_iou[0] = overlap[0]
    dice = np.concatenate([[counts.dice[1:].sum()], counts.dice[1:]])
    result = {
        "precision": ratio(hits, calls),
        "recall": ratio(hits, cells),
        "F1": ratio(2 * hits, cells + calls),
        "panoptic quality": ratio(right_iou, (cells + calls) / 2),
        "IoU": ratio(overlap, matched),
        "Dice": ratio(dice, matched),
        "accuracy": ratio(np.concatenate([[right.sum()], right]), matched),
    }
    # Expected calibration error: how far scores are from the share that is right, over bins of scores; for all classes only.
    gap = np.abs(counts.sure[:, 1] - counts.sure[:, 2]).sum()
    error = ratio(gap, counts.sure[:, 0].sum())
    result["calibration error"] = np.concatenate([[error], np.full(len(right), np.nan)])
    return result


class CellMeasures:
    """Takes one image after the other, then says how good the detector is, for which class, and how sure that is."""

    def __init__(self, class_names: Sequence[str], min_score: float = 0.5, groups: Sequence[int] | None = None) -> None:
        """groups: see `bootstrap`."""
        self.class_names, self.min_score, self.groups = tuple(class_names), min_score, groups
        self.images: list[Counts] = []

    def update(self, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Pairs:
        """One image, in the form that `match` takes; its pairs are returned."""
        pairs = match(prediction, target, self.min_score)
        self.images.append(count(pairs, len(self.class_names)))
        return pairs

    def total(self) -> Counts:
        """Summed over all images so far."""
        return Counts(*(np.sum(part, axis=0) for part in zip(*self.images, strict=True)))

    def compute(self, rounds: int = 1000, seed: int = 0) -> dict[str, dict[str, Estimate]]:
        """measure -> "any class", "mean of classes" or class -> its value and 95 % interval. Classes of no cell and no
        detection are left out."""

        def columns_of(counts: Counts) -> NDArray[np.float64]:
            values = np.stack(list(measures(counts).values()))  # [measures, K + 1]
            known = ~np.isnan(values[:, 1:])
            mean = ratio(np.where(known, values[:, 1:], 0).sum(axis=1), known.sum(axis=1))
            return np.concatenate([values, mean[:, None]], axis=1)

        value, low, high = self.bootstrap(columns_of, rounds, seed)
        confusion = self.total().confusion
        there = (confusion.sum(axis=0) + confusion.sum(axis=1))[1:] > 0
        columns = [(0, "any class"), (len(self.class_names) + 1, "mean of classes")]
        columns += [(k, name) for k, name in enumerate(self.class_names, start=1) if there[k - 1]]
        return {
            name: {title: Estimate(value[row, k], low[row, k], high[row, k]) for k, title in columns}
            for row, name in enumerate(measures(self.total()))
        }

    def bootstrap(
        self, measure: Callable[[Counts], NDArray[np.float64]], rounds: int = 1000, seed: int = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Of anything that follows from summed counts: value, and lower and upper end of its interval; see `bootstrap`."""
        parts = [np.stack(part) for part in zip(*self.images, strict=True)]

        def of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            return measure(Counts(*(np.tensordot(weights, part, axes=1) for part in parts)))

        return bootstrap(of, len(self.images), rounds, seed, self.groups)


def bootstrap(
    measure: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    images: int,
    rounds: int = 1000,
    seed: int = 0,
    groups: Sequence[int] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Value, and lower and upper end of the 95 % percentile interval (Efron 1979) over images drawn with replacement.

    measure: from how often each image counts [images] to any array; nan where a draw has nothing to measure, which is left
    out of the interval. groups: a number for each image; those of one number show the same field, and are drawn together:
    a picture shown twice is no second witness. Of a single image every draw is the same: that is no interval, so both ends
    are nan.
    """
    rng = np.random.default_rng(seed)
    value = measure(np.ones(images))
    of_image = np.arange(images) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    units = int(of_image.max()) + 1
    if units == 1:
        return value, *np.full((2, *value.shape), np.nan)
    drawn = rng.multinomial(units, np.full(units, 1 / units), rounds)[:, of_image]
    draws = np.stack([measure(row) for row in drawn.astype(float)])
    known = ~np.isnan(draws).all(axis=0)
    low, high = np.full((2, *value.shape), np.nan)
    if known.any():
        low[known], high[known] = np.nanpercentile(draws[:, known], (2.5, 97.5), axis=0)
    return value, low, high
