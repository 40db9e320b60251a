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
from data.formats.files import by_key, files_below, files_in, image_and_mask_folders, is_image, key, only, split_folders
from data.formats.pairs import EXPERT
from data.records import DatasetIndex, ImageRecord, MaskFile, Skipped

NAME = "label-maps"
LAYOUT = "<name>.png and <name>_masks.png (_cp_masks, _labels, _seg.npy), or images/<name>.png, masks/<name>.png"
IMAGES = ("image", "img", "jpegimages", "raw", "input")
MASKS = ("mask", "label", "annotation", "groundtruth", "gt", "cpmask", "segmentation")
MASK_ENDINGS = rf"(?:[-_ ](?:cp[-_ ])?(?:masks?|labels?|seg)|{EXPERT})$"
IMAGE_ENDINGS = r"[-_ ](?:img|image)$"  # cellpose's own data: 000_img.png, 000_masks.png
OUTPUTS = r"_(?:overlay|splash|outlines|flows|probs?)$"  # pictures of results, which stand beside the images


def recognises(root: Path) -> bool:
    """By two folders of files, or by files whose names end in _masks and the like."""
    pairs = image_and_mask_folders(root, IMAGES, MASKS).values()
    return any(all(map(_with_files, both)) for both in pairs) or any(map(_beside, split_folders(root).values()))


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records below root: every cell is of one class, or of that of its folder if --classes names folders."""
    skipped: list[Skipped] = []
    records: dict[str | None, list[ImageRecord]] = {}
    places = split_folders(root)
    for name, both in image_and_mask_folders(root, IMAGES, MASKS).items():
        images, masks = (only(_with_files(found)) for found in both)
        if images and masks:
            records[name] = _match(images, masks, skipped)
        elif name in places:
            records[name] = _match(places[name], places[name], skipped)
    return DatasetIndex.of_splits(root, records, [], skipped, NAME, (SINGLE,), (SINGLE_NOTE,))


def _with_files(found: Sequence[Path]) -> list[Path]:
    """The folders with images in them, and not in folders of classes below."""
    return [folder for folder in found if any(map(_is_mask, files_in(folder)))]


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
    names = {re.sub(IMAGE_ENDINGS, "", name): name for name in image_of} | {name: name for name in image_of}
    own: dict[str, list[Path]] = {}
    for name, mask in mask_of.items():
        if image := names.get(name) or names.get(re.sub(MASK_ENDINGS, "", name)):
            own.setdefault(image, []).append(mask)
        else:
            skipped.append(Skipped(mask, f"no image of that name in {image_folder}"))
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
