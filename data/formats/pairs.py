"""Images and masks in two folders, with or without a folder for each class: which mask is of which image."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from data.classes import standard_class
from data.formats.files import (
    child,
    children,
    files_in,
    folders,
    images_below,
    is_image,
    key,
    normal,
    not_used,
    split_folders,
)
from data.records import MULTI_CLASS, ImageRecord, MaskFile, Skipped

EXPERT = r"_expert\d*"  # LISC's masks: 1_expert.bmp beside 1.bmp
MASK_ENDINGS = rf"(?:[-_ ](?:cp[-_ ])?(?:masks?|labels?|seg)|{EXPERT})$"
IMAGE_ENDINGS = r"[-_ ](?:img|image)$"  # cellpose's own data: 000_img.png, 000_masks.png
# Folders that no one names a class: "Patient 3", "slide_02", "40x", a date, a long number.
ORIGINS = (
    r"(?:patient|pat|pt|case|subject|donor|animal|mouse|slide|smear|sample|specimen|field|fov|batch|series|scan|session|part"
    r"|fold|set|train|exp|experiment|hospital|centre|center|site|lab|group|day|id|p|s)[ _.-]*\d+"
    r"|(?:patient|slide|smear|sample|batch|hospital|site|group)[ _.-]+[a-z]|patient[ _.-].*"
    r"|0\d+|\d+x|\d{5,}|\d{4}[ _.-]\d{1,2}[ _.-]\d{1,2}|\d{1,2}[ _.-]\d{1,2}[ _.-]\d{4}"
)


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


def origins(images: Path) -> list[str]:
    """The names of the folders in a folder of images, if they are those of patients, slides and the like; [] if one of them
    may be a class."""
    names = [folder.name for folder in folders(images) if images_below(folder)]
    return names if all(map(is_origin, names)) else []


def is_origin(name: str) -> bool:
    """Whether a folder is named after a patient, a slide or the like."""
    return re.fullmatch(ORIGINS, name.lower()) is not None


def by_key(files: Iterable[Path], base: Path) -> tuple[dict[str, Path], list[Skipped]]:
    """Files by the folders below base that they are in, and `key`, with two of the same name listed apart. Of names that
    differ in letter case none is used: which mask is of which image would be a guess."""
    named: dict[str, list[Path]] = {}
    for file in files:
        named.setdefault(normal(str(file.parent.relative_to(base) / key(file))), []).append(file)
    twice = []
    for full, (first, *others) in list(named.items()):
        if any(other.stem != first.stem for other in others):
            del named[full]
            twice += [
                Skipped(file, f"{first.name} and {others[0].name} differ in letter case; rename one")
                for file in (first, *others)
            ]
        else:
            twice += [Skipped(file, f"the same name as {first.name}; keep one of the two") for file in others]
    return {full: found[0] for full, found in named.items()}, twice


def masks_by_image(image_of: dict[str, Path], mask_of: dict[str, Path]) -> tuple[dict[str, list[Path]], list[Path]]:
    """The masks of each image, both by `by_key`, those of just its name first; and the masks that are of none. A mask has
    the name of its image or, if there is no such image, that name with one of MASK_ENDINGS."""
    names = {re.sub(IMAGE_ENDINGS, "", name): name for name in image_of} | {name: name for name in image_of}
    own: dict[str, list[Path]] = {}
    of_none = []
    for name, mask in sorted(mask_of.items(), key=lambda item: item[0] not in names):
        if image := names.get(name) or names.get(re.sub(MASK_ENDINGS, "", name)):
            own.setdefault(image, []).append(mask)
        else:
            of_none.append(mask)
    return own, of_none


def class_folder_records(images: Path, masks: Path, problems: list[str], skipped: list[Skipped]) -> list[ImageRecord]:
    """Match the files below images/<class>/ to those below masks/<class>/ by their names. Unmatched files are added to
    skipped, folders that are not as expected to problems. A picture that is in the folders of two classes under the same
    name, each time with the mask of its own cell, is one record."""
    image_folders, mask_folders = _by_class(images, problems), _by_class(masks, problems)
    loose = [file for folder in (images, masks) for file in files_in(folder) if is_image(file)]
    if image_folders:
        skipped += not_used(loose, "lies beside the folders of the classes, so its class is not known")
    records: list[ImageRecord] = []
    for name in sorted(image_folders.keys() | mask_folders.keys()):
        image_folder, mask_folder = image_folders.get(name), mask_folders.get(name)
        mask_folder = mask_folder and (child(mask_folder, "areaforexpert1") or mask_folder)
        label = None if name == MULTI_CLASS else (image_folder or images / name).name
        shown = (image_folder or mask_folder or images / name).name
        expected = (image_folder or images / shown, mask_folder or masks / shown)
        records += match(image_folder, mask_folder, label, expected, skipped)
    return _same_pictures(records, skipped)


def match(
    images: Path | None, masks: Path | None, label: str | None, expected: Sequence[Path], skipped: list[Skipped]
) -> list[ImageRecord]:
    """Records of the images below a folder that have a mask below another one. expected: where the missing ones should
    be."""
    image_files, twice = by_key(images_below(images), images) if images else ({}, [])
    mask_files, twice_masks = by_key(images_below(masks), masks) if masks else ({}, [])
    skipped += [*twice, *twice_masks]
    own, of_none = masks_by_image(image_files, mask_files)
    records = []
    for name, image in image_files.items():
        first, *others = own.get(name, [None])
        if first:
            records.append(ImageRecord(image, (MaskFile(first, label, may_lack_margin=True),)))
            skipped += [Skipped(other, f"{first.name} is read instead of it") for other in others if other]
        else:
            skipped.append(Skipped(image, f"no mask of that name in {expected[1]}"))
    skipped += [Skipped(mask, f"no image of that name in {expected[0]}") for mask in of_none]
    return records


def _by_class(parent: Path, problems: list[str]) -> dict[str, Path]:
    """Class -> its folder. Empty folders do not count."""
    found: dict[str, Path] = {}
    for folder in folders(parent):
        if not images_below(folder):
            continue
        name = standard_class(folder.name) or normal(folder.name)
        if name in found:
            problems.append(f"{folder}: the same class as {found[name].name}; put the files into one folder")
        found.setdefault(name, folder)
    return found


def _same_pictures(records: Sequence[ImageRecord], skipped: list[Skipped]) -> list[ImageRecord]:
    """One record for each picture: those of one name and the same content are joined."""
    by_name: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        by_name.setdefault(f"{key(record.image)} {record.image.stat().st_size}", []).append(i)
    joined: dict[int, ImageRecord] = dict(enumerate(records))
    for indices in by_name.values():
        first: dict[bytes, int] = {}
        for i in indices if len(indices) > 1 and records[indices[0]].image.stat().st_size else ():
            digest = hashlib.sha256(records[i].image.read_bytes()).digest()
            k = first.setdefault(digest, i)
            if k == i:
                continue
            del joined[i]
            if any(_are_equal(own.path, mask.path) for own in records[i].masks for mask in records[k].masks):
                reason = (
                    f"the same picture with the same mask as {records[k].image}, which is of another class; keep one"
                )
                skipped += [Skipped(records[i].image, reason)]
                joined.pop(k, None)
            elif k in joined:
                joined[k] = joined[k]._replace(masks=joined[k].masks + records[i].masks)
                reason = f"the same picture as {records[k].image}, which has the cells of both masks"
                skipped += not_used([records[i].image], reason)
    return list(joined.values())


def _are_equal(a: Path, b: Path) -> bool:
    return a.stat().st_size == b.stat().st_size > 0 and a.read_bytes() == b.read_bytes()
