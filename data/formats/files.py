"""What the formats share: names in any spelling, files in natural order, the splits that folders are named after."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from data.records import DataError, ImageRecord, Skipped
from maskrcnn.inference.image_io import IMAGE_EXTENSIONS

SIDES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
LEFT_BEHIND = ("__macosx", "thumbs.db", "desktop.ini")  # by operating systems
STEM = "\0"  # marks a name without ending, since no name has it


def plain(name: str) -> str:
    """A name without case, spaces, punctuation and the s of the plural: "Main Dataset" and "main_datasets" are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).rstrip("s")


def key(path: Path | str) -> str:
    """By which an image and its annotation are matched: the name without ending, in one letter case and one Unicode form
    (NFC, as Windows writes names; macOS takes letters and accents apart)."""
    return normal(Path(path).stem)


def natural(path: Path) -> list[tuple[int, str]]:
    """Sorts 2.bmp before 10.bmp."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path).lower())]


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


def files_below(parent: Path) -> list[Path]:
    """The files in a folder and all folders below, sorted. Links to folders are followed, each folder once."""
    found, seen = [], set()
    for place, below, names in os.walk(parent, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = [name for name in below if not is_hidden(Path(name))]
        found += [path for name in names if not is_hidden(path := Path(place, name))]
    return sorted(found, key=natural)


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
    """ "train", "val" or "test" if a file or folder is named after that split (instances_val2017, Training), else None."""
    words = re.findall(r"[a-z]+", name.lower())
    return next((side for side, spellings in SIDES.items() if set(words) & set(spellings)), None)


def split_folders(root: Path) -> dict[str | None, Path]:
    """The folders train, val and test of a data set, in their spellings, or stage1_train and the like; without any,
    {None: root}."""
    found: dict[str | None, Path] = {}
    for side, spellings in SIDES.items():
        if folder := child(root, *spellings):
            found[side] = folder
    if not found:
        longer = [folder for folder in folders(root) if side_of(folder.name)]
        found = {side_of(folder.name): folder for folder in longer}
        if "train" not in found or len(found) < len(longer):  # folders that happen to have such a word in their names
            found = {}
    return found or {None: root}


def image_and_mask_folders(
    root: Path, images: Sequence[str], masks: Sequence[str]
) -> dict[str | None, tuple[list[Path], list[Path]]]:
    """The folders that have one of the names of images, and of masks, in each split: train/images and train/masks, or
    images/train and masks/train."""
    sides = split_folders(root)
    outer = children(root, *images), children(root, *masks)
    if None in sides and all(len(found) == 1 for found in outer):
        inner_images, inner_masks = (split_folders(found[0]) for found in outer)
        if None not in inner_images | inner_masks:
            return {side: ([inner_images[side]], [inner_masks[side]]) for side in inner_images if side in inner_masks}
    return {name: (children(side, *images), children(side, *masks)) for name, side in sides.items()}


def only(found: Sequence[Path]) -> Path | None:
    """The one folder that has some name; None without one. Raises DataError if two folders have the names, as "image" beside
    "images": one would be left out without a word."""
    if len(found) > 1:
        raise DataError(f"{found[0]} and {found[1].name}: two folders for the same; put the files into one of them")
    return found[0] if found else None


def unlabelled(folder: Path | None) -> list[ImageRecord]:
    """All images in and below a folder, as records without annotation."""
    return [ImageRecord(file) for file in images_below(folder)]


def by_key(files: Iterable[Path], base: Path, suffix: str = "") -> tuple[dict[str, Path], list[Skipped]]:
    """Files by the folders below base that they are in, and `key`, with two of the same name listed apart. suffix: a
    regular expression of what is not part of the name, as "_expert"."""
    found: dict[str, Path] = {}
    twice = []
    for file in files:
        name = re.sub(f"(?:{suffix})$", "", key(file)) if suffix else key(file)
        full = normal(str(file.parent.relative_to(base) / name))
        if full in found:
            twice.append(Skipped(file, f"the same name as {found[full].name}; keep one of the two"))
        found.setdefault(full, file)
    return found, twice


class ImageFinder:
    """Finds the image that an annotation file names, wherever it lies in the data set."""

    def __init__(self, root: Path) -> None:
        self.root, self.images = root, images_below(root)
        # By name, by the folder with the name, and by the name without ending: no search through all of them.
        self._found: dict[str, list[Path]] = {}
        for path in self.images:
            name, folder = normal(path.name), normal(path.parent.name)
            for place in dict.fromkeys((name, f"{folder}/{name}", f"{key(path)}{STEM}", f"{folder}/{key(path)}{STEM}")):
                self._found.setdefault(place, []).append(path)

    def __call__(self, name: str, near: Path, side: str | None = None) -> Path:
        """The image of that name, perhaps with folders (of the machine it was written on): the one whose folders agree
        best, of several the one in a folder of the split `side`, of these the one nearest to the folder `near`. Raises
        ValueError if there is none, or two as near."""
        return self._nearest(name, normal(name.replace("\\", "/")).split("/"), "", near, side)

    def by_stem(self, stem: str, near: Path) -> Path:
        """The image of a name without ending, or of a name with one, as in image.png.geojson. Raises ValueError."""
        return self._nearest(stem, [normal(stem)], "" if normal(stem) in self._found else STEM, near)

    def knows(self, stem: str) -> bool:
        """Whether `by_stem` would find an image."""
        return normal(stem) in self._found or normal(stem) + STEM in self._found

    def _nearest(self, name: str, parts: list[str], end: str, near: Path, side: str | None = None) -> Path:
        folder = parts[-2] if len(parts) > 1 else normal(near.name)
        beside = self._found.get(f"{folder}/{parts[-1]}{end}", [])
        candidates = beside if len(parts) > 1 or near in [path.parent for path in beside] else []
        candidates = candidates or self._found.get(f"{parts[-1]}{end}", [])
        if not candidates:
            raise ValueError(f"the image {name} is not in the data set")

        def fit(path: Path) -> tuple[int, bool, int]:
            agreeing = 0
            for ours, theirs in zip(reversed(path.parts[:-1]), reversed(parts[:-1]), strict=False):
                if normal(ours) != theirs:
                    break
                agreeing += 1
            of_side = side in map(side_of, path.relative_to(self.root).parts[:-1])
            return -agreeing, not of_side, len(Path(os.path.relpath(path.parent, near)).parts)

        fits = [fit(path) for path in candidates] if len(candidates) > 1 else [(0, False, 0)]
        chosen = [path for path, quality in zip(candidates, fits, strict=True) if quality == min(fits)]
        if len(chosen) > 1:
            raise ValueError(f"the image {name} could be {chosen[0]} or {chosen[1]}; give them different names")
        return chosen[0]


def normal(name: str) -> str:
    """In one letter case and one Unicode form, as `key`."""
    return unicodedata.normalize("NFC", name).lower()


def not_used(files: Sequence[Path], reason: str) -> Iterator[Skipped]:
    """Files that are left out, and are no error."""
    return (Skipped(file, reason, is_error=False) for file in files)
