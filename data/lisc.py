"""LISC and the like: which files belong together, of which class, in which split. No file is opened here.

Two layouts of folders are told apart by looking, each with or without an outer folder, in any letter case:

    the tutorial's       train|val / image|mask / <Class> / <name>.*    and, without masks, detect / image / *
    LISC as unzipped     Main Dataset / <class> / 1.bmp
                         Ground Truth Segmentation / <class> / areaforexpert1 / 1_expert.bmp
                         More Dataset without Ground Truth / ...
"""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

CLASSES = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")
MIXED = "mixt"  # LISC's folder of fields with cells of several classes
# LISC's masks lack this many pixels on every side of the image: 712 x 568 beside 720 x 576.
MASK_MARGIN = 4

# LISC's grey codes of cytoplasm and nucleus. The basophil's nucleus is hidden: one code for the whole cell.
GREY_CODES = {
    "basophil": (50, 50),
    "eosinophil": (75, 100),
    "lymphocyte": (125, 150),
    "monocyte": (175, 200),
    "neutrophil": (225, 255),
}

IMAGE_ENDINGS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})

TREES = """  LISC as unzipped                                        or the layout of the tutorial
    Main Dataset/<class>/1.bmp                              train/image/<Class>/<name>.png
    Ground Truth Segmentation/<class>/                      train/mask/<Class>/<name>.png
        areaforexpert1/1_expert.bmp                         val/image/<Class>/<name>.png
    More Dataset without Ground Truth/... (optional)        val/mask/<Class>/<name>.png
  <class> is Baso, eosi, lymp, mono, neut or mixt           detect/image/<name>.png (optional)"""

HELP = f"""Expected in it:
{TREES}
LISC comes from its authors, Rezatofighi and Soltanian-Zadeh (2011): get "LISC Database.zip" from
http://users.cecs.anu.edu.au/~hrezatofighi/Data/Leukocyte%20Data.htm
(free for research and education; no redistribution, no commercial use) and unzip it into this folder.
Meanwhile, to train on artificial smears: python train.py --data synthetic"""


class DataError(ValueError):
    """The data cannot be used. The message names the files and says what to do about them."""


class Field(NamedTuple):
    """One field of view of the microscope."""

    image: Path
    mask: Path | None  # None: not annotated
    label: str | None  # one of CLASSES; None: the grey codes of the mask tell the class of each cell


class Splits(NamedTuple):
    train: list[Field]
    val: list[Field]
    unlabelled: list[Field]  # without masks, for prediction


