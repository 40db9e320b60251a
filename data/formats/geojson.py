"""QuPath's GeoJSON, one file per image: polygons with holes, several of them as one cell, the class of each.

<name>.geojson beside <name>.tif (or in a folder of its own); also in train, val
"""

from pathlib import Path
from typing import Any

from data.formats.files import files_below
from data.formats.image_finder import ImageFinder
from data.formats.json_files import objects, peek_json, read_json
from data.formats.outlines import NO_CLASS, Marked, NoOutline
from data.formats.per_image import Described, each_marked, index_of_files
from data.records import DatasetIndex, Shape
from data.shapes import polygon

NAME = "geojson"
LAYOUT = "<name>.geojson of QuPath for each image"
NO_OUTLINES = ("Point", "MultiPoint", "LineString", "MultiLineString")
DETECTED = ("detection", "cell")  # QuPath's types of objects that it finds within an annotation
IGNORED = "*"  # ends the names of classes that are none of cells: Ignore*, Region*


def recognises(root: Path) -> bool:
    """By the ending, or by the keys of its JSON files."""
    return bool(_files(root))


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records below root. A file without features is of an image without a cell."""
    find = ImageFinder(root)

    def locate(file: Path) -> tuple[Path, Path]:
        return find.by_stem(file.stem, file.parent), file

    return index_of_files(root, _files(root), locate, _read_shapes, NAME)


def _files(root: Path) -> list[Path]:
    files = files_below(root)
    return [file for file in files if file.suffix.lower() == ".geojson"] or [
        file for file in files if file.suffix.lower() == ".json" and '"Feature' in peek_json(file)
    ]


def _read_shapes(file: Path, image: Path) -> Described:
    content = read_json(file)
    features = content.get("features", [content]) if isinstance(content, dict) else content
    named = [(f"feature {number}", feature) for number, feature in enumerate(objects(features, "features"))]
    has_detected = any(_type(feature) in DETECTED for _, feature in named)

    def read(feature: dict[str, Any], entry: str) -> Marked:
        marked = _read_feature(feature, entry)
        is_area = isinstance(marked, Shape) and marked.label == NO_CLASS and _type(feature) == "annotation"
        return NoOutline("detection area", entry) if is_area and has_detected else marked

    return Described(each_marked(named, read))


def _type(feature: dict[str, Any]) -> Any:
    return (feature.get("properties") or {}).get("objectType")


def _read_feature(feature: dict[str, Any], entry: str) -> Marked:
    """Raises ValueError for what is no polygon."""
    geometry = feature.get("geometry") or {}
    kind = geometry.get("type")
    if kind in NO_OUTLINES:
        return NoOutline(kind, entry)
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a {kind or 'feature without geometry'} is not the outline of a cell")
    parts = [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]
    if not parts or not all(parts):
        raise ValueError(f"a {kind} without coordinates")
    label = _label(feature)
    if label.endswith(IGNORED):
        return NoOutline(f"{label} outline", entry)
    return Shape(label, tuple(tuple(map(polygon, rings)) for rings in parts), None, entry)


def _label(feature: dict[str, Any]) -> str:
    """QuPath's class: a name, or the several names of a derived class."""
    found = (feature.get("properties") or {}).get("classification")
    if isinstance(found, dict):
        found = found.get("name") or ": ".join(map(str, found.get("names") or ()))
    return str(found or NO_CLASS).strip()
