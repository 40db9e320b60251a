"""Cells counted: how many are found and named correctly, and the differential count, the true one beside the predicted."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn.evaluation.bootstrap import ArrayEstimate, exact_interval
from maskrcnn.inference.arguments import plural


class Counts(NamedTuple):
    """How many cells are there, and what became of them."""

    cells: int
    found: int  # a detection matches, whatever its class
    correct: int  # found, and of the right class
    wrong: int  # found, but of another class
    missed: int
    false_positives: int  # detections that match no cell

    @classmethod
    def of_confusion(cls, confusion: NDArray[np.float64]) -> "Counts":
        """confusion: [K + 1, K + 1], see `Tallies`."""
        cells, found, missed = confusion[1:].sum(), confusion[1:, 1:].sum(), confusion[1:, 0].sum()
        correct, false_positives = np.trace(confusion[1:, 1:]), confusion[0].sum()
        return cls(*(int(count) for count in (cells, found, correct, found - correct, missed, false_positives)))

    def __str__(self) -> str:
        return (
            f"{plural(self.cells, 'cell')}: {self.found} found, {self.correct} named correctly, {self.wrong} wrongly, "
            f"{plural(self.false_positives, 'false positive')}"
        )


class ClassCount(NamedTuple):
    """One class of a differential count: its number, and its fraction of all cells with an exact interval."""

    number: int
    fraction: ArrayEstimate  # of shape ()

    def to_dict(self, name: str) -> dict[str, Any]:
        """For JSON, with keys that begin with a name; nan becomes None."""
        percent = [None if np.isnan(value) else round(100 * float(value), 3) for value in self.fraction]
        return {name: self.number, f"{name}_percent": percent[0], f"{name}_percent_interval": percent[1:]}


def differential(
    confusion: NDArray[np.float64], class_names: Sequence[str]
) -> dict[str, tuple[ClassCount, ClassCount]]:
    """Class -> the true and the predicted count. confusion: [K + 1, K + 1], see `Tallies`.

    The predicted count is that of all detections, false positives and wrong names included, as `predict` reports it.
    """
    sides = []
    for numbers in (confusion[1:].sum(axis=1), confusion[:, 1:].sum(axis=0)):
        fractions = exact_interval(numbers, np.full(len(numbers), numbers.sum()))
        of_class = zip(numbers, *fractions, strict=True)
        sides.append([ClassCount(int(number), ArrayEstimate(*map(np.asarray, values))) for number, *values in of_class])
    return dict(zip(class_names, zip(*sides, strict=True), strict=True))
