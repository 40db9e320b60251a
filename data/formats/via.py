"""VGG Image Annotator's JSON, versions 1 and 2, as Matterport's samples use it (via_region_data.json).

Any .json in the folder, in train, val or annotations; the images anywhere below it. Polygons, circles, ellipses, rectangles.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats.files import children, files_in, plain, side_of, split_folders
from data.formats.json_files import MALFORMED, peek_json, read_json, reason_of
from data.formats.outlines import NO_CLASS, Marked, NoOutline
from data.formats.per_image import Collected, each_marked, index_of_lists, side_below
from data.records import DatasetIndex, ImageRecord, Ring, Shape, Skipped
from data.shapes import ellipse, polygon, rectangle

NAME = "via"
LAYOUT = "a .json of VGG Image Annotator, as train/via_region_data.json"
KEYS = ("regions", "filename", "_via_img_metadata", "_via_settings")  # one of them is at the beginning
# The first that has a value tells the class.
CLASS_ATTRIBUTES = tuple(
    map(plain, ("class", "label", "type", "name", "category", "cell", "cell type", "cell class", "object name"))
)
NO_OUTLINES = ("point", "polyline")


def recognises(root: Path) -> bool:
    """By the keys of its JSON files."""
    return next(_contents(root), None) is not None


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records of all JSON files of root and its splits. An image without regions is one without a cell."""
    return index_of_lists(root, _contents(root), _read_images, NAME, problems)


def _contents(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The files of the format and the entries of their images."""
    places = dict.fromkeys([root, *split_folders(root).values(), *children(root, "annotation", "json", "via")])
    for file in (file for place in places for file in files_in(place) if file.suffix.lower() == ".json"):
        start = peek_json(file)
        if any(f'"{key}"' in start for key in KEYS) and (images := _images_of(read_json(file))):
            yield file, images


def _images_of(content: Any) -> dict[str, Any]:
    """The entries of the images; none if it is another kind of JSON."""
    entries = content.get("_via_img_metadata", content) if isinstance(content, dict) else {}
    if not isinstance(entries, dict):
        return {}
    fits = any(isinstance(entry, dict) and {"filename", "regions"} <= entry.keys() for entry in entries.values())
    return entries if fits else {}


def _read_images(file: Path, images: dict[str, Any], found: Collected) -> None:
    """Adds the records of a JSON file, or why an image cannot be used. Raises ValueError if it is not clear which attribute
    of the regions is the class."""
    class_attribute = _class_attribute(file, images, found.notes)
    side = side_below(file, found.root) or side_of(file.stem)
    records = found.records.setdefault(side, [])
    for key, image in images.items():
        path: Path | None = None
        try:
            path = found.find(str(image["filename"]), file.parent, side)
            found.listed.add(path)
            named = [(f"region {number}", region) for number, region in _numbered(image["regions"])]
            marked = each_marked(named, lambda region, entry: _read_region(region, entry, class_attribute))
            records.append(ImageRecord(path, (), found.check(marked, file), file))
        except MALFORMED as error:
            place, entry = (path, str(file)) if path else (file, f"the entry {key}")
            found.skipped.append(Skipped(place, f"{entry}, {reason_of(error)}"))


def _numbered(regions: Any) -> list[tuple[Any, Any]]:
    if isinstance(regions, dict):  # version 1
        return list(regions.items())
    if not isinstance(regions, list):
        raise ValueError("its regions are neither a list nor numbered")
    return list(enumerate(regions))


def _class_attribute(file: Path, images: dict[str, Any], notes: list[str]) -> str:
    """The only attribute that the regions of a file have, if none is in CLASS_ATTRIBUTES; else "", and a note if there are
    others. Raises ValueError for several others alone, since any could be the class."""
    found = _attributes(images)
    if known := [found[name] for name in CLASS_ATTRIBUTES if name in found]:
        if len(found) > 1:
            notes.append(
                f"{file}: of the attributes {', '.join(found.values())} the class is {' or else '.join(known)}"
            )
        return ""
    if len(found) > 1:
        raise ValueError(
            f"the regions have the attributes {', '.join(found.values())}, and none says that it is the class; rename the "
            "one that is to class, or keep only that one"
        )
    return next(iter(found), "")


def _attributes(images: dict[str, Any]) -> dict[str, str]:
    """Those that have a value in a region of a file, in plain spelling -> as they are."""
    found: dict[str, str] = {}
    for image in images.values():
        regions = image.get("regions") if isinstance(image, dict) else None
        for region in regions.values() if isinstance(regions, dict) else regions if isinstance(regions, list) else ():
            attributes = region.get("region_attributes") if isinstance(region, dict) else None
            for name, value in attributes.items() if isinstance(attributes, dict) else ():
                if _chosen(value):
                    found.setdefault(_spelling(name), name)
    return found


def _spelling(name: str) -> str:
    return plain(name) or name  # a name in other letters than ours has nothing left


def _chosen(value: Any) -> list[str]:
    """The values of an attribute: a text, or the boxes that are checked."""
    values = [name for name, checked in value.items() if checked] if isinstance(value, dict) else [value]
    return [text for each in values if each and (text := str(each).strip())]


def _read_region(region: dict[str, Any], entry: str, class_attribute: str) -> Marked:
    """Raises ValueError for a shape that lacks a number, or is none of VIA's."""
    shape = region["shape_attributes"]
    try:
        if shape["name"] in NO_OUTLINES:
            return NoOutline(shape["name"], entry)
        ring = _ring(shape)
    except KeyError as error:
        raise ValueError(f"a {shape.get('name', 'shape')} without {error.args[0]}") from error
    return Shape(_label(region.get("region_attributes") or {}, class_attribute), ((ring,),), None, entry)


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


def _label(attributes: dict[str, Any], class_attribute: str) -> str:
    """The class, by the first of CLASS_ATTRIBUTES that has a value, or by class_attribute. Raises ValueError for two."""
    values = {_spelling(name): _chosen(value) for name, value in attributes.items()}
    found = next((values[name] for name in (*CLASS_ATTRIBUTES, class_attribute) if values.get(name)), [NO_CLASS])
    if len(found) > 1:
        raise ValueError(f"is of the classes {' and '.join(found)}; a cell has one")
    return found[0]
