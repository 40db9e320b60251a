"""ImageJ's regions of interest: a .zip of the ROI manager, or a single .roi file, for each image.

<name>.zip, <name>_RoiSet.zip or RoiSet_<name>.zip beside <name>.tif (or in a folder of its own); <name>.roi for one cell
"""

import re
import zipfile
from pathlib import Path
from typing import Any

from data.formats.files import files_below
from data.formats.image_finder import ImageFinder
from data.formats.outlines import NO_CLASS, Marked, NoOutline
from data.formats.per_image import Described, each_marked, index_of_files
from data.records import DataError, DatasetIndex, Shape
from data.shapes import ellipse, polygon, rectangle

NAME = "imagej"
LAYOUT = "<name>.zip (or <name>_RoiSet.zip) of ImageJ's ROI manager for each image"
OUTLINES = ("polygon", "freehand", "traced", "rect")
ROI_SET = r"[-_ ]?(?:roi[-_ ]?set|rois?)[-_ ]?"


def recognises(root: Path) -> bool:
    """By the endings of its files, where a zip has the name of an image."""
    files = _files(root)
    find = ImageFinder(root) if files else None
    return find is not None and any(find.knows(_stem(file, find)) for file in files)


def read_index(root: Path, problems: list[str]) -> DatasetIndex:
    """The records below root. Raises DataError without the package that reads the files."""
    try:
        from roifile import ImagejRoi
    except ImportError as error:
        raise DataError(f"{root}: ImageJ's files need the package roifile: pip install 'mask-rcnn[formats]'") from error
    find = ImageFinder(root)

    def locate(file: Path) -> tuple[Path, Path]:
        return find.by_stem(_stem(file, find), file.parent), file

    def describe(file: Path, image: Path) -> Described:
        try:
            found = [ImagejRoi.frombytes(content) for content in _contents(file)]
        except Exception as error:  # a damaged file makes the reader raise nearly anything
            raise ValueError(f"not ImageJ's regions ({error})") from error
        if file.suffix.lower() == ".roi" and found[0].name == file.stem:
            found[0].name = ""  # a single one is named after its file
        named = [(f"region {i} ({roi.name})", roi) for i, roi in enumerate(found, 1)]
        return Described(each_marked(named, _read_region))

    return index_of_files(root, _files(root), locate, describe, NAME)


def _files(root: Path) -> list[Path]:
    return [file for file in files_below(root) if file.suffix.lower() in (".zip", ".roi")]


def _contents(file: Path) -> list[bytes]:
    """Of each region. Regions of a .zip may share a name, so it is not read by name."""
    if file.suffix.lower() == ".roi":
        return [file.read_bytes()]
    with zipfile.ZipFile(file) as archive:
        return [archive.read(entry) for entry in archive.infolist()]


def _stem(file: Path, find: ImageFinder) -> str:
    """The name of its image without ending: its own, or its own without RoiSet."""
    bare = re.sub(f"^{ROI_SET}|{ROI_SET}$", "", file.stem, flags=re.IGNORECASE)
    return bare if not find.knows(file.stem) and bare else file.stem


def _read_region(region: Any, entry: str) -> Marked:
    """Raises ValueError for a shape without corners, or with some that are no numbers."""
    kind = region.roitype.name.lower()
    if region.subtype.name in ("TEXT", "IMAGE"):  # of which ImageJ stores the rectangle
        kind = region.subtype.name.lower()
    label = _label(region.name or "")
    left, top, width, height = region.left, region.top, region.right - region.left, region.bottom - region.top
    if region.subpixelrect:  # the whole numbers are only its bounding box
        left, top, width, height = region.xd, region.yd, region.widthd, region.heightd
    if kind == "oval":
        return Shape(label, ((ellipse(left + width / 2, top + height / 2, width / 2, height / 2),),), None, entry)
    if kind == "rect" and not region.composite:
        return Shape(label, ((rectangle(left, top, width, height),),), None, entry)
    if kind not in OUTLINES:
        return NoOutline(kind, entry)
    rings = tuple(map(polygon, region.coordinates(multi=True)))
    if not rings:
        raise ValueError("has no outline")
    return Shape(label, (rings,), None, entry)


def _label(name: str) -> str:
    """The class is the name without its number ("neutrophil-3", but "CD4"); what ImageJ names after the position has none
    (0123-0456)."""
    label = re.sub(r"[-_ ]+\d+$", "", name).strip()
    return label if any(map(str.isalpha, label)) else NO_CLASS