def find(root: Path | str, val_fraction: float = 0.2, seed: int = 0) -> Splits:
    """The fields below root, always in the same order.

    The tutorial's split is taken as it is. LISC has none: one is made with `val_fraction` of each class, by `seed`.
    Raises DataError if nothing is there, or if images, masks and classes do not fit together, with all such problems.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must lie between 0 and 1, not {val_fraction}")
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {HELP}")
    if not any(root.iterdir()):
        raise DataError(f"{root}: this folder is empty. {HELP}")
    found = _recognise(root)
    if len(found) != 1:
        several = f"several data sets ({', '.join(map(str, found))}); name one of them" if found else "no known layout"
        raise DataError(f"{root}: {several}. {HELP}")
    problems: list[str] = []
    read = _read_tutorial if _child(found[0], "train") else _read_lisc
    splits = read(found[0], val_fraction, seed, problems)
    if problems:
        raise DataError("\n  ".join([f"{found[0]}: images and masks do not fit together", *problems]))
    if not splits.train:
        raise DataError(f"{found[0]}: the folders are there, but hold no image with a mask to train on. {HELP}")
    return splits


def _recognise(root: Path) -> list[Path]:
    """The folders that hold a known layout: root, or else those one or two levels below (some unzip into two)."""
    level = [root]
    for _ in range(3):
        found = [p for p in level if _child(p, "train", "image") or _child(p, "Main Dataset")]
        if found:
            return found
        level = [child for parent in level for child in _folders(parent)]
    return []


def _read_tutorial(root: Path, val_fraction: float, seed: int, problems: list[str]) -> Splits:
    sides = {name: _child(root, name) for name in ("train", "val")}
    fields = {
        name: _pair(_child(side, "image") or side / "image", _child(side, "mask") or side / "mask", problems)
        for name, side in sides.items()
        if side
    }
    if "val" not in fields:
        fields["train"], fields["val"] = split([[field] for field in fields["train"]], val_fraction, seed)
    return Splits(fields["train"], fields["val"], _unlabelled(_child(root, "detect", "image")))


def _read_lisc(root: Path, val_fraction: float, seed: int, problems: list[str]) -> Splits:
    masks = _child(root, "Ground Truth Segmentation")
    if masks is None:
        problems.append(f"{root / 'Ground Truth Segmentation'}: no such folder; unzip all of the archive")
        return Splits([], [], [])
    # Only the first expert's outlines: some copies of LISC have a second expert's beside them.
    masks = _child(masks, "areaforexpert1") or masks
    fields = _pair(_child(root, "Main Dataset") or root, masks, problems)
    train, val = split([[field] for field in fields], val_fraction, seed)
    return Splits(train, val, _unlabelled(_child(root, "More Dataset without Ground Truth")))


def split(groups: Sequence[Sequence[Field]], val_fraction: float, seed: int) -> tuple[list[Field], list[Field]]:
    """Divide into training and validation, class by class, so that a rare class is in both.

    The fields of a group (of one class) stay on one side: a way to keep two pictures of the same spot together.
    Of each class with two or more groups, at least one goes to either side.
    """
    sides: tuple[list[Field], list[Field]] = ([], [])
    for label in (*CLASSES, None):
        members = [group for group in groups if group[0].label == label]
        # Seeded for each class: another class's number of images changes nothing here.
        random.Random(f"{seed} {label}").shuffle(members)
        count = max(1, min(round(val_fraction * len(members)), len(members) - 1)) if len(members) > 1 else 0
        for side, chosen in zip(sides, (members[count:], members[:count]), strict=True):
            side += sorted((field for group in chosen for field in group), key=lambda field: _natural(field.image))
    return sides


def _pair(images: Path, masks: Path, problems: list[str]) -> list[Field]:
    """Match the files of images/<class>/ to those of masks/<class>/ by their stem. What does not match goes to problems."""
    if not masks.is_dir():
        problems.append(f"{masks}: no such folder, so the images of {images} have no masks")
        return []
    image_folders, mask_folders = _class_folders(images, problems), _class_folders(masks, problems)
    fields: list[Field] = []
    for name in sorted(image_folders.keys() | mask_folders.keys()):
        label = None if name == MIXED else name
        image_files = _by_stem(image_folders.get(name), problems)
        mask_folder = mask_folders.get(name)
        mask_files = _by_stem(mask_folder and (_child(mask_folder, "areaforexpert1") or mask_folder), problems)
        for stem, image in image_files.items():
            if stem in mask_files:
                fields.append(Field(image, mask_files[stem], label))
            else:
                where = mask_folder or masks / image.parent.name
                problems.append(f"{image}: no mask of that name in {where}; add it, or take the image out")
        for stem, mask in mask_files.items():
            if stem not in image_files:
                where = image_folders.get(name) or images / name
                problems.append(f"{mask}: no image of that name in {where}; add it, or take the mask out")
    return fields


def _class_folders(parent: Path, problems: list[str]) -> dict[str, Path]:
    """Class -> its folder."""
    folders: dict[str, Path] = {}
    for folder in _folders(parent):
        name = class_of(folder.name)
        if name is None:
            problems.append(f"{folder}: unknown class; name the folder after one of {', '.join(CLASSES)} (or {MIXED})")
        elif name in folders:
            problems.append(f"{folder}: the same class as {folders[name].name}; put the files into one folder")
        else:
            folders[name] = folder
    return folders


def class_of(folder_name: str) -> str | None:
    """The class that a folder is named after, in any letter case, in the plural or cut short to four letters or more:
    "Baso", "eosi", "Lymphocytes". "mixt" is LISC's folder of several classes. None if it is no class's name."""
    name = _plain(folder_name)
    return next((known for known in (*CLASSES, MIXED) if len(name) >= 4 and known.startswith(name)), None)


def _by_stem(folder: Path | None, problems: list[str]) -> dict[str, Path]:
    """Name without ending and without LISC's "_expert" -> file."""
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir(), key=_natural) if folder else []:
        if _is_image(file):
            stem = re.sub(r"_expert\d*$", "", file.stem.lower())
            if stem in files:
                problems.append(f"{file}: the same name as {files[stem].name}; keep one of the two")
            files.setdefault(stem, file)
    return files


def _unlabelled(folder: Path | None) -> list[Field]:
    files = sorted(filter(_is_image, folder.rglob("*")), key=_natural) if folder else []
    return [Field(file, None, None) for file in files]


def _child(parent: Path, *names: str) -> Path | None:
    """The folder parent/name/name/..., in any letter case, spacing and number (image, images); None if it is not there."""
    folder: Path | None = parent
    for name in names:
        folder = next((f for f in _folders(folder) if _plain(f.name) == _plain(name)), None) if folder else None
    return folder


def _folders(parent: Path) -> list[Path]:
    """Without what operating systems leave behind (.Trashes, __MACOSX)."""
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".") and path.is_file()


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).rstrip("s")


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts 2.bmp before 10.bmp."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path).lower())]
