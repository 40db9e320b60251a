"""LabelMe's JSON, one file per image: polygons, rectangles, circles, masks.

<name>.json beside <name>.png, in any folders; also in train, val
"""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.formats.files import files_below, normal
from data.formats.image_finder import ImageFinder
from data.formats.json_files import objects, peek_json, read_json
from data.formats.outlines import Marked, NoOutline
from data.formats.per_image import Described, each_marked, index_of_files
from data.records import DatasetIndex, Ring, RunLengths, Shape
from data.shapes import ellipse, encode_runs, polygon, rasterize, rectangle
from maskrcnn.regions import union

NAME = "labelme"
LAYOUT = "<name>.json of LabelMe beside each image"
NO_OUTLINES = ("point", "points", "line", "linestrip")
TO_LOOK_AT = 5  # JSON files, to recognise the format


def recognises(root: Path) -> bool:
    """By the keys of its JSON files."""
    return any(_looks_like_labelme(file) for file in _json_files(root)[:TO_LOOK_AT])


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records below root. A file without shapes is of an image without a cell."""
    find = ImageFinder(root)

    def locate(file: Path) -> tuple[Path, dict[str, Any]] | None:
        content = read_json(file)
        if not isinstance(content, dict) or "shapes" not in content:
            return None
        return _image_of(file, content, find), content

    return index_of_files(root, _json_files(root), locate, _read_shapes, NAME)


def _image_of(file: Path, content: dict[str, Any], find: ImageFinder) -> Path:
    """The image that imagePath names; the one that is named as the file is, where there is no other. Raises ValueError for
    two, since either the file or one of the images was copied or renamed, and for none."""
    found: list[Path] = []
    errors: list[ValueError] = []
    for search, name in ((find, content.get("imagePath")), (find.by_stem, file.stem)):
        try:
            found += [search(str(name), file.parent)] if name else []
        except ValueError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    image, other = found[0], found[-1]
    if image != other and normal(file.stem) not in (normal(image.stem), normal(image.name)):
        raise ValueError(
            f"its imagePath is {image.name}, but it is named as {other.name} is; rename it, or mend imagePath"
        )
    return image


def _json_files(root: Path) -> list[Path]:
    return [file for file in files_below(root) if file.suffix.lower() == ".json"]


def _looks_like_labelme(file: Path) -> bool:
    start = peek_json(file)
    return any(f'"{key}"' in start for key in ("shapes", "imageData", "imagePath"))


def _read_shapes(content: dict[str, Any], image: Path) -> Described:
    """Shapes with one label and the same group_id are parts of one cell. Raises ValueError, naming the shape."""
    height, width = (content.get(side) or 0 for side in ("imageHeight", "imageWidth"))
    if not (isinstance(height, int) and isinstance(width, int)):
        raise ValueError(f"imageHeight and imageWidth are {height!r} and {width!r}, not numbers")
    size = height, width
    raw = objects(content["shapes"], "shapes")
    named = [(f"shape {number} ({entry.get('label')})", entry) for number, entry in enumerate(raw)]
    cells: dict[tuple[str, str], Marked] = {}
    for number, marked in enumerate(each_marked(named, lambda entry, name: _read_shape(entry, name, size))):
        group, place = raw[number].get("group_id"), (marked.entry, "")
        if isinstance(marked, Shape) and group is not None:
            place = marked.label, f"group {group}"
            first = cells.get(place)
            marked = _joined(first, marked, size) if isinstance(first, Shape) else marked
        cells[place] = marked
    return Described(tuple(cells.values()), size if all(size) else None)


def _read_shape(raw: dict[str, Any], entry: str, size: tuple[int, int]) -> Marked:
    label, kind = str(raw.get("label") or "").strip(), raw.get("shape_type") or "polygon"
    if kind in NO_OUTLINES:
        return NoOutline(kind, entry)
    if kind == "mask":
        return Shape(label, (), _runs(raw, size), entry)
    return Shape(label, ((_ring(kind, raw["points"]),),), None, entry)


def _ring(kind: str, points: Any) -> Ring:
    if kind == "circle" or (kind == "rectangle" and len(points) == 2):
        if len(points) != 2:
            raise ValueError(f"a circle of {len(points)} points; its centre and a point of its edge are needed")
        (x1, y1), (x2, y2) = np.asarray(points, np.float64)
        if kind == "circle":
            radius = np.hypot(x2 - x1, y2 - y1)
            return ellipse(x1, y1, radius, radius)
        return rectangle(min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1))
    if kind not in ("polygon", "rectangle", "oriented_rectangle"):
        raise ValueError(f"a {kind} is not the outline of a cell; draw a polygon, circle or rectangle")
    return polygon(points)


def _runs(raw: dict[str, Any], size: tuple[int, int]) -> RunLengths:
    """A mask within its box, whose two corners are pixels of it."""
    try:
        inner = np.asarray(Image.open(io.BytesIO(base64.b64decode(raw["mask"]))).convert("L")) > 0
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise ValueError(f"its mask cannot be read ({error})") from error
    (left, top), (right, bottom) = np.asarray(raw["points"], float).round().astype(int)
    if inner.shape != (bottom - top + 1, right - left + 1):
        raise ValueError(f"its mask is {inner.shape[1]} x {inner.shape[0]}, not as large as its box")
    if min(left, top) < 0 or bottom >= size[0] or right >= size[1]:
        raise ValueError(
            f"its mask is not within the image, which imageHeight and imageWidth say is {size[1]} x {size[0]}"
        )
    mask = np.zeros(size, bool)
    mask[top : bottom + 1, left : right + 1] = inner
    return encode_runs(mask)


def _joined(first: Shape, second: Shape, size: tuple[int, int]) -> Shape:
    """Two parts of a cell: polygons stay polygons; where one part is a mask, so is the whole."""
    if first.runs is None and second.runs is None:
        return first._replace(polygons=first.polygons + second.polygons)
    regions = [region for part in (first, second) if (region := rasterize(part, size))]
    return first._replace(polygons=(), runs=encode_runs(union(regions, size)))
