"""What becomes of the shapes of an image, whatever format they come from: outlines of single cells are used; what is there
twice, or outlines no single cell, is left out and counted; points alone, fractions of the image and one outline of two
classes are refused."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.classes import SINGLE, SINGLE_NOTE
from data.records import Ring, Shape
from data.shapes import FARTHEST

NO_CLASS = ""  # the label of a shape whose file names no class for it
FRACTIONS = (-0.5, 1.5)  # of width and height: an outline may reach over the edge
AS_LARGE = 0.5  # fraction of a cell's largest part that another one exceeds if it could be a cell of its own


class NoOutline(NamedTuple):
    """A point, a line, a text, a crowd region: an entry that is not the outline of one cell."""

    kind: str
    entry: str  # where in its file it is, for messages


Marked = Shape | NoOutline


class ShapeCheck:
    """Called with what is marked in one image after another; counts what `notes` tell in the end."""

    def __init__(self) -> None:
        self._left_out: Counter[str] = Counter()  # kind -> entries
        self._first: dict[str, str] = {}
        self._repeated = self._apart = self._with_class = self._without_class = 0

    def __call__(self, marked: Sequence[Marked], file: Path) -> tuple[Shape, ...]:
        """The cells of an image. Raises ValueError if there are only points and lines, which say that there are cells but
        not where they end, for outlines whose coordinates are fractions, and for one outline of two classes."""
        others = [each for each in marked if isinstance(each, NoOutline)]
        once = self._without_repeated([each for each in marked if isinstance(each, Shape)], file)
        if others and not once:
            raise ValueError(
                f"{others[0].entry}: a {others[0].kind} is not the outline of a cell, and there is no other; outline the "
                "cells, or delete it if there is none"
            )
        if once and all(map(_is_fractions, once)):
            raise ValueError(
                f"{once[0].entry}: coordinates between 0 and 1 are fractions of the image; pixels are expected"
            )
        for other in others:
            self._count("left out", file, other.entry)
            self._left_out[other.kind.rstrip("s")] += 1
        for shape in filter(_lies_apart, once):
            self._count("apart", file, shape.entry)
            self._apart += 1
        unnamed = sum(shape.label == NO_CLASS for shape in once)
        self._without_class += unnamed
        self._with_class += len(once) - unnamed
        return tuple(shape._replace(label=shape.label or SINGLE) for shape in once)

    def _without_repeated(self, shapes: Sequence[Shape], file: Path) -> list[Shape]:
        """Raises ValueError, naming both, for two of one outline and two classes."""
        once: dict[tuple[object, ...], Shape] = {}
        for shape in shapes:
            first = once.setdefault(_identity(shape), shape)
            if first.label != shape.label:
                classes = f"{first.label or 'no class'} and {shape.label or 'no class'}"
                raise ValueError(f"{first.entry} and {shape.entry} have one outline, of {classes}; delete one of them")
            if first is not shape:
                self._count("repeated", file, shape.entry)
                self._repeated += 1
        return list(once.values())

    def _count(self, what: str, file: Path, entry: str) -> None:
        self._first.setdefault(what, f"the first is {entry} of {file}")

    def notes(self) -> list[str]:
        """What a user should know about all of them."""
        notes = []
        if self._without_class:
            some = f"{self._without_class} outlines have no class and are read as {SINGLE}, {self._with_class} have one"
            notes.append(some if self._with_class else SINGLE_NOTE)
        if self._repeated:
            notes.append(f"{self._repeated} outlines are there twice and are read once; {self._first['repeated']}")
        if self._apart:
            notes.append(
                f"{self._apart} outlines consist of parts that lie apart and are one cell each; {self._first['apart']}; if "
                "they are several cells, annotate each"
            )
        if self._left_out:
            counted = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in self._left_out.items())
            notes.append(f"left out, since they do not outline one cell: {counted}; {self._first['left out']}")
        return notes


def _identity(shape: Shape) -> tuple[object, ...]:
    """Equal for shapes of one outline."""
    if shape.runs is not None:
        return shape.runs.height, shape.runs.width, shape.runs.counts.tobytes()
    return tuple(tuple(ring.tobytes() for ring in rings) for rings in shape.polygons)


def _lies_apart(shape: Shape) -> bool:
    """Whether a second polygon, AS_LARGE as the largest one, lies beside it, as if it were a cell of its own."""
    if len(shape.polygons) < 2:
        return False
    first, second = sorted((rings[0] for rings in shape.polygons), key=_area)[:-3:-1]
    is_beside = (first.max(axis=0) < second.min(axis=0)) | (second.max(axis=0) < first.min(axis=0))
    return bool(is_beside.any()) and _area(second) > AS_LARGE * _area(first)


def _area(ring: Ring) -> float:
    x, y = (ring - ring[0]).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _is_fractions(shape: Shape) -> bool:
    low, high = FRACTIONS
    return shape.runs is None and all(
        ring.min() >= low and ring.max() <= high for rings in shape.polygons for ring in rings
    )


def overlap_with_box(box: Any, marked: Marked) -> float | None:
    """IoU of a box (x, y, width, height) with that of polygons; None if one of them is no such thing or empty."""
    if not isinstance(marked, Shape) or not marked.polygons or not isinstance(box, list) or len(box) != 4:
        return None
    if not all(isinstance(number, int | float) and abs(number) < FARTHEST for number in box):
        return None
    corners = np.concatenate([ring for rings in marked.polygons for ring in rings])
    low, high = corners.min(axis=0), corners.max(axis=0)
    x, y, *extent = box
    size = np.array(extent, np.float64)
    inside = np.minimum(high, (x + size[0], y + size[1])) - np.maximum(low, (x, y))
    common = inside.clip(min=0).prod()
    total = size.prod() + (high - low).prod() - common
    return float(common / total) if size.min() > 0 and total > 0 else None
