"""Everything there is to say about a model on a labelled data set, in one pass: average precision, cells, failures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn.evaluation.average_precision import COCO_AREAS, RECALLS, APResult, AveragePrecision
from maskrcnn.evaluation.cells import CellMeasures, Estimate, Pairs, bootstrap, ratio
from maskrcnn.evaluation.failures import KINDS, Failure, find_failures
from maskrcnn.heads import objects_found
from maskrcnn.model import MaskRCNN
from maskrcnn.turns import detect

AP_ROUNDS = 200  # of the bootstrap: each sorts all detections anew
AP_COLUMNS = ("AP", "AP50", "AP75", "AR")


@dataclass
class Evaluation:
    """What `evaluate` found. Images are numbered as they came; intervals [2, ...] are lower and upper ends of 95 %."""

    class_names: tuple[str, ...]
    files: list[str]  # of the images
    min_score: float
    ap: dict[str, APResult]  # "mask", "box", and both for any class: "mask, any class" ..
    # The same names, and those of classes and area ranges ("mask, neutrophil", "mask, any class, small") -> AP_COLUMNS.
    ap_intervals: dict[str, dict[str, Estimate]]
    curve_interval: NDArray[np.float64]  # [2, 101], of the precision at IoU 0.5 of masks of any class
    cells: dict[str, dict[str, Estimate]]  # see CellMeasures.compute
    confusion: NDArray[np.float64]  # [K + 1, K + 1]: true, called; 0 is nothing
    confusion_interval: NDArray[np.float64]  # [2, K + 1, K + 1]
    calibration: NDArray[np.float64]  # [bins, 3]: detections, of them right, sum of their scores
    calibration_interval: NDArray[np.float64]  # [2, bins], of the share that is right
    pairs: list[Pairs]
    failures: list[list[Failure]]
    predictions: list[dict[str, Tensor]] = field(repr=False)  # those of min_score or more, masks bool [D, H, W]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; nan becomes None."""

        def plain(value: float) -> float | None:
            return None if np.isnan(value) else round(float(value), 5)

        def intervals(table: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
            return {row: {name: [plain(x) for x in e] for name, e in columns.items()} for row, columns in table.items()}

        def plain_array(values: NDArray[np.float64]) -> list[Any]:
            return [plain_array(row) for row in values] if values.ndim > 1 else [plain(x) for x in values]

        curves = {
            name: {label: plain_array(curve) for label, curve in one.curves.items()} for name, one in self.ap.items()
        }
        return {
            "images": len(self.pairs),
            "classes": list(self.class_names),
            "min_score": self.min_score,
            "average precision, value and 95 % interval": intervals(self.ap_intervals),
            "cells, value and 95 % interval": intervals(self.cells),
            "confusion": {
                "rows, what it is": ["nothing there", *self.class_names],
                "columns, what it was called": ["missed", *self.class_names],
                "counts": self.confusion.astype(int).tolist(),
                "95 % interval": plain_array(self.confusion_interval),
            },
            "calibration": {
                "detections and right ones and sum of scores, by tenth of the score": plain_array(self.calibration),
                "share that is right, 95 % interval": plain_array(self.calibration_interval),
            },
            "failures": self.failure_counts(),
            "every failure": self.failure_rows(),
            "precision at IoU 0.5, 0.55 .. 0.95 and recall 0, 0.01 .. 1": curves,
        }

    def failure_counts(self) -> dict[str, int]:
        """Kind -> how many."""
        kinds = [failure.kind for failures in self.failures for failure in failures]
        return {kind: kinds.count(kind) for kind in KINDS}

    def failure_rows(self) -> list[dict[str, Any]]:
        """Every failure, kind by kind: file, kind, what it is, what it was called and with what score ("" for none), box."""
        rows = []
        for file, pairs, failures in zip(self.files, self.pairs, self.failures, strict=True):
            for one in failures:
                row: dict[str, Any] = {"kind": one.kind, "file": file, "is": "", "called": "", "score": ""}
                if one.cell is not None:
                    row["is"] = self.class_names[pairs.gt_labels[one.cell] - 1]
                if one.detection is not None:
                    row["called"] = self.class_names[pairs.labels[one.detection] - 1]
                    row["score"] = round(float(pairs.scores[one.detection]), 3)
                rows.append({**row, "box": [round(x, 1) for x in one.box]})
        return sorted(rows, key=lambda row: KINDS.index(row["kind"]))


@torch.inference_mode()
def evaluate(
    model: MaskRCNN,
    samples: Iterable[tuple[Tensor, Mapping[str, Tensor]]],
    precision: str = "auto",
    min_score: float = 0.5,
    files: Sequence[str] | None = None,
    turns: bool = False,
    groups: Sequence[int] | None = None,
) -> Evaluation:
    """samples: (image, target) as `MaskRCNN` takes them. min_score: from which a detection counts as one, but for AP, which
    counts all. files: what to call the images. turns: whether to look in all eight ways (`maskrcnn.turns`). groups: equal
    numbers for images that show the same field (see `bootstrap`). The model is left in the mode it was in. Raises ValueError
    without a sample.
    """
    names = model.config.class_names
    ap_of = {kind: AveragePrecision(names, kind) for kind in ("mask", "box")}
    seen = _Seen(ap_of, CellMeasures(names, min_score, groups))
    _look(model, samples, precision, turns, seen)
    kinds, cells = seen.ap, seen.cells
    total = cells.total()
    ap = {kind: measure.compute() for kind, measure in kinds.items()}
    ap |= {f"{kind}, any class": measure.compute(class_agnostic=True) for kind, measure in kinds.items()}
    intervals, curve = ap_intervals(kinds["mask"], kinds["box"], groups)
    return Evaluation(
        class_names=model.config.class_names,
        files=list(files) if files is not None else [f"image {i}" for i in range(len(seen.pairs))],
        min_score=min_score,
        ap=ap,
        ap_intervals=intervals,
        curve_interval=curve,
        cells=cells.compute(),
        confusion=total.confusion,
        confusion_interval=np.stack(cells.bootstrap(lambda counts: counts.confusion)[1:]),
        calibration=total.sure,
        calibration_interval=np.stack(cells.bootstrap(lambda counts: ratio(counts.sure[:, 1], counts.sure[:, 0]))[1:]),
        pairs=seen.pairs,
        failures=seen.failures,
        predictions=seen.predictions,
    )


@dataclass
class _Seen:
    """What is kept of every image that was looked at."""

    ap: dict[str, AveragePrecision]  # "mask", "box"
    cells: CellMeasures
    pairs: list[Pairs] = field(default_factory=list)
    failures: list[list[Failure]] = field(default_factory=list)
    predictions: list[dict[str, Tensor]] = field(default_factory=list)


def _look(
    model: MaskRCNN,
    samples: Iterable[tuple[Tensor, Mapping[str, Tensor]]],
    precision: str,
    turns: bool,
    seen: _Seen,
) -> None:
    """Detect and match, image by image, into `seen`. Raises ValueError without a sample."""
    was_training = model.training
    model.eval()
    for image, target in samples:
        prediction = {name: value.cpu() for name, value in detect(model, image, precision, turns).items()}
        for measure in seen.ap.values():
            measure.update(prediction, target)
        found = objects_found(prediction, seen.cells.min_score)
        seen.pairs.append(seen.cells.update(found, target))
        seen.failures.append(find_failures(found, target, seen.pairs[-1], seen.cells.min_score))
        seen.predictions.append({**found, "masks": found["masks"][:, 0] > 0.5})
    model.train(was_training)
    if not seen.pairs:
        raise ValueError("no images to evaluate on")


def ap_intervals(
    mask: AveragePrecision, box: AveragePrecision, groups: Sequence[int] | None = None
) -> tuple[dict[str, dict[str, Estimate]], NDArray[np.float64]]:
    """AP_COLUMNS with their intervals: for both kinds over all classes, for any class, and of each class; for masks of any
    class by area. And the interval [2, 101] of the precision of masks of any class at IoU 0.5."""
    present = {"mask": list(mask.compute().per_class), "box": list(box.compute().per_class)}
    areas = {**COCO_AREAS, **mask.area_terciles()}
    rows = ["mask", "box", "mask, any class", "box, any class"]
    rows += [f"{kind}, {name}" for kind, names in present.items() for name in names]
    rows += [f"mask, any class, {name}" for name in areas]
    images = len(mask)

    def of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        indices = np.repeat(np.arange(images), weights.astype(int)).tolist()
        drawn = {"mask": mask.of_images(indices), "box": box.of_images(indices)}
        by_class = {kind: measure.compute() for kind, measure in drawn.items()}
        any_class = [measure.compute(class_agnostic=True) for measure in drawn.values()]
        figures = [of_all(result) for result in (*by_class.values(), *any_class)]
        figures += [of_class(by_class[kind], name) for kind, names in present.items() for name in names]
        figures += [of_all(drawn["mask"].compute(True, limits)) for limits in areas.values()]
        curve = any_class[0].curves.get("any", np.full((1, len(RECALLS)), np.nan))[0]
        return np.concatenate([np.ravel(figures), curve])

    value, low, high = bootstrap(of, images, AP_ROUNDS, groups=groups)
    count = len(rows) * len(AP_COLUMNS)
    table = np.stack([value, low, high])[:, :count].reshape(3, len(rows), len(AP_COLUMNS))
    estimates = {
        name: {column: Estimate(*table[:, i, k].tolist()) for k, column in enumerate(AP_COLUMNS)}
        for i, name in enumerate(rows)
    }
    return estimates, np.stack([low, high])[:, count:]


def of_all(result: APResult) -> list[float]:
    """AP_COLUMNS over all classes."""
    return [result.ap, result.ap50, result.ap75, result.ar]


def of_class(result: APResult, name: str) -> list[float]:
    """AP_COLUMNS of one class; nan where there is none of it."""
    if name not in result.per_class:
        return [float("nan")] * len(AP_COLUMNS)
    ap75 = float(result.curves[name][5].mean())
    return [result.per_class[name], result.per_class_ap50[name], ap75, result.per_class_ar[name]]


def table(result: Evaluation) -> str:
    """All figures as text: values with their 95 % intervals over images."""
    head = f"{len(result.pairs)} images, {int(result.confusion[1:].sum())} cells; "
    if len(result.pairs) > 1:
        head += (
            "in brackets 95 % intervals over images; a draw of images that lacks a class is averaged over the others"
        )
    else:
        head += "one image has no intervals"
    lines = [head, "", *_rows(result.ap_intervals, AP_COLUMNS, "average precision")]
    names: Sequence[str] = list(next(iter(result.cells.values())))
    lines += ["", *_rows(result.cells, names, f"cells, score from {result.min_score:g}")]
    counts = [f"{count} {kind}" for kind, count in result.failure_counts().items() if count]
    lines += ["", "failures: " + (", ".join(counts) or "none")]
    return "\n".join(lines)


def _rows(values: Mapping[str, Mapping[str, Estimate]], columns: Sequence[str], title: str) -> list[str]:
    width = max(22, *(len(str(e)) + 2 for row in values.values() for e in row.values()))
    first = max(24, *(len(name) + 2 for name in values))
    lines = [f"{title:{first}s}" + "".join(f"{name:>{width}s}" for name in columns)]
    for name, row in values.items():
        lines.append(f"{name:{first}s}" + "".join(f"{row[column]!s:>{width}s}" for column in columns))
    return lines
