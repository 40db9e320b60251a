"""What a data set consists of: image records, files left out, and the errors that say why.

Imports nothing of data/: every format and every reader returns these.
"""

from pathlib import Path
from typing import NamedTuple

MULTI_CLASS = "mixt"  # LISC's folder of fields of view with cells of several classes


class DataError(ValueError):
    """The data cannot be used. The message names the files and says what to do about them."""


class ImageRecord(NamedTuple):
    """One image (a field of view of the microscope) and its annotation."""

    image: Path
    mask: Path | None  # None: not annotated
    label: str | None  # class of all its cells; None: the grey codes of the mask tell the class of each cell


class Skipped(NamedTuple):
    """A file that is left out, and why."""

    path: Path
    reason: str
    is_error: bool = True  # False: nothing is wrong with the file

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class RecordError(DataError):
    """An image record cannot be used; `skipped` has its files with the reasons."""

    def __init__(self, *skipped: Skipped) -> None:
        super().__init__("\n".join(map(str, skipped)))
        self.skipped = skipped


class DatasetIndex(NamedTuple):
    """The files of a data set, found but not yet opened."""

    root: Path
    train: list[ImageRecord]  # annotated
    val: list[ImageRecord] | None  # annotated, for validation; None: the data set has no split of its own, as LISC
    unlabelled: list[ImageRecord]  # without masks, for prediction
    skipped: list[Skipped]
