"""The tables: cells.csv with a row per cell, differential.csv with one per image, the same per folder and in all."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from maskrcnn.inference.export.finished import FinishedImage
from maskrcnn.inference.intervals import clopper_pearson
from maskrcnn.inference.regionprops import regionprops
from maskrcnn.regions import Region

Value = str | int | float
Row = Mapping[str, Value]

BYTE_ORDER_MARK = "\ufeff"  # by which Excel knows that a table is in UTF-8
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what begins so, a spreadsheet would run
MEASURES = (
    "centroid_x_px",
    "centroid_y_px",
    "area_px",
    "diameter_px",
    "perimeter_px",
    "eccentricity",
    "touches_border",
)
MICRONS = ("area_um2", "diameter_um", "perimeter_um")
PERCENTS = ("_percent", "_percent_low", "_percent_high")


def measures(region: Region, size: tuple[int, int]) -> dict[str, float]:
    """Place and shape of a cell in an image of this size, in pixels; pixel i covers i to i + 1."""
    shape = regionprops(region.mask)
    x1, y1, x2, y2 = region.box
    values = (
        round(x1 + shape.centroid_x, 3),
        round(y1 + shape.centroid_y, 3),
        shape.area,
        round(shape.equivalent_diameter, 3),
        round(shape.perimeter, 3),
        round(shape.eccentricity, 3),
        int(x1 == 0 or y1 == 0 or y2 == size[0] or x2 == size[1]),
    )
    return dict(zip(MEASURES, values, strict=True))


def in_microns(found: Mapping[str, float], pixel_size: float) -> dict[str, float]:
    """Of `measures` those of MICRONS, in (square) micrometres."""
    values = (found["area_px"] * pixel_size**2, found["diameter_px"] * pixel_size, found["perimeter_px"] * pixel_size)
    return {name: round(value, 3) for name, value in zip(MICRONS, values, strict=True)}


class Tables:
    """Rows as text. pixel_size: micrometres per pixel; None if nobody knows."""

    def __init__(self, class_names: Sequence[str], pixel_size: float | None, with_colours: bool) -> None:
        self.class_names, self.pixel_size, self.with_colours = tuple(class_names), pixel_size, with_colours

    def cells_header(self) -> str:
        """With the byte order mark."""
        box = ("x1_px", "y1_px", "x2_px", "y2_px")
        microns = MICRONS if self.pixel_size else ()
        return BYTE_ORDER_MARK + csv_text([("file", "cell", "class", "score", *box, *MEASURES, *microns, "scale")])

    def cells(self, image: FinishedImage) -> str:
        """A row for each cell of an image."""
        scale = "" if image["scale"] is None else round(image["scale"], 4)
        rows = []
        for number, cell in enumerate(image["cells"], start=1):
            found = cell["measures"]
            name = self.class_names[cell["label"] - 1]
            row: list[Value] = [image["file"], number, name, cell["score"], *cell["box"], *found.values()]
            if self.pixel_size:
                row += in_microns(found, self.pixel_size).values()
            rows.append([*row, scale])
        return csv_text(rows)

    def differential_header(self) -> str:
        """With the byte order mark."""
        percents = [f"{name}_percent" for name in self.class_names]
        distance = ["colour_distance"] * self.with_colours
        return BYTE_ORDER_MARK + csv_text([("file", "cells", *self.class_names, *percents, *distance)])

    def differential(self, image: FinishedImage, distance: float | None) -> str:
        """The row of an image. distance: of its colours from those of training."""
        count = self.count(image)
        percents = [_percent(count[name], count.total()) for name in self.class_names]
        last = [] if distance is None else [round(distance, 1)]
        return csv_text([(image["file"], count.total(), *(count[name] for name in self.class_names), *percents, *last)])

    def count(self, image: FinishedImage) -> Counter[str]:
        """The cells of each class."""
        return Counter(self.class_names[cell["label"] - 1] for cell in image["cells"])

    def summaries(self, images: Iterable[FinishedImage]) -> tuple[str, str, Counter[str]]:
        """differential_folders.csv, differential_total.csv, and the cells of each class in all."""
        folders: dict[str, Counter[str]] = {}
        sizes: Counter[str] = Counter()
        for image in images:
            folder = str(Path(image["file"]).parent)
            folders.setdefault(folder, Counter()).update(self.count(image))
            sizes[folder] += 1
        total = sum(folders.values(), Counter[str]())
        columns = [f"{name}{end}" for name in self.class_names for end in PERCENTS]
        header = ("images", "cells", *self.class_names, *columns)
        rows = [(folder, *self._summary(count, sizes[folder])) for folder, count in folders.items()]
        by_folder = BYTE_ORDER_MARK + csv_text([("folder", *header), *rows])
        return by_folder, BYTE_ORDER_MARK + csv_text([header, self._summary(total, sizes.total())]), total

    def _summary(self, count: Counter[str], images: int) -> list[Value]:
        row: list[Value] = [images, count.total(), *(count[name] for name in self.class_names)]
        for name in self.class_names:
            row += [_percent(count[name], count.total()), *interval(count[name], count.total())]
        return row


def interval(count: int, total: int) -> tuple[Value, Value]:
    """The exact 95 % interval of a percentage, see `clopper_pearson`; empty of no cells."""
    if not total:
        return "", ""
    low, high = (float(end) for end in clopper_pearson(np.array(count), np.array(total)))
    return round(100 * low, 1), round(100 * high, 1)


def csv_text(rows: Iterable[Sequence[Value]]) -> str:
    """Rows of a table. What a spreadsheet would take for a formula gets an apostrophe in front; numbers are none."""
    text = io.StringIO()
    csv.writer(text).writerows([_harmless(value) for value in row] for row in rows)
    return text.getvalue()


def _harmless(value: Value) -> Value:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value


def _percent(count: int, total: int) -> Value:
    return round(100 * count / total, 1) if total else ""
