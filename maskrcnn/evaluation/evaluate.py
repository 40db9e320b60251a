"""Everything about a model on a labelled data set, in one pass: average precision, metrics of cells, failures."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn.evaluation.ap_intervals import ap_intervals
from maskrcnn.evaluation.average_precision import APResult, AveragePrecision
from maskrcnn.evaluation.bootstrap import ArrayEstimate, Estimate, exact_interval
from maskrcnn.evaluation.counts import ClassCount, Counts, differential
from maskrcnn.evaluation.failures import KINDS, Failure, find_failures
from maskrcnn.evaluation.instance_metrics import InstanceMetrics, Matches
from maskrcnn.evaluation.instances import Instances, tensor
from maskrcnn.inference.detect import predict
from maskrcnn.inference.objects import Objects, confident_objects
from maskrcnn.inference.scale import TrainingScale
from maskrcnn.model import MaskRCNN


@dataclass
class Evaluation:
    """The result of `evaluate`. Lists have one item per image, in the order of the samples."""

    class_names: tuple[str, ...]
    files: list[str]
    score_threshold: float
    ap: dict[str, APResult]  # "mask", "box", "mask_class_agnostic", "box_class_agnostic"
    ap_intervals: dict[str, dict[str, Estimate]]  # see `ap_intervals`
    curve: ArrayEstimate  # [101], see `ap_intervals`
    cells: dict[str, dict[str, Estimate]]  # see `InstanceMetrics.compute`
    confusion: ArrayEstimate  # [K + 1, K + 1]: true class, predicted class; 0 is none
    reliability: NDArray[np.float64]  # [BINS, 3], see `Tallies`
    fraction_correct: ArrayEstimate  # [BINS], of the detections in each bin of the score
    gt_boxes: list[Tensor]  # [N, 4]
    matches: list[Matches]
    failures: list[list[Failure]]
    predictions: list[Objects] = field(repr=False)  # from score_threshold on

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, rounded to five decimals; nan becomes None."""
        number, number_correct, score_sum = self.reliability.T
        return {
            "images": len(self.matches),
            "classes": list(self.class_names),
            "score_threshold": self.score_threshold,
            "counts": self.counts()._asdict(),
            "differential": {
                name: {**true.to_dict("true"), **predicted.to_dict("predicted")}
                for name, (true, predicted) in self.differential().items()
            },
            "average_precision": _plain(self.ap_intervals),
            "cells": _plain(self.cells),
            "confusion": {
                "true": ["false positive", *self.class_names],
                "predicted": ["missed", *self.class_names],
                "counts": self.confusion.value.astype(int).tolist(),
                "interval": _plain([self.confusion.low, self.confusion.high]),
            },
            "calibration": {  # per tenth of the score
                "detections": _plain(number),
                "correct": _plain(number_correct),
                "score_sum": _plain(score_sum),
                "fraction_correct_interval": _plain([self.fraction_correct.low, self.fraction_correct.high]),
            },
            "images_without_a_cell": {"images": len(self.empty_images()), "false_positives": sum(self.empty_images())},
            "failure_counts": {_key(kind): count for kind, count in self.failure_counts().items()},
            "failures": [{**row, "kind": _key(row["kind"])} for row in self.failure_rows()],
            # [T, 101] per class: IoU 0.5, 0.55 .. 0.95, recall 0, 0.01 .. 1.
            "precision_recall": {name: _plain(result.curves) for name, result in self.ap.items()},
        }

    def counts(self) -> Counts:
        """Cells found, named and missed, and false positives."""
        return Counts.of_confusion(self.confusion.value)

    def differential(self) -> dict[str, tuple[ClassCount, ClassCount]]:
        """Class -> true and predicted count."""
        return differential(self.confusion.value, self.class_names)

    def empty_images(self) -> list[int]:
        """The number of false positives on each image without a cell."""
        return [len(matches.pred_labels) for matches in self.matches if not len(matches.gt_labels)]

    def failure_counts(self) -> dict[str, int]:
        """Kind -> number of failures."""
        kinds = [failure.kind for failures in self.failures for failure in failures]
        return {kind: kinds.count(kind) for kind in KINDS}

    def failure_rows(self) -> list[dict[str, Any]]:
        """All failures in the order of KINDS: kind, file, true and predicted class, score ("" for none), box."""
        rows = []
        for file, matches, failures in zip(self.files, self.matches, self.failures, strict=True):
            for failure in failures:
                row: dict[str, Any] = {"kind": failure.kind, "file": file, "true": "", "predicted": "", "score": ""}
                if failure.gt_index is not None:
                    row["true"] = self.class_names[matches.gt_labels[failure.gt_index] - 1]
                if failure.pred_index is not None:
                    row["predicted"] = self.class_names[matches.pred_labels[failure.pred_index] - 1]
                    row["score"] = round(float(matches.scores[failure.pred_index]), 3)
                rows.append({**row, "box": [round(x, 1) for x in failure.box]})
        return sorted(rows, key=lambda row: KINDS.index(row["kind"]))


