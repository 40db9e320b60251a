"""What the formats share whose files name their images, or are named after them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data.formats.files import images_below, not_used, side_of
from data.formats.json_files import MALFORMED, reason_of
from data.records import DatasetIndex, ImageRecord, Shape, Skipped


class Described(NamedTuple):
    """What an annotation file says about its image."""

    shapes: tuple[Shape, ...]
    size: tuple[int, int] | None = None  # height and width, if it tells


# Both may raise any of MALFORMED.
Locate = Callable[
    [Path], tuple[Path, Any] | None
]  # annotation file -> its image and what to describe; None: it is none
Describe = Callable[[Any, Path], Described]  # what was located, its image -> what it says


def side_below(path: Path, root: Path) -> str | None:
    """The split that one of the folders between root and a file is named after."""
    return next((side for part in path.relative_to(root).parts[:-1] if (side := side_of(part))), None)


def index_of_files(
    root: Path,
    files: Iterable[Path],
    locate: Locate,
    describe: Describe,
    format: str,
    class_names: Sequence[str] = (),
) -> DatasetIndex:
    """The records of annotation files. Images of the data set without a file are listed, as no error."""
    records: dict[str | None, list[ImageRecord]] = {}
    skipped: list[Skipped] = []
    file_of: dict[Path, Path] = {}
    for file in files:
        try:
            located = locate(file)
            if located is None:
                continue
            image, content = located
            if image in file_of:
                raise ValueError(f"is for {image.name}, as {file_of[image].name} is; keep one of the two")
            file_of[image] = file
            shapes, size = describe(content, image)
        except MALFORMED as error:
            skipped.append(Skipped(file, reason_of(error).removeprefix(f"{file}: ")))
        else:
            records.setdefault(side_below(image, root), []).append(ImageRecord(image, (), shapes, file, size))
    used = {record.image for side in records.values() for record in side}
    others = [image for image in images_below(root) if image not in used]
    skipped += not_used([image for image in others if image not in file_of], "has no annotation file")
    skipped += not_used([image for image in others if image in file_of], "its annotation file cannot be used")
    return DatasetIndex.of_splits(root, records, [], skipped, format, class_names)


def without_repeated(
    records: dict[str | None, list[ImageRecord]], skipped: list[Skipped]
) -> dict[str | None, list[ImageRecord]]:
    """The records without images that several entries list: no entry alone may have all cells of such an image, and they may
    be on both sides of a split."""
    entries: dict[Path, list[ImageRecord]] = {}
    for record in (record for side in records.values() for record in side):
        entries.setdefault(record.image, []).append(record)
    for image, found in entries.items():
        if len(found) > 1:
            files = " and ".join(dict.fromkeys(str(record.annotation) for record in found))
            reason = f"listed {len(found)} times in {files}; keep one entry"
            skipped.append(Skipped(image, reason))
    return {side: [one for one in records[side] if len(entries[one.image]) == 1] for side in records}


def each_shape(entries: Iterable[tuple[str, Any]], shape_of: Callable[[Any, str], Shape]) -> tuple[Shape, ...]:
    """The shapes of (name of the entry, its content). Raises ValueError, naming the entry, if one is malformed."""
    shapes = []
    for entry, content in entries:
        try:
            shapes.append(shape_of(content, entry))
        except MALFORMED as error:
            raise ValueError(f"{entry}: {reason_of(error)}") from error
    return tuple(shapes)
