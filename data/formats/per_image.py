"""What the formats share whose files name their images, or are named after them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data.formats.files import images_below, not_used, side_of, sides_below
from data.formats.image_finder import ImageFinder
from data.formats.json_files import MALFORMED, reason_of
from data.formats.outlines import Marked, ShapeCheck
from data.records import DatasetIndex, ImageRecord, Skipped


class Described(NamedTuple):
    """What an annotation file says about its image."""

    marked: tuple[Marked, ...]
    size: tuple[int, int] | None = None  # height and width, if it tells


# Both may raise any of MALFORMED.
Locate = Callable[
    [Path], tuple[Path, Any] | None
]  # annotation file -> its image and what to describe; None: it is none
Describe = Callable[[Any, Path], Described]  # what was located, its image -> what it says


class Collected:
    """What is found while the files are read of which each lists several images."""

    def __init__(self, root: Path) -> None:
        self.root, self.find, self.check = root, ImageFinder(root), ShapeCheck()
        self.records: dict[str | None, list[ImageRecord]] = {}
        self.skipped: list[Skipped] = []
        self.listed: set[Path] = set()  # images, also those whose entries cannot be used
        self.class_names: list[str] = []
        self.notes: list[str] = []


# A file, its content and what it adds to. Raises any of MALFORMED for what is wrong with the file as a whole.
ReadList = Callable[[Path, Any, Collected], None]


def side_below(path: Path, root: Path) -> str | None:
    """The split that one of the folders between root and a file is named after."""
    return next(map(side_of, sides_below(path, root)), None)


def index_of_lists(
    root: Path, contents: Iterable[tuple[Path, Any]], read: ReadList, format: str, problems: list[str]
) -> DatasetIndex:
    """The records of files that list images. Images of the data set that none lists are listed, as no error."""
    found = Collected(root)
    for file, content in contents:
        try:
            read(file, content, found)
        except MALFORMED as error:
            problems.append(f"{file}: {reason_of(error)}")
    skipped = found.skipped
    skipped += not_used([image for image in found.find.images if image not in found.listed], "no JSON file lists it")
    records = without_repeated(found.records, skipped)
    used = {label for side in records.values() for record in side for label in record.labels}
    class_names = [name for name in dict.fromkeys(found.class_names) if name in used]
    return DatasetIndex.of_splits(root, records, [], skipped, format, class_names, [*found.notes, *found.check.notes()])


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
    check = ShapeCheck()
    for file in files:
        try:
            located = locate(file)
            if located is None:
                continue
            image, content = located
            if image in file_of:
                raise ValueError(f"is for {image.name}, as {file_of[image].name} is; keep one of the two")
            file_of[image] = file
            marked, size = describe(content, image)
            shapes = check(marked, file)
        except MALFORMED as error:
            skipped.append(Skipped(file, reason_of(error).removeprefix(f"{file}: ")))
        else:
            records.setdefault(side_below(image, root), []).append(ImageRecord(image, (), shapes, file, size))
    used = {record.image for side in records.values() for record in side}
    others = [image for image in images_below(root) if image not in used]
    skipped += not_used([image for image in others if image not in file_of], "has no annotation file")
    skipped += not_used([image for image in others if image in file_of], "its annotation file cannot be used")
    return DatasetIndex.of_splits(root, records, [], skipped, format, class_names, check.notes())


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


def each_marked(entries: Iterable[tuple[str, Any]], read: Callable[[Any, str], Marked]) -> tuple[Marked, ...]:
    """What is marked, of (name of the entry, its content). Raises ValueError, naming the entry, if one is malformed."""
    marked = []
    for entry, content in entries:
        try:
            marked.append(read(content, entry))
        except MALFORMED as error:
            raise ValueError(f"{entry}: {reason_of(error)}") from error
    return tuple(marked)
