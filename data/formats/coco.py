"""COCO's JSON of instances, as CVAT, Roboflow, Label Studio, LabelMe and others export it.

annotations/instances_<split>.json, <split>/_annotations.coco.json, or any .json in the folder; the images anywhere below it
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.formats.files import files_below, not_used, side_of
from data.formats.json_files import MALFORMED, objects, peek_json, read_json, reason_of
from data.formats.outlines import Marked, NoOutline, overlap_with_box
from data.formats.per_image import Collected, index_of_lists, side_below
from data.records import DatasetIndex, ImageRecord, RunLengths, Shape, Skipped
from data.shapes import parse_counts, polygon
from maskrcnn.inference.export import PREDICTIONS

NAME = "coco"
LAYOUT = "a .json as COCO's instances_train.json or Roboflow's _annotations.coco.json"
LEVELS = 2  # of folders in which the JSON files are looked for
KEYS = ("images", "annotations", "categories", "info")  # one of them is at the beginning
BOX_AGREES = 0.5  # IoU from which on a box may be that of an outline
LABEL_STUDIO = r"(?:.*[/\\])?[0-9a-f]{8}-([^/\\]+)"  # it puts a number before the names of files that it was given


def recognises(root: Path) -> bool:
    """By the keys of its JSON files."""
    return next(_contents(root), None) is not None


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records of all JSON files below root, in the splits that these or their folders are named after."""
    without: list[Skipped] = []
    index = index_of_lists(root, _outlined(_contents(root), without), _read_instances, NAME, problems)
    return index._replace(skipped=[*index.skipped, *without])


def _outlined(contents: Iterable[tuple[Path, Any]], without: list[Skipped]) -> Iterator[tuple[Path, Any]]:
    """The files but for those of captions, boxes or keypoints alone, if others have outlines; `without` gets those."""
    bare: list[tuple[Path, Any]] = []
    is_outlined = False
    for file, content in contents:
        annotations = content["annotations"]
        entries = [entry for entry in annotations if isinstance(entry, dict)] if isinstance(annotations, list) else []
        # COCO's person_keypoints repeats the outlines of the persons from its instances.
        has_outline = any(entry.get("segmentation") and not entry.get("keypoints") for entry in entries)
        is_outlined |= has_outline
        if entries and not has_outline:
            bare.append((file, content))
        else:
            yield file, content
    if is_outlined:
        without += not_used([file for file, _ in bare], "has captions, boxes or keypoints, which are not read")
    else:
        yield from bare


def _contents(root: Path) -> Iterator[tuple[Path, Any]]:
    """The files of the format and what is in them, one after another: they may be large."""
    for file in files_below(root):
        near = len(file.relative_to(root).parts) <= LEVELS + 1
        if not near or file.suffix.lower() != ".json" or not any(f'"{key}"' in peek_json(file) for key in KEYS):
            continue
        content = read_json(file)
        if isinstance(content, dict) and {"images", "annotations"} <= content.keys() and not _are_predictions(content):
            yield file, content


def _are_predictions(content: dict[str, Any]) -> bool:
    """Whether a program wrote the annotations, as our own predict.py its coco.json: nobody has looked at them."""
    info, annotations = content.get("info"), content["annotations"]
    if isinstance(info, dict) and info.get("description") == PREDICTIONS:
        return True
    return isinstance(annotations, list) and any(isinstance(a, dict) and "score" in a for a in annotations[:1])


def _read_instances(file: Path, content: dict[str, Any], found: Collected) -> None:
    """Adds the records of a JSON file, and why images cannot be used. Raises ValueError for what is wrong with the whole.
    Ids are compared as texts: some programs write "1" in one place and 1 in another."""
    names = _category_names(content)
    marked, broken = _read_annotations(file, content, names, found)
    images = _images_by_id(content)
    for number in [number for number in {**marked, **broken} if number not in images]:
        entry = broken[number].split(":")[0] if number in broken else marked[number][0].entry
        found.skipped.append(Skipped(file, f"{entry} is of image {number}, which the file does not list"))
    side = side_of(file.stem) or side_below(file, found.root)
    records = found.records.setdefault(side, [])
    found.class_names += names.values()
    for number, image in images.items():
        path: Path | None = None
        try:
            path = _find_image(str(image["file_name"]), file, side, found)
            found.listed.add(path)
            if number in broken:
                raise ValueError(broken[number])
            shapes = found.check(marked.get(number, ()), file)
            records.append(ImageRecord(path, (), shapes, file, _size(image)))
        except MALFORMED as error:
            reason = f"{file}, {reason_of(error)}" if path else f"image {number}: {reason_of(error)}"
            found.skipped.append(Skipped(path or file, reason))


def _read_annotations(
    file: Path, content: dict[str, Any], names: dict[str, str], found: Collected
) -> tuple[dict[str, list[Marked]], dict[str, str]]:
    """Of each image what is marked, and the first of its annotations that cannot be used. Most boxes beside their outlines
    are noted: one of the two is wrong."""
    marked: dict[str, list[Marked]] = {}
    broken: dict[str, str] = {}
    overlaps: list[tuple[float, str]] = []
    for i, annotation in enumerate(objects(content["annotations"], "annotations")):
        entry, owner = f"annotation {annotation.get('id', f'number {i + 1}')}", str(annotation.get("image_id"))
        try:
            one = _read_annotation(annotation, names, entry)
        except MALFORMED as error:
            broken.setdefault(owner, f"{entry}: {reason_of(error)}")
            continue
        marked.setdefault(owner, []).append(one)
        overlap = overlap_with_box(annotation.get("bbox"), one)
        overlaps += [] if overlap is None else [(overlap, entry)]
    beside = [entry for overlap, entry in overlaps if overlap < BOX_AGREES]
    if 2 * len(beside) > len(overlaps):
        found.notes.append(
            f"{file}: {len(beside)} of {len(overlaps)} boxes (bbox) are elsewhere than their outlines, first that of "
            f"{beside[0]}; the outlines are used: see on the contact sheet of python -m data check whether they are right"
        )
    return marked, broken


def _find_image(name: str, file: Path, side: str | None, found: Collected) -> Path:
    """Raises ValueError. Label Studio's number is left off only where no image has the name with it."""
    try:
        return found.find(name, file.parent, side)
    except ValueError:
        numbered = re.fullmatch(LABEL_STUDIO, name)
        if not numbered or not found.find.knows(numbered[1]):
            raise
        return found.find(numbered[1], file.parent, side)


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


def _read_annotation(annotation: dict[str, Any], names: dict[str, str], entry: str) -> Marked:
    """Raises ValueError for an annotation that no mask can be made from."""
    segmentation = annotation.get("segmentation")
    # CVAT marks whatever was painted with its brush as a crowd; a real one has no attributes.
    is_painted = isinstance(segmentation, dict) and "attributes" in annotation
    if annotation.get("iscrowd") in (1, "1") and not is_painted:
        return NoOutline("crowd region", entry)  # it does not tell one cell from the next
    category = str(annotation.get("category_id"))
    if category not in names:
        raise ValueError(f"category {category} is not among the categories")
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
    """Height and width, which some exporters leave out or set to 0. Raises ValueError for what is no number."""
    height, width = image.get("height"), image.get("width")
    try:
        return (int(height), int(width)) if height and width else None
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"its height and width are {height!r} and {width!r}, not numbers") from error
