"""An evaluation as small tables, each with a sentence on how to read it. Text and page show the same ones."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from maskrcnn.evaluation.ap_intervals import AP_COLUMNS
from maskrcnn.evaluation.average_precision import CLASS_AGNOSTIC, COCO_AREAS, MAX_DETECTIONS
from maskrcnn.evaluation.bootstrap import Estimate
from maskrcnn.evaluation.counts import ClassCount
from maskrcnn.evaluation.evaluate import Evaluation
from maskrcnn.evaluation.instance_metrics import CLASS_MEAN, MATCH_IOU
from maskrcnn.inference.arguments import plural

# Titles of rows and columns; those that are not listed are their own titles.
TITLES = {
    CLASS_AGNOSTIC: "all classes as one", CLASS_MEAN: "mean of classes", "f1": "F1", "panoptic_quality": "panoptic quality",
    "iou": "IoU", "dice": "Dice", "outline_offset": "offset, pixels", "calibration_error": "calibration error",
    "ap": "AP", "ap50": "AP50", "ap75": "AP75", "ar": "AR",
}  # fmt: skip
CELLS = {
    (
        "cells found and named",
        ("precision", "recall", "f1", "accuracy"),
    ): "Precision is the fraction of the detections that "
    "are right, recall the fraction of the cells that are found, F1 their harmonic mean; in the first row a detection is "
    f"right if it matches a cell (IoU {MATCH_IOU:g} or more) of whatever class, in the others if the class is right, too. "
    "Accuracy is the fraction of the cells found that get the right name.",
    (
        "outlines",
        ("iou", "dice", "panoptic_quality", "outline_offset"),
    ): "IoU and Dice of the masks of the cells found, 1 "
    "being a perfect mask; panoptic quality is the mean IoU times F1; an offset above 0 says that masks are too large all "
    "around, one below 0 that they are too small.",
    (
        "scores",
        ("calibration_error",),
    ): "How far a score is from the probability of being right, on average: 0 is best, and "
    "at 0.1 of ten detections with a score of 0.9 only eight may be right.",
}
HOW_AP = (
    "Average precision (COCO) judges all detections, also those below the score threshold: the area under the curve of "
    "precision and recall, averaged over IoU 0.50 to 0.95; AP50 and AP75 are those at one IoU, AR is the recall of all."
)
HOW_DIFFERENTIAL = (
    "How many cells there are of each class, and how many the model reports. Numbers that agree need not be the same cells: "
    "the confusion matrix shows which were taken for which."
)


class Cell(NamedTuple):
    """What stands in a place of a table."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.value} ({self.interval})" if self.interval else self.value


class Table(NamedTuple):
    """columns: the first one is that of the names of the rows."""

    title: str
    reading: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]


def tables(result: Evaluation) -> list[Table]:
    """All figures of an evaluation; first what is counted, last average precision."""
    return [_differential(result), *_cells(result), *_average_precision(result)]


def remarks(result: Evaluation) -> list[str]:
    """What holds for all tables: what the intervals are, and where there are none."""
    is_one = len(result.matches) == 1
    others = (
        "other figures have none, as there is one image" if is_one else "those of other figures over resampled images"
    )
    found = [
        "Intervals are of 95 %: those of percentages, precision, recall and accuracy are exact for the number of cells or "
        "detections (Clopper and Pearson), taken as independent, so too narrow where images show the same cells; "
        f"{others}. A figure without an interval is that of a single cell, or the same in every "
        "sample of the images, which does not make it certain."
    ]
    numbers = result.confusion.value[1:].sum(axis=1)
    found += [
        f"{name}: 1 cell: no interval means anything"
        for name, number in zip(result.class_names, numbers, strict=True)
        if number == 1
    ]
    if empty := result.empty_images():
        each = f"{sum(empty) / len(empty):.2f} false positives each"
        found.append(f"images without a cell: {len(empty)}, with {each} (on {sum(map(bool, empty))} of them)")
    if crowded := sum(len(boxes) > MAX_DETECTIONS for boxes in result.gt_boxes):
        found.append(
            f"Average precision counts the best {MAX_DETECTIONS} detections of an image, as COCO does, so it is low where "
            f"there are more cells, as in {crowded} of {plural(len(result.gt_boxes), 'image')}; the other tables count all."
        )
    return found


def summary(result: Evaluation) -> str:
    """What was evaluated."""
    counts = f"{plural(len(result.matches), 'image')}, {plural(result.counts().cells, 'cell')}"
    return f"{counts}; detections with a score of {result.score_threshold:g} or more"


def _differential(result: Evaluation) -> Table:
    columns = ("class", "true", "true %", "predicted", "predicted %")
    rows = [
        (name, [cell for side in sides for cell in _count_cells(side)]) for name, sides in result.differential().items()
    ]
    return Table("differential count", HOW_DIFFERENTIAL, columns, rows)


def _count_cells(count: ClassCount) -> tuple[Cell, Cell]:
    percent = Estimate(*(100 * float(value) for value in count.fraction))
    return Cell(str(count.number)), _cell(percent, digits=1)


def _cells(result: Evaluation) -> Iterable[Table]:
    for (title, metrics), reading in CELLS.items():
        columns = ("class", *(TITLES.get(metric, metric) for metric in metrics))
        rows = [
            (TITLES.get(name, name), [_cell(result.cells[metric][name]) for metric in metrics])
            for name in result.cells[metrics[0]]
            if any(not np.isnan(result.cells[metric][name].value) for metric in metrics)
        ]
        if rows:
            yield Table(title, reading, columns, rows)


def _average_precision(result: Evaluation) -> Iterable[Table]:
    """First all classes as one: what AP with classes says is about names as much as about cells."""
    rows = result.ap_intervals
    overall = {
        "masks, as one class": "mask_class_agnostic", "masks, mean of classes": "mask",
        "boxes, as one class": "box_class_agnostic", "boxes, mean of classes": "box",
    }  # fmt: skip
    yield _ap_table("average precision", HOW_AP, rows, overall)
    for kind, title in (("mask", "masks"), ("box", "boxes")):
        of_classes = {name: row for name in result.class_names if (row := f"{kind}_{name}") in rows}
        reading = f"The same for the {title} of each class: a detection of the wrong name is a false positive."
        if of_classes:
            yield _ap_table(f"average precision of classes, {title}", reading, rows, of_classes)
    prefix = f"mask_{CLASS_AGNOSTIC}_"
    areas = [*COCO_AREAS, "smallest_third", "middle_third", "largest_third"]
    by_area = {area.replace("_", " "): prefix + area for area in areas if prefix + area in rows}
    reading = (
        "The same for small cells (up to 32 x 32 pixels), medium and large ones (from 96 x 96), and for thirds of the cells "
        "by area: masks, all classes as one."
    )
    yield _ap_table("average precision by area", reading, rows, by_area)


def _ap_table(title: str, reading: str, rows: Mapping[str, Mapping[str, Estimate]], shown: Mapping[str, str]) -> Table:
    columns = ("", *(TITLES[column] for column in AP_COLUMNS))
    filled = [(name, [_cell(rows[row][column]) for column in AP_COLUMNS]) for name, row in shown.items()]
    return Table(title, reading, columns, filled)


def _cell(estimate: Estimate, digits: int = 3) -> Cell:
    if np.isnan(estimate.value):
        return Cell("-")
    value, low, high = (f"{number:.{digits}f}" for number in estimate)
    return Cell(value, f"{low} to {high}" if estimate.has_interval else "")
