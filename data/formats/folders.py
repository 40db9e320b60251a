"""What the folder formats share: names in any spelling, files in natural order, images paired with masks by name."""

import re
from pathlib import Path

from data.records import MULTI_CLASS, ImageRecord, Skipped
from maskrcnn.config import LISC_CLASSES
from maskrcnn.inference.image_io import IMAGE_EXTENSIONS


def pair(images: Path, masks: Path, problems: list[str], skipped: list[Skipped]) -> list[ImageRecord]:
    """Match the files of images/<class>/ to those of masks/<class>/ by their stem. Unmatched files are added to skipped,
    folders that are not as expected to problems."""
    if not masks.is_dir():
        problems.append(f"{masks}: no such folder, so the images of {images} have no masks")
        return []
    image_folders, mask_folders = _class_folders(images, problems), _class_folders(masks, problems)
    records: list[ImageRecord] = []
    for name in sorted(image_folders.keys() | mask_folders.keys()):
        label = None if name == MULTI_CLASS else name
        image_files = _by_stem(image_folders.get(name), problems)
        mask_folder = mask_folders.get(name)
        mask_files = _by_stem(mask_folder and (child(mask_folder, "areaforexpert1") or mask_folder), problems)
        for stem, image in image_files.items():
            if stem in mask_files:
                records.append(ImageRecord(image, mask_files[stem], label))
            else:
                expected = mask_folder or masks / image.parent.name
                skipped.append(Skipped(image, f"no mask of that name in {expected}"))
        for stem, mask in mask_files.items():
            if stem not in image_files:
                expected = image_folders.get(name) or images / name
                skipped.append(Skipped(mask, f"no image of that name in {expected}"))
    return records


def unlabelled(folder: Path | None) -> list[ImageRecord]:
    """All images in and below a folder, as records without masks."""
    files = sorted(filter(_is_image, folder.rglob("*")), key=_natural) if folder else []
    return [ImageRecord(file, None, None) for file in files]


def class_of(folder_name: str) -> str | None:
    """The class that a folder is named after, in any letter case, in the plural or shortened to four letters or more:
    "Baso", "eosi", "Lymphocytes"; also MULTI_CLASS. None if it is no class's name."""
    name = _plain(folder_name)
    if len(name) < 4:
        return None
    return next((label for label in (*LISC_CLASSES, MULTI_CLASS) if label.startswith(name)), None)


def child(parent: Path, *names: str) -> Path | None:
    """The folder parent/name/name/..., in any letter case, spacing and number (image, images); None if it does not exist."""
    folder: Path | None = parent
    for name in names:
        folder = next((f for f in folders(folder) if _plain(f.name) == _plain(name)), None) if folder else None
    return folder


def folders(parent: Path) -> list[Path]:
    """The folders in a folder, without what operating systems leave behind (.Trashes, __MACOSX)."""
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _class_folders(parent: Path, problems: list[str]) -> dict[str, Path]:
    """Class -> its folder."""
    by_class: dict[str, Path] = {}
    for folder in folders(parent):
        name = class_of(folder.name)
        if name is None:
            expected = f"{', '.join(LISC_CLASSES)} (or {MULTI_CLASS})"
            problems.append(f"{folder}: unknown class; name the folder after one of {expected}")
        elif name in by_class:
            problems.append(f"{folder}: the same class as {by_class[name].name}; put the files into one folder")
        else:
            by_class[name] = folder
    return by_class


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


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_EXTENSIONS and not path.name.startswith(".") and path.is_file()


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).rstrip("s")


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts 2.bmp before 10.bmp."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path).lower())]
