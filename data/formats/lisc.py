"""LISC as unzipped (Rezatofighi and Soltanian-Zadeh 2011): its folders, its grey codes, the margin of its masks.

Main Dataset / <class> / 1.bmp
Ground Truth Segmentation / <class> / areaforexpert1 / 1_expert.bmp
More Dataset without Ground Truth / ...
"""

from pathlib import Path

from data.formats.files import child, children, unlabelled
from data.formats.pairs import class_folder_records
from data.records import DatasetIndex, Skipped

NAME = "lisc"
LAYOUT = "Main Dataset/<class>/1.bmp, Ground Truth Segmentation/<class>/areaforexpert1/1_expert.bmp"

# LISC's masks lack this many pixels on every side of the image: 712 x 568 beside 720 x 576.
MASK_MARGIN = 4

# Grey codes of cytoplasm and nucleus. The basophil's nucleus is hidden: one code for the whole cell.
GREY_CODES = {
    "basophil": (50, 50),
    "eosinophil": (75, 100),
    "lymphocyte": (125, 150),
    "monocyte": (175, 200),
    "neutrophil": (225, 255),
}


def recognises(root: Path) -> bool:
    """By the names of its folders."""
    return bool(children(root, "Main Dataset"))


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records below root. Folders that are not as expected are added to problems."""
    without_masks = unlabelled(child(root, "More Dataset without Ground Truth"))
    masks = child(root, "Ground Truth Segmentation")
    skipped: list[Skipped] = []
    records = []
    if masks is None:
        problems.append(f"{root / 'Ground Truth Segmentation'}: no such folder; unzip all of the archive")
    else:
        # Only the first expert's masks: some copies of LISC also have those of a second expert.
        masks = child(masks, "areaforexpert1") or masks
        records = class_folder_records(child(root, "Main Dataset") or root, masks, problems, skipped)
    return DatasetIndex(root, records, None, without_masks, skipped, NAME)
