"""LISC and the like: which files belong together, of which class. No file is opened here.

Two layouts of folders are told apart by looking, each with or without an outer folder, in any letter case:

    the tutorial's       train|val / image|mask / <Class> / <name>.*    and, without masks, detect / image / *
    LISC as unzipped     Main Dataset / <class> / 1.bmp
                         Ground Truth Segmentation / <class> / areaforexpert1 / 1_expert.bmp
                                              More Dataset without Ground Truth / ...

To check a folder of your own and look at what is in it: python -m data.lisc PATH
"""

import re
from pathlib import Path
from typing import NamedTuple

CLASSES: tuple[str, ...] = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")
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

# Folders by which a layout is recognised.
LANDMARKS = (("train", "image"), ("val", "image"), ("Main Dataset",))

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


class Skipped(NamedTuple):
    """A file that is not used, and why."""

    path: Path
    reason: str
    is_fault: bool = True  # False: nothing is wrong with it

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class Found(NamedTuple):
    """What a folder holds."""

    root: Path
    train: list[Field]  # annotated
    val: list[Field] | None  # annotated, for validation; None: the folder has no split of its own, as LISC
    unlabelled: list[Field]  # without masks, for prediction
    skipped: list[Skipped]


def find(root: Path | str, to_train: bool = True) -> Found:
    """The fields below root, always in the same order.

    Files without their counterpart are left out and listed. Raises DataError if nothing is there, or if the folders are
    not as they must be, with all such problems. to_train: False where a folder with nothing but `val` will do.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {HELP}")
    if not any(root.iterdir()):
        raise DataError(f"{root}: this folder is empty. {HELP}")
    places = _recognise(root)
    if len(places) != 1:
        several = (
            f"several data sets ({', '.join(map(str, places))}); name one of them" if places else "no known layout"
        )
        raise DataError(f"{root}: {several}. {HELP}")
    problems: list[str] = []
    read = _read_tutorial if _child(places[0], "train") or _child(places[0], "val") else _read_lisc
    found = read(places[0], problems)
    if problems:
        raise DataError("\n  ".join([f"{places[0]}: the folders are not as expected", *problems]))
    if not (found.train or (found.val and not to_train)):
        missing = f"\n  {found.skipped[0]}, and so on" if found.skipped else ""
        raise DataError(
            f"{places[0]}: the folders are there, but hold no image with a mask to train on. {missing or HELP}"
        )
    return found


def _recognise(root: Path) -> list[Path]:
    """The folders that hold a known layout: root, or else those one or two levels below (some unzip into two)."""
    level = [root]
    for _ in range(3):
        found = [p for p in level if any(_child(p, *names) for names in LANDMARKS)]
        if found:
            return found
        level = [child for parent in level for child in _folders(parent)]
    return []


def _read_tutorial(root: Path, problems: list[str]) -> Found:
    skipped: list[Skipped] = []
    sides = {name: _child(root, name) for name in ("train", "val")}
    fields = {
        name: _pair(_child(side, "image") or side / "image", _child(side, "mask") or side / "mask", problems, skipped)
        for name, side in sides.items()
        if side
    }
    return Found(
        root, fields.get("train", []), fields.get("val"), _unlabelled(_child(root, "detect", "image")), skipped
    )


def _read_lisc(root: Path, problems: list[str]) -> Found:
    unlabelled = _unlabelled(_child(root, "More Dataset without Ground Truth"))
    masks = _child(root, "Ground Truth Segmentation")
    if masks is None:
        problems.append(f"{root / 'Ground Truth Segmentation'}: no such folder; unzip all of the archive")
        return Found(root, [], None, unlabelled, [])
    # Only the first expert's outlines: some copies of LISC have a second expert's beside them.
    masks = _child(masks, "areaforexpert1") or masks
    skipped: list[Skipped] = []
    fields = _pair(_child(root, "Main Dataset") or root, masks, problems, skipped)
    return Found(root, fields, None, unlabelled, skipped)


def _pair(images: Path, masks: Path, problems: list[str], skipped: list[Skipped]) -> list[Field]:
    """Match the files of images/<class>/ to those of masks/<class>/ by their stem. What does not match goes to skipped."""
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
                skipped.append(Skipped(image, f"no mask of that name in {where}"))
        for stem, mask in mask_files.items():
            if stem not in image_files:
                where = image_folders.get(name) or images / name
                skipped.append(Skipped(mask, f"no image of that name in {where}"))
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


if __name__ == "__main__":
    from data.check import main

    raise SystemExit(main())
