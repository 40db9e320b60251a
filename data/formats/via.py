"""VGG Image Annotator's JSON, versions 1 and 2, as Matterport's samples use it (via_region_data.json).

Any .json in the folder, in train, val or annotations; the images anywhere below it. Polygons, circles, ellipses, rectangles.
"""

from pathlib import Path
from typing import Any

from data.classes import SINGLE
from data.formats.files import ImageFinder, children, files_in, not_used, plain, side_of, split_folders
from data.formats.json_files import MALFORMED, peek_json, read_json, reason_of
from data.formats.per_image import each_shape, side_below, without_repeated
from data.records import DatasetIndex, ImageRecord, Ring, Shape, Skipped
from data.shapes import ellipse, polygon, rectangle

NAME = "via"
LAYOUT = "a .json of VGG Image Annotator, as train/via_region_data.json"
KEYS = ("regions", "filename", "_via_img_metadata", "_via_settings")  # one of them is at the beginning
# The first that is there tells the class; as `plain` writes them.
CLASS_ATTRIBUTES = ("clas", "label", "type", "name", "category", "cell", "celltype", "cellclas", "objectname")


def recognises(root: Path) -> bool:
    """By the keys of its JSON files."""
    return bool(_files(root))


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records of all JSON files of root and its splits. An image without regions is one without a cell."""
    find = ImageFinder(root)
    records: dict[str | None, list[ImageRecord]] = {}
    skipped: list[Skipped] = []
    listed: set[Path] = set()  # images, also those whose regions cannot be used
    for file in _files(root):
        side = side_below(file, root) or side_of(file.stem)
        records.setdefault(side, []).extend(_read_file(file, find, listed, skipped))
    skipped += not_used([image for image in find.images if image not in listed], "no JSON file lists it")
    records = without_repeated(records, skipped)
    return DatasetIndex.of_splits(root, records, [], skipped, NAME)


def _files(root: Path) -> list[Path]:
    places = dict.fromkeys([root, *split_folders(root).values(), *children(root, "annotation", "json", "via")])
    candidates = [file for place in places for file in files_in(place) if file.suffix.lower() == ".json"]
    return [file for file in candidates if _looks_like_via(file) and _images_of(read_json(file))]


def _looks_like_via(file: Path) -> bool:
    start = peek_json(file)
    return any(f'"{key}"' in start for key in KEYS)


def _images_of(content: Any) -> dict[str, Any]:
    """The entries of the images; none if it is another kind of JSON."""
    entries = content.get("_via_img_metadata", content) if isinstance(content, dict) else {}
    if not isinstance(entries, dict):
        return {}
    fits = any(isinstance(entry, dict) and {"filename", "regions"} <= entry.keys() for entry in entries.values())
    return entries if fits else {}


def _read_file(file: Path, find: ImageFinder, listed: set[Path], skipped: list[Skipped]) -> list[ImageRecord]:
    records = []
    for key, image in _images_of(read_json(file)).items():
        path: Path | None = None
        try:
            path = find(str(image["filename"]), file.parent)
            listed.add(path)
            named = [(f"region {number}", region) for number, region in _numbered(image["regions"])]
            records.append(ImageRecord(path, (), each_shape(named, _shape), file))
        except MALFORMED as error:
            place, entry = (path, str(file)) if path else (file, f"the entry {key}")
            skipped.append(Skipped(place, f"{entry}, {reason_of(error)}"))
    return records


def _numbered(regions: Any) -> list[tuple[Any, Any]]:
    if isinstance(regions, dict):  # version 1
        return list(regions.items())
    if not isinstance(regions, list):
        raise ValueError("its regions are neither a list nor numbered")
    return list(enumerate(regions))


def _shape(region: dict[str, Any], entry: str) -> Shape:
    """Raises ValueError for a shape that is no outline or lacks a number."""
    attributes = region["shape_attributes"]
    try:
        ring = _ring(attributes)
    except KeyError as error:
        raise ValueError(f"a {attributes.get('name', 'shape')} without {error.args[0]}") from error
    return Shape(_label(region.get("region_attributes") or {}), ((ring,),), None, entry)


def _ring(shape: dict[str, Any]) -> Ring:
    kind = shape["name"]
    if kind == "rect":
        return rectangle(shape["x"], shape["y"], shape["width"], shape["height"])
    if kind == "circle":
        return ellipse(shape["cx"], shape["cy"], shape["r"], shape["r"])
    if kind == "ellipse":
        return ellipse(shape["cx"], shape["cy"], shape["rx"], shape["ry"], shape.get("theta", 0.0))
    if kind != "polygon":
        raise ValueError(f"a {kind} is not the outline of a cell; draw a polygon, circle, ellipse or rectangle")
    x, y = shape["all_points_x"], shape["all_points_y"]
    if len(x) != len(y):
        raise ValueError(f"a polygon of {len(x)} x and {len(y)} y coordinates")
    return polygon(list(zip(x, y, strict=True)))


def _label(attributes: dict[str, Any]) -> str:
    """The class: the value of the attribute that is named so, or of the only one; of check boxes, what is checked."""
    names = {plain(name): value for name, value in attributes.items()}
    chosen = next((names[name] for name in CLASS_ATTRIBUTES if names.get(name)), None)
    if chosen is None and len(names) == 1:
        chosen = next(iter(names.values()))
    if isinstance(chosen, dict):
        chosen = next((name for name, checked in chosen.items() if checked), None)
    return str(chosen).strip() if chosen else SINGLE
