"""The folders of the 2019 tutorial, and of most people's own images: a split, images and masks, a folder per class.

train|val / image|mask / <Class> / <name>.*     also images, masks, labels; valid, validation; no split
detect / image / *                              optional, without masks
"""

from pathlib import Path

from data.formats.files import (
    child,
    files_in,
    folders,
    images_below,
    is_image,
    not_used,
    only,
    split_folders,
    unlabelled,
)
from data.formats.pairs import class_folder_records, image_and_mask_folders, origins
from data.records import DatasetIndex, ImageRecord, Skipped

NAME = "class-folders"
LAYOUT = "train/image/<Class>/<name>.png, train/mask/<Class>/<name>.png, val/..."
IMAGES, MASKS = ("image",), ("mask", "label", "annotation")


def recognises(root: Path) -> bool:
    """By folders of images in which there are folders of classes: not those of patients or slides, nor one of old images or
    thumbnails beside images that have masks."""
    for images, masks in image_and_mask_folders(root, IMAGES, MASKS).values():
        loose = any(is_image(file) for folder in masks for file in files_in(folder))
        for folder in (folder for folder in images if not origins(folder)):
            if not (loose and any(map(is_image, files_in(folder)))) and any(map(images_below, folders(folder))):
                return True
    return False


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records below root. Folders that are not as expected are added to problems."""
    skipped: list[Skipped] = []
    records: dict[str | None, list[ImageRecord]] = {}
    for name, both in image_and_mask_folders(root, IMAGES, MASKS).items():
        images, masks = map(only, both)
        if name == "test" and images and not masks:  # a test split is often published so
            skipped += not_used(images_below(images), "of the test split, which has no masks")
            continue
        if images is None or masks is None:
            side = split_folders(root)[name]
            missing = side / ("image" if images is None else "mask")
            problems.append(f"{missing}: no such folder, so {side} has images without masks or masks without images")
            continue
        records[name] = class_folder_records(images, masks, problems, skipped)
    without_masks = unlabelled(child(child(root, "detect"), *IMAGES))
    return DatasetIndex.of_splits(root, records, without_masks, skipped, NAME)
