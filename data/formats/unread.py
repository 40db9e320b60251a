"""What annotation tools write and no format here reads: recognised, so that the error can say what to do."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data.formats.files import is_image, key, plain
from data.formats.json_files import peek_json
from data.formats.yolo import first_line, is_cell

TO_LOOK_AT = 20  # files of one ending


class Kind(NamedTuple):
    """A kind of file, by its ending and a regular expression of its beginning."""

    ending: str
    beginning: str
    remedy: str


KINDS = (
    Kind(".csv", r"region_shape_attributes", "is VGG Image Annotator's CSV; export the annotations as JSON instead"),
    Kind(".xml", r"<annotations>", "is CVAT's XML (CVAT for images); export as COCO 1.0 instead"),
    Kind(".xml", r"<annotation>.*<object>", "is Pascal VOC's XML, which has boxes; outline the cells, export as COCO"),
    Kind(
        ".json",
        r'^\s*\[.*"(completed_by|result|(polygon|brush|ellipse|rectangle)labels)"\s*:',
        "is Label Studio's own JSON; export as COCO instead",
    ),
    Kind(".json", r"^\s*$", "is empty; export it again"),
    Kind(
        ".json",
        r'^\s*\{\s*("image"\s*:\s*\{.*"annotations"|"annotations".*"predicted_iou")',
        "is of Segment Anything (SA-1B), whose masks have no classes; write COCO's JSON with images, annotations and "
        "categories",
    ),
    Kind(
        ".json",
        r'^\s*\[\s*\{.*"(segmentation|image_id)"\s*:',
        "is a list of masks without their images and classes, as Segment Anything and COCO's results have it; export "
        "COCO's JSON with images, annotations and categories",
    ),
)


def hint(files: Sequence[Path]) -> str:
    """One sentence about what the files of a folder are and what to do, if they are those of a known tool; else ""."""
    for kind in KINDS:
        for file in [file for file in files if file.suffix.lower() == kind.ending][:TO_LOOK_AT]:
            if re.search(kind.beginning, peek_json(file), re.DOTALL):
                return f"{file} {kind.remedy}"
    return _yolo_beside_images(files) or _masks_of_pascal(files)


def _yolo_beside_images(files: Sequence[Path]) -> str:
    images = {(file.parent, key(file)) for file in files if is_image(file)}
    texts = [file for file in files if file.suffix.lower() == ".txt" and (file.parent, key(file)) in images]
    for file in texts[:TO_LOOK_AT]:
        line = first_line(file)
        if len(line) == 5 and is_cell(line):
            return f"{file} has YOLO's boxes; export polygons (YOLO segmentation)"
        if is_cell(line):
            return f"{file} is YOLO's, beside its image; put the images into a folder images, the texts into one labels"
    return ""


def _masks_of_pascal(files: Sequence[Path]) -> str:
    masks = next((file.parent for file in files if plain(file.parent.name) == "segmentationobject"), None)
    if masks is None:
        return ""
    return (
        f"{masks} has masks as Pascal VOC's, which say no class of a cell; export as COCO, or rename the folder to masks if "
        "all cells are of one class"
    )
