"""COCO's JSON of instances, as CVAT, Roboflow, Label Studio, LabelMe and others export it.

annotations/instances_<split>.json, <split>/_annotations.coco.json, or any .json in the folder; the images anywhere below it
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.formats.files import ImageFinder, files_below, not_used, side_of
from data.formats.json_files import MALFORMED, objects, peek_json, read_json, reason_of
from data.formats.per_image import side_below, without_repeated
from data.records import DatasetIndex, ImageRecord, RunLengths, Shape, Skipped
from data.shapes import parse_counts, polygon
from maskrcnn.inference.export import PREDICTIONS

NAME = "coco"
LAYOUT = "a .json as COCO's instances_train.json or Roboflow's _annotations.coco.json"
LEVELS = 2  # of folders in which the JSON files are looked for
KEYS = ("images", "annotations", "categories", "info")  # one of them is at the beginning


class Instances(NamedTuple):
    """What one JSON file contributes."""

    records: list[ImageRecord]
    listed: set[Path]  # images, also those whose annotations cannot be used
    class_names: list[str]  # all that it lists
    crowds: int


def recognises(root: Path) -> bool:
    """By the keys of its JSON files."""
    return bool(_files(root))


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records of all JSON files below root, in the splits that these or their folders are named after."""
    find = ImageFinder(root)
    records: dict[str | None, list[ImageRecord]] = {}
    skipped: list[Skipped] = []
    names: list[str] = []
    listed: set[Path] = set()
    crowds = 0
    for file in _files(root):
        side = side_of(file.stem) or side_below(file, root)
        try:
            read = read_instances(file, find, side, skipped)
        except MALFORMED as error:
            problems.append(f"{file}: {reason_of(error)}".replace(f"{file}: {file}: ", f"{file}: "))
            continue
        records.setdefault(side, []).extend(read.records)
        listed |= read.listed
        names += read.class_names
        crowds += read.crowds
    skipped += not_used([image for image in find.images if image not in listed], "no JSON file lists it")
    records = without_repeated(records, skipped)
    used = {label for side in records.values() for record in side for label in record.labels}
    notes = (
        [f"{crowds} crowd regions (iscrowd) are not used: they do not tell one cell from the next"] if crowds else []
    )
    class_names = [name for name in dict.fromkeys(names) if name in used]
    return DatasetIndex.of_splits(root, records, [], skipped, NAME, class_names, notes)


def _files(root: Path) -> list[Path]:
    return [
        file
        for file in files_below(root)
        if file.suffix.lower() == ".json" and len(file.relative_to(root).parts) <= LEVELS + 1 and _looks_like_coco(file)
    ]


def _looks_like_coco(file: Path) -> bool:
    start = peek_json(file)
    if not any(f'"{key}"' in start for key in KEYS):
        return False
    content = read_json(file)
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys() and not _are_predictions(content)


def _are_predictions(content: dict[str, Any]) -> bool:
    """Whether a program wrote the annotations, as our own predict.py its coco.json: nobody has looked at them."""
    info, annotations = content.get("info"), content["annotations"]
    if isinstance(info, dict) and info.get("description") == PREDICTIONS:
        return True
    return isinstance(annotations, list) and any(isinstance(a, dict) and "score" in a for a in annotations[:1])


def read_instances(file: Path, find: ImageFinder, side: str | None, skipped: list[Skipped]) -> Instances:
    """The records of a JSON file. Images that cannot be used are added to skipped; raises ValueError for what is wrong with
    the file as a whole. Ids are compared as texts: some programs write "1" in one place and 1 in another."""
    content = read_json(file)
    names = _category_names(content)
    shapes: dict[str, list[Shape]] = {}
    broken: dict[str, str] = {}  # image -> the first of its annotations that cannot be used
    crowds = 0
    for i, annotation in enumerate(objects(content["annotations"], "annotations")):
        entry, owner = f"annotation {annotation.get('id', f'number {i + 1}')}", str(annotation.get("image_id"))
        if annotation.get("iscrowd") in (1, "1"):
            crowds += 1
            continue
        try:
            shapes.setdefault(owner, []).append(_shape(annotation, names, entry))
        except MALFORMED as error:
            broken.setdefault(owner, f"{entry}: {reason_of(error)}")
    images = _images_by_id(content)
    for number in [number for number in {**shapes, **broken} if number not in images]:
        entry = broken[number].split(":")[0] if number in broken else shapes[number][0].entry
        skipped.append(Skipped(file, f"{entry} is of image {number}, which the file does not list"))
    records, listed = [], set()
    for number, image in images.items():
        try:
            path = find(str(image["file_name"]), file.parent, side)
            listed.add(path)
            if number in broken:
                skipped.append(Skipped(path, f"{file}, {broken[number]}"))
                continue
            records.append(ImageRecord(path, (), tuple(shapes.get(number, ())), file, _size(image)))
        except MALFORMED as error:
            skipped.append(Skipped(file, f"image {number}: {reason_of(error)}"))
    return Instances(records, listed, list(names.values()), crowds)


def _category_names(content: dict[str, Any]) -> dict[str, str]:
    """Id -> name. Raises ValueError if there is none, or one without a name."""
    names: dict[str, str] = {}
    for i, category in enumerate(objects(content.get("categories", []), "categories")):
        number, name = category.get("id"), category.get("name")
        if number is None or not isinstance(name, str) or not name.strip():
            raise ValueError(f"category {i if number is None else number} has no {'id' if number is None else 'name'}")
        if names.setdefault(str(number), name.strip()) != name.strip():
            raise ValueError(f"two categories have the id {number}: {names[str(number)]} and {name.strip()}")
    if not names:
        raise ValueError("no categories, which name the classes")
    return names


def _images_by_id(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    images: dict[str, dict[str, Any]] = {}
    for i, image in enumerate(objects(content["images"], "images")):
        number = image.get("id")
        if number is None:
            raise ValueError(f"image {image.get('file_name', i)} has no id")
        if str(number) in images:
            raise ValueError(f"two images have the id {number}; export the file again")
        images[str(number)] = image
    return images


def _shape(annotation: dict[str, Any], names: dict[str, str], entry: str) -> Shape:
    """Raises ValueError for an annotation that no mask can be made from."""
    category = str(annotation.get("category_id"))
    if category not in names:
        raise ValueError(f"category {category} is not among the categories")
    segmentation = annotation.get("segmentation")
    if not segmentation:
        raise ValueError("has no segmentation, only a box; outline the cell")
    if isinstance(segmentation, dict):
        return Shape(names[category], (), _runs(segmentation), entry)
    if not isinstance(segmentation, list) or not all(isinstance(numbers, list) for numbers in segmentation):
        raise ValueError("its segmentation is neither a list of polygons, [[x, y, x, y, ...], ...], nor run lengths")
    return Shape(names[category], tuple((polygon(numbers),) for numbers in segmentation), None, entry)


def _runs(segmentation: dict[str, Any]) -> RunLengths:
    size, counts = segmentation["size"], segmentation["counts"]
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size)):
        raise ValueError(f"the size of its run lengths is {size!r}, not [height, width]")
    height, width = size
    if isinstance(counts, str):
        return RunLengths(height, width, parse_counts(counts))
    if not isinstance(counts, list) or not all(isinstance(count, int) for count in counts):
        raise ValueError("its run lengths are neither whole numbers nor COCO's compressed string")
    return RunLengths(height, width, np.array(counts, np.int64))


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    """Height and width, which some exporters leave out or set to 0."""
    height, width = image.get("height"), image.get("width")
    return (int(height), int(width)) if height and width else None
