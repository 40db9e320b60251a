"""What becomes of the shapes of an image, whatever format they come from: outlines of single cells are used; what is there
twice, or outlines no single cell, is left out and counted; points alone and fractions of the image are refused."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data.classes import SINGLE, SINGLE_NOTE
from data.records import Shape

NO_CLASS = ""  # the label of a shape whose file names no class for it
FRACTIONS = (-0.5, 1.5)  # of width and height: an outline may reach over the edge


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
        self._repeated = self._with_class = self._without_class = 0

    def __call__(self, marked: Sequence[Marked], file: Path) -> tuple[Shape, ...]:
        """The cells of an image. Raises ValueError if there are only points and lines, which say that there are cells but
        not where they end, and for outlines whose coordinates are fractions."""
        others = [each for each in marked if isinstance(each, NoOutline)]
        once: dict[tuple[object, ...], Shape] = {}
        for shape in marked:
            if isinstance(shape, Shape) and once.setdefault(_identity(shape), shape) is not shape:
                self._count("repeated", file, shape.entry)
                self._repeated += 1
        if others and not once:
            raise ValueError(
                f"{others[0].entry}: a {others[0].kind} is not the outline of a cell, and there is no other; outline the "
                "cells, or delete it if there is none"
            )
        if once and all(map(_is_fractions, once.values())):
            raise ValueError(
                f"{next(iter(once.values())).entry}: coordinates between 0 and 1 are fractions of the image; pixels are "
                "expected"
            )
        for other in others:
            self._count("left out", file, other.entry)
            self._left_out[other.kind.rstrip("s")] += 1
        unnamed = sum(shape.label == NO_CLASS for shape in once.values())
        self._without_class += unnamed
        self._with_class += len(once) - unnamed
        return tuple(shape._replace(label=shape.label or SINGLE) for shape in once.values())

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
        if self._left_out:
            counted = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in self._left_out.items())
            notes.append(f"left out, since they do not outline one cell: {counted}; {self._first['left out']}")
        return notes


def _identity(shape: Shape) -> tuple[object, ...]:
    """Equal for shapes of one class and one outline."""
    if shape.runs is not None:
        return shape.label, shape.runs.height, shape.runs.width, shape.runs.counts.tobytes()
    return shape.label, tuple(tuple(ring.tobytes() for ring in rings) for rings in shape.polygons)


def _is_fractions(shape: Shape) -> bool:
    low, high = FRACTIONS
    return shape.runs is None and all(
        ring.min() >= low and ring.max() <= high for rings in shape.polygons for ring in rings
    )
