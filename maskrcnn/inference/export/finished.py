"""The finished images of an output folder: one line of JSON each, from which every table and summary can be made again.

Whatever ends a run, at most the image at hand is lost: its line is written in one go, together with its rows of the tables,
and one that is cut off is dropped when the run goes on.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypedDict

from maskrcnn.durable import replacing_text

RECORDS = "predictions.jsonl"


class FoundCell(TypedDict):
    """One cell; a row of cells.csv."""

    label: int  # 1..K
    score: float
    box: list[int]  # x1, y1, x2, y2 around the mask
    measures: dict[str, float]  # see tables.measures
    counts: str  # COCO's compressed run lengths of the whole mask
    polygons: list[list[int]] | None  # x and y in turn, of each part; None if not asked for, or if the mask has a hole


class FinishedImage(TypedDict):
    """One image; a row of differential.csv."""

    path: str  # absolute, by which an image is known again
    sha256: str  # of the file, so that a changed image is noticed
    file: str  # as it was named
    output: str  # the path of its files below the output folder, without their endings
    copy: str  # the name of its copy in the data set of --annotations; "" without one
    height: int
    width: int
    scale: float | None  # pixels of the model per pixel of the image
    colours: list[list[float]] | None  # [3, 6], see colours.colour_quantiles
    limited: bool  # see Objects.limited
    cells: list[FoundCell]  # best first


class FinishedImages:
    """Those in a file, which may be longer than memory; can be iterated over again and again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[FinishedImage]:
        with self.path.open(encoding="ascii") as file:
            for line in file:
                yield json.loads(line)

    def drop_cut_off(self) -> None:
        """Cut the file behind its last whole line."""
        with self.path.open("rb+") as file:
            end = 0
            for line in file:
                end += len(line) if line.endswith(b"\n") else 0
            file.truncate(end)

    def keep(self, is_kept: Callable[[FinishedImage], bool]) -> list[str]:
        """Drop the other images, as if they were not done yet. Returns their files."""
        dropped = [image["file"] for image in self if not is_kept(image)]
        if dropped:
            with replacing_text(self.path) as file:
                file.writelines(line_of(image) for image in self if is_kept(image))
        return dropped


def line_of(image: FinishedImage) -> str:
    """Its line in the file."""
    return json.dumps(image) + "\n"


def append(texts: Mapping[Path, str]) -> None:
    """Append to several files, to all of them or to none, and let the disk confirm it. Raises OSError."""
    with contextlib.ExitStack() as stack:
        # Without a buffer, which would be written once more when a full disk has refused it.
        files = [stack.enter_context(path.open("ab", buffering=0)) for path in texts]
        sizes = [file.seek(0, os.SEEK_END) for file in files]
        try:
            for file, text in zip(files, texts.values(), strict=True):
                rest = memoryview(text.encode())
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
        except BaseException:
            for file, size in zip(files, sizes, strict=True):
                file.truncate(size)
            raise
