"""One mask file per cell, as in the 2018 Data Science Bowl.

<id>/images/<id>.png, <id>/masks/*.png          also in train, val (stage1_train)
"""

from pathlib import Path

from data.classes import SINGLE, SINGLE_NOTE
from data.formats.files import children, files_in, folders, images_below, is_image, not_used, split_folders
from data.records import DatasetIndex, ImageRecord, MaskFile, Skipped

NAME = "object-masks"
LAYOUT = "<id>/images/<id>.png, <id>/masks/*.png: one mask per cell"
TO_LOOK_AT = 10  # folders, to recognise the format


def recognises(root: Path) -> bool:
    """By a folder with one image and a folder of masks."""
    sides = split_folders(root).values()
    return any(_is_field(folder) for side in sides for folder in folders(side)[:TO_LOOK_AT])


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records below root. An image with an empty folder of masks is one without a cell; a test split without masks is
    set aside."""
    skipped: list[Skipped] = []
    records: dict[str | None, list[ImageRecord]] = {}
    for name, side in split_folders(root).items():
        if name == "test" and not any(children(folder, "mask") for folder in folders(side)):  # often published so
            skipped += not_used(images_below(side), "of the test split, which has no masks")
            continue
        records[name] = []
        for folder in folders(side):
            images, masks = _images(folder, "image"), _images(folder, "mask")
            if len(images) == 1 and masks:
                objects = tuple(MaskFile(mask, SINGLE, one_cell=True) for mask in masks)
                records[name].append(ImageRecord(images[0], objects))
            elif len(images) == 1 and children(folder, "mask"):
                records[name].append(ImageRecord(images[0], shapes=()))
            else:
                reason = f"has {len(images)} images and {len(masks)} masks; expected one image, and a mask of each cell"
                skipped.append(Skipped(folder, reason))
    return DatasetIndex.of_splits(root, records, [], skipped, NAME, (SINGLE,), (SINGLE_NOTE,))


def _is_field(folder: Path) -> bool:
    return len(_images(folder, "image")) == 1 and bool(_images(folder, "mask"))


def _images(folder: Path, name: str) -> list[Path]:
    return [file for below in children(folder, name) for file in files_in(below) if is_image(file)]
