"""Label maps, one for each image: 0 is background, every other number a cell. What StarDist, cellpose and our own predict.py
write.

<name>.* and <name>_masks.*, <name>_cp_masks.*, <name>_labels.*, <name>_seg.npy   in one folder
images/<name>.* and masks/<name>.* (or labels, ...)                               in two
each also in train, val (valid, validation), or with these in images and masks
"""

import re
from collections.abc import Sequence
from pathlib import Path

from data.classes import SINGLE, SINGLE_NOTE
from data.formats.files import files_below, files_in, folders, is_image, key, only, split_folders
from data.formats.pairs import MASK_ENDINGS, by_key, image_and_mask_folders, is_origin, masks_by_image, origins
from data.records import DatasetIndex, ImageRecord, MaskFile, Skipped

NAME = "label-maps"
LAYOUT = "<name>.png and <name>_masks.png (_cp_masks, _labels, _seg.npy), or images/<name>.png, masks/<name>.png"
IMAGES = ("image", "img", "jpegimages", "raw", "input")
MASKS = ("mask", "label", "annotation", "groundtruth", "gt", "cpmask", "segmentation")
SHOWN = 3  # names of folders in a note
OUTPUTS = r"_(?:overlay|splash|preview|outlines|flows|probs?|cp_output)$"  # pictures of results beside the images


def recognises(root: Path) -> bool:
    """By two folders of files, or by files whose names end in _masks and the like."""
    pairs = image_and_mask_folders(root, IMAGES, MASKS).values()
    return any(all(map(_with_files, both)) for both in pairs) or any(map(_beside, split_folders(root).values()))


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records below root: every cell is of one class, or of that of its folder if --classes names folders."""
    skipped: list[Skipped] = []
    records: dict[str | None, list[ImageRecord]] = {}
    patients: list[str] = []
    places = split_folders(root)
    for name, both in image_and_mask_folders(root, IMAGES, MASKS).items():
        images, masks = (only(_with_files(found)) for found in both)
        if images and masks:
            records[name] = _match(images, masks, skipped)
            patients += _patients(images, problems)
        elif name in places and (name != "test" or _beside(places[name])):  # a test split may have no masks
            records[name] = _match(places[name], places[name], skipped)
    notes = [SINGLE_NOTE]
    if patients := list(dict.fromkeys(patients)):
        shown = ", ".join(patients[:SHOWN]) + (", ..." if len(patients) > SHOWN else "")
        notes.append(f"the folders {shown} are taken for patients or slides; --format class-folders makes them classes")
    return DatasetIndex.of_splits(root, records, [], skipped, NAME, (SINGLE,), notes)


def _with_files(found: Sequence[Path]) -> list[Path]:
    """The folders with images in them, or in folders of patients below, and not in folders of classes."""
    return [folder for folder in found if any(map(_is_mask, files_in(folder))) or origins(folder)]


def _patients(images: Path, problems: list[str]) -> list[str]:
    """The folders of patients, if there are only such; those of classes in them are a problem."""
    names = origins(images)
    for folder in [below for name in names for below in folders(images / name) if not is_origin(below.name)]:
        moved = images / folder.name / folder.parent.name
        problems.append(f"{folder}: if it is of a class, move it to {moved}; else move its files to {folder.parent}")
    return names


def _beside(side: Path) -> bool:
    return any(_is_mask(file) and re.search(MASK_ENDINGS, key(file)) for file in files_in(side))


def _match(image_folder: Path, mask_folder: Path, skipped: list[Skipped]) -> list[ImageRecord]:
    """Images with their masks: of the same name in another folder, or of the name with one of MASK_ENDINGS."""
    if image_folder == mask_folder:
        files = [file for file in files_in(image_folder) if _is_mask(file) and not re.search(OUTPUTS, key(file))]
        masks = [file for file in files if re.search(MASK_ENDINGS, key(file))]
        images = [file for file in files if not re.search(MASK_ENDINGS, key(file)) and is_image(file)]
    else:
        images, masks = (
            [file for file in files_below(folder) if fits(file)]
            for folder, fits in ((image_folder, is_image), (mask_folder, _is_mask))
        )
    image_of, twice = by_key(images, image_folder)
    mask_of, twice_masks = by_key(masks, mask_folder)
    skipped += [*twice, *twice_masks]
    own, of_none = masks_by_image(image_of, mask_of)
    skipped += [Skipped(mask, f"no image of that name in {image_folder}") for mask in of_none]
    return [record for name in image_of if (record := _record(image_of[name], own.get(name, []), mask_folder, skipped))]


def _record(image: Path, masks: Sequence[Path], mask_folder: Path, skipped: list[Skipped]) -> ImageRecord | None:
    """Of several masks a label image comes before cellpose's _seg.npy, which has the same."""
    if not masks:
        skipped.append(Skipped(image, f"no mask of that name in {mask_folder}"))
        return None
    first, *others = sorted(masks, key=lambda mask: mask.suffix == ".npy")
    skipped += [Skipped(o, f"{first.name} is read instead of it", is_error=o.suffix != ".npy") for o in others]
    return ImageRecord(image, (MaskFile(first, SINGLE),))


def _is_mask(file: Path) -> bool:
    return is_image(file) or file.suffix.lower() == ".npy"
