"""What a data set consists of: image records, files left out, and the errors that say why.

Imports nothing of data/: every format and every reader returns these.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn.inference.arguments import plural
from maskrcnn.inference.image_io import readable

MULTI_CLASS = "mixt"  # LISC's folder of fields of view with cells of several classes

Ring = NDArray[np.float64]  # a closed outline, [n, 2]: x, y of its corners in pixels, pixel i covers [i, i + 1)


class DataError(ValueError):
    """The data cannot be used. The message names the files and says what to do about them."""

    def __init__(self, message: str) -> None:
        super().__init__(readable(message))


class MaskFile(NamedTuple):
    """A mask of some or all cells of an image."""

    path: Path
    label: str | None = None  # class of all its cells; None: its values tell
    one_cell: bool = False  # whether all that is not 0 is one cell
    may_lack_margin: bool = False  # whether it may be one of LISC's, which are smaller than their images


class RunLengths(NamedTuple):
    """A mask as COCO writes it: lengths of runs of 0 and of 1 in turn, 0 first, column by column."""

    height: int
    width: int
    counts: NDArray[np.int64]


class Shape(NamedTuple):
    """A cell as an annotation file describes it."""

    label: str
    polygons: tuple[tuple[Ring, ...], ...] = ()  # their union; each is an outline and its holes
    runs: RunLengths | None = None  # instead of polygons
    entry: str = ""  # where in its file it is, for messages


class ImageRecord(NamedTuple):
    """One image (a field of view of the microscope) and its annotation: masks, or shapes of an annotation file."""

    image: Path
    masks: tuple[MaskFile, ...] = ()
    shapes: tuple[Shape, ...] | None = None  # () is an image without a cell
    source: Path | None = None  # the annotation file of the shapes
    size: tuple[int, int] | None = None  # height and width, if that file tells

    @property
    def is_annotated(self) -> bool:
        """Whether it is known where its cells are."""
        return bool(self.masks) or self.shapes is not None

    @property
    def annotation(self) -> Path:
        """The file to name in messages about the annotation; the image itself if there is none."""
        return self.masks[0].path if self.masks else self.source or self.image

    @property
    def label(self) -> str | None:
        """The one class of its cells, as far as files and folders tell; None for several, for none, and where the values
        of a mask tell."""
        labels = set(self.labels)
        return labels.pop() if len(labels) == 1 else None

    @property
    def labels(self) -> list[str | None]:
        """The class of each mask and of each shape, as far as files and folders tell."""
        return [file.label for file in self.masks] + [shape.label for shape in self.shapes or ()]


class Skipped(NamedTuple):
    """A file that is left out, and why."""

    path: Path
    reason: str
    is_error: bool = True  # False: nothing is wrong with the file

    def __str__(self) -> str:
        return readable(f"{self.path}: {self.reason}")


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
    format: str  # its name, as --format takes it
    class_names: tuple[str, ...] = ()  # in the order in which the data set lists them; () if it does not
    notes: tuple[str, ...] = ()  # what a user should know about how the files were read
    test: Sequence[ImageRecord] = ()  # of a test split, which training never looks at

    @classmethod
    def of_splits(
        cls,
        root: Path,
        records: Mapping[str | None, list[ImageRecord]],
        unlabelled: list[ImageRecord],
        skipped: list[Skipped],
        format: str,
        class_names: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> "DatasetIndex":
        """From the records of "train", "val" and "test", or of None, which is no split. Those of "test" are only counted, in
        a note: training looks at none of them."""
        train = records.get("train", []) + records.get(None, [])
        noted = list(notes)
        if test := records.get("test"):
            noted.append(
                f"the test split ({plural(len(test), 'image')}) is left alone in training; evaluate.py --split test uses it"
            )
        val = records.get("val")
        return cls(root, train, val, unlabelled, skipped, format, tuple(class_names), tuple(noted), test or ())
