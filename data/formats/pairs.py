"""Images and masks in folders of the same names: one folder per class, or none."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from data.classes import standard_class
from data.formats.files import by_key, child, files_in, folders, images_below, is_image, key, normal, not_used
from data.records import MULTI_CLASS, ImageRecord, MaskFile, Skipped

EXPERT = r"_expert\d*"  # LISC's masks: 1_expert.bmp beside 1.bmp


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
        expected = (image_folder or images / name, mask_folder or masks / name)
        records += match(image_folder, mask_folder, label, expected, skipped)
    return _same_pictures(records, skipped)


def match(
    images: Path | None, masks: Path | None, label: str | None, expected: Sequence[Path], skipped: list[Skipped]
) -> list[ImageRecord]:
    """Records of the images below a folder that have a mask below another one. expected: where the missing ones should
    be."""
    image_files, twice = by_key(images_below(images), images) if images else ({}, [])
    mask_files, twice_masks = by_key(images_below(masks), masks, EXPERT) if masks else ({}, [])
    skipped += [*twice, *twice_masks]
    records = []
    for name, image in image_files.items():
        if name in mask_files:
            records.append(ImageRecord(image, (MaskFile(mask_files[name], label),)))
        else:
            skipped.append(Skipped(image, f"no mask of that name in {expected[1]}"))
    for name, mask in mask_files.items():
        if name not in image_files:
            skipped.append(Skipped(mask, f"no image of that name in {expected[0]}"))
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
            if k != i:
                joined[k] = joined[k]._replace(masks=joined[k].masks + records[i].masks)
                del joined[i]
                reason = f"the same picture as {records[k].image}, which has the cells of both masks"
                skipped += not_used([records[i].image], reason)
    return list(joined.values())