def _plain(value: Any) -> Any:
    """Mappings, arrays and sequences of numbers as dicts and lists of floats."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in value]
    return None if np.isnan(value) else round(float(value), 5)


def _key(kind: str) -> str:
    return kind.replace(" ", "_")


@torch.inference_mode()
def evaluate(
    model: MaskRCNN,
    samples: Iterable[tuple[Tensor, Mapping[str, Tensor]]],
    precision: str = "auto",
    score_threshold: float = 0.5,
    files: Sequence[str] | None = None,
    tta: bool = False,
    groups: Sequence[int] | None = None,
    scales: Iterable[float | None] = itertools.repeat(None),
    known: TrainingScale | None = None,
) -> Evaluation:
    """Evaluate a model on samples: (image, target) as `MaskRCNN` takes them.

    precision, tta, known: see `maskrcnn.inference.detect.predict`; scales: its scale of each image. score_threshold: the
    lowest score of a detected cell; average precision counts all detections, whatever their score. files: names of the
    images. groups: equal numbers for images that show the same cells (see `bootstrap`). The model is left in the mode it was
    in. Raises ValueError without a sample.
    """
    accumulator = Accumulator(model.config.class_names, score_threshold, groups)
    was_training = model.training
    model.eval()
    try:
        for (image, target), scale in zip(samples, scales, strict=False):
            accumulator.update(predict(model, image, precision, tta, scale, known), target)
    finally:
        model.train(was_training)
    return accumulator.compute(files)


class Accumulator:
    """Collects the predictions of image after image, then computes an `Evaluation`. Arguments: see `evaluate`."""

    def __init__(self, class_names: tuple[str, ...], score_threshold: float, groups: Sequence[int] | None) -> None:
        self.class_names, self.score_threshold, self.groups = class_names, score_threshold, groups
        self.mask, self.box = AveragePrecision(class_names, "mask"), AveragePrecision(class_names, "box")
        self.cells = InstanceMetrics(class_names, score_threshold, groups)
        self.matches: list[Matches] = []
        self.failures: list[list[Failure]] = []
        self.predictions: list[Objects] = []
        self.gt_boxes: list[Tensor] = []

    def update(self, prediction: Objects, target: Instances) -> None:
        """Add one image. target: see `instances`."""
        self.mask.update(prediction, target)
        self.box.update(prediction, target)
        objects = confident_objects(prediction, self.score_threshold)
        self.matches.append(self.cells.update(objects, target))
        self.failures.append(find_failures(objects, target, self.matches[-1], self.score_threshold))
        self.predictions.append(objects)
        self.gt_boxes.append(tensor(target, "boxes"))

    def compute(self, files: Sequence[str] | None = None) -> Evaluation:
        """The evaluation of all images so far. Raises ValueError without one."""
        if not self.matches:
            raise ValueError("no images to evaluate on")
        table, curve = ap_intervals(self.mask, self.box, self.groups)
        total = self.cells.total()
        number, number_correct, _ = total.reliability.T
        return Evaluation(
            class_names=self.class_names,
            files=list(files) if files is not None else [f"image {i}" for i in range(len(self.matches))],
            score_threshold=self.score_threshold,
            ap={
                "mask": self.mask.compute(),
                "box": self.box.compute(),
                "mask_class_agnostic": self.mask.compute(class_agnostic=True),
                "box_class_agnostic": self.box.compute(class_agnostic=True),
            },
            ap_intervals=table,
            curve=curve,
            cells=self.cells.compute(),
            confusion=self.cells.bootstrap(lambda tallies: {"confusion": tallies.confusion})["confusion"],
            reliability=total.reliability,
            fraction_correct=exact_interval(number_correct, number),
            gt_boxes=self.gt_boxes,
            matches=self.matches,
            failures=self.failures,
            predictions=self.predictions,
        )
