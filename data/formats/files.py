"""What the formats share: names in any spelling, files in natural order, the splits that folders are named after."""

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.records import DataError, ImageRecord, Skipped
from maskrcnn.inference.image_io import IMAGE_EXTENSIONS

SIDES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
SIDE_OF = {word: side for side, spellings in SIDES.items() for word in spellings}
SET = ("set", "data", "dataset", "split")  # may follow in the name of a split's folder: "training set"
# Beside these words a split is all that a name tells: instances_val2017, _annotations.coco.train.
FILLERS = frozenset(
    (
        *SET,
        "stage",
        "coco",
        "instances",
        "via",
        "region",
        "regions",
        "json",
        "annotation",
        "annotations",
        "image",
        "images",
        "mask",
        "masks",
        "label",
        "labels",
    )
)
LEFT_BEHIND = ("__macosx", "thumbs.db", "desktop.ini")  # by operating systems


def plain(name: str) -> str:
    """A name without case, spaces, punctuation and the s of the plural: "Main Dataset" and "main_datasets" are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).rstrip("s")


def key(path: Path | str) -> str:
    """By which an image and its annotation are matched: the name without ending, in one letter case and one Unicode form
    (NFC, as Windows writes names; macOS takes letters and accents apart)."""
    return normal(Path(path).stem)


def natural(path: Path) -> list[tuple[int, str]]:
    """Sorts 2.bmp before 10.bmp, and names that differ in letter case alone always in the same order."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [*((int(part), "") if part.isdecimal() else (-1, part) for part in parts), (-2, str(path))]


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is one that operating systems leave behind."""
    return path.name.startswith(".") or path.name.lower() in LEFT_BEHIND


def is_image(path: Path) -> bool:
    """By its ending."""
    return path.suffix.lower() in IMAGE_EXTENSIONS


def folders(parent: Path) -> list[Path]:
    """The folders in a folder, and links to folders, sorted."""
    return sorted((p for p in parent.iterdir() if not is_hidden(p) and p.is_dir()), key=natural)


def files_in(parent: Path) -> list[Path]:
    """The files in a folder, sorted."""
    return sorted((p for p in parent.iterdir() if not is_hidden(p) and p.is_file()), key=natural)


def walk(parent: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """A folder and all folders below that are not hidden, each with the names of the hidden folders and of all files in it.
    Links to folders are followed, each folder once."""
    seen = set()
    for place, below, names in os.walk(parent, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        hidden = [name for name in below if is_hidden(Path(name))]
        below[:] = [name for name in below if not is_hidden(Path(name))]
        yield Path(place), hidden, names


def files_below(parent: Path) -> list[Path]:
    """The files in a folder and all folders below, sorted; see `walk`."""
    files = (Path(place, name) for place, _, names in walk(parent) for name in names)
    return sorted((file for file in files if not is_hidden(file)), key=natural)


def images_below(parent: Path | None) -> list[Path]:
    """The images among `files_below`; none without a folder."""
    return [path for path in files_below(parent) if is_image(path)] if parent else []


def children(parent: Path, *names: str) -> list[Path]:
    """The folders of a folder that have one of these names, in any spelling."""
    wanted = {plain(name) for name in names}
    return [folder for folder in folders(parent) if plain(folder.name) in wanted]


def child(parent: Path | None, *names: str) -> Path | None:
    """The first of `children`; None if there is none. Raises DataError if two folders have the names, as "image" beside
    "images": one would be left out without a word."""
    return only(children(parent, *names)) if parent else None


def side_of(name: str) -> str | None:
    """ "train", "val" or "test" if a file or folder is named after that split (instances_val2017, Training), else None. A
    word at the beginning or end counts more than one between others; two splits in one name, as in train_val, are none."""
    sides = [SIDE_OF.get(word) for word in _words(name)]
    found = {*sides[:1], *sides[-1:]} - {None} or set(sides) - {None}
    return found.pop() if len(found) == 1 else None


def is_plain_side(name: str) -> bool:
    """Whether the split is all that a name tells: "test", "instances_val2017", but not "blood_test"."""
    return side_of(name) is not None and all(word in SIDE_OF or word in FILLERS for word in _words(name))


def _words(name: str) -> list[str]:
    """Without single letters, as the v of train_v2."""
    return re.findall(r"[a-z]{2,}", name.lower())


def sides_below(path: Path, root: Path) -> list[str]:
    """The folders between root and a file that are named after a split, from the outer to the inner one."""
    return [part for part in path.relative_to(root).parts[:-1] if side_of(part)]


def split_folders(root: Path) -> dict[str | None, Path]:
    """The folders train, val and test of a data set, in their spellings, or stage1_train and the like; without any,
    {None: root}."""
    found: dict[str | None, Path] = {}
    for side, spellings in SIDES.items():
        longer = [word + end for word in spellings for end in SET]
        if folder := child(root, *spellings) or child(root, *longer):
            found[side] = folder
    if not found:
        others = [folder for folder in folders(root) if side_of(folder.name)]
        found = {side_of(folder.name): folder for folder in others}
        if "train" not in found or len(found) < len(others):  # folders that happen to have such a word in their names
            found = {}
    return found or {None: root}


def only(found: Sequence[Path]) -> Path | None:
    """The one folder that has some name; None without one. Raises DataError if two folders have the names, as "image" beside
    "images": one would be left out without a word."""
    if len(found) > 1:
        raise DataError(f"{found[0]} and {found[1].name}: two folders for the same; put the files into one of them")
    return found[0] if found else None


def unlabelled(folder: Path | None) -> list[ImageRecord]:
    """All images in and below a folder, as records without annotation."""
    return [ImageRecord(file) for file in images_below(folder)]


def normal(name: str) -> str:
    """In one letter case and one Unicode form, as `key`."""
    return unicodedata.normalize("NFC", name).lower()


def not_used(files: Sequence[Path], reason: str) -> Iterator[Skipped]:
    """Files that are left out, and are no error."""
    return (Skipped(file, reason, is_error=False) for file in files)
