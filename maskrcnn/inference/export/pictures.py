"""What is written for one image: pictures, label maps, and outlines for QuPath and ImageJ."""

import importlib.util
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from maskrcnn.inference.export.tables import in_microns, measures
from maskrcnn.inference.objects import Objects, label_map
from maskrcnn.inference.outlines import Polygon, Ring, polygons
from maskrcnn.inference.overlay import overlay, preview
from maskrcnn.regions import Region
from maskrcnn.visualization.drawing import class_colour

Pixels = NDArray[np.uint8]  # [H, W, 3]
DEEPEST = np.iinfo(np.uint16).max  # the number of cells that 16 bits can count
LABELS = ("_labels.png", "_labels.tif")  # endings of label maps, of which each image has one


@dataclass(frozen=True, eq=False)
class Found:
    """An image and its objects, each of which has a mask."""

    image: Pixels
    objects: Objects
    class_names: Sequence[str]
    pixel_size: float | None = None  # micrometres per pixel

    @cached_property
    def regions(self) -> list[Region]:
        """The mask of each object."""
        return [region for region in self.objects.regions() if region]

    @property
    def labels(self) -> list[int]:
        """Of each object, 1..K."""
        labels: list[int] = self.objects.labels.tolist()
        return labels

    @property
    def scores(self) -> list[float]:
        """Of each object, as they are written."""
        return [round(score, 6) for score in self.objects.scores.tolist()]


def write_overlay(found: Found, stem: Path) -> None:
    """NAME_overlay.png"""
    _save(overlay(found.image, found.objects, found.class_names), stem, "_overlay.png")


def write_splash(found: Found, stem: Path) -> None:
    """NAME_splash.png"""
    _save(color_splash(found.image, found.regions), stem, "_splash.png")


def write_labels(found: Found, stem: Path) -> None:
    """NAME_labels.png, or .tif, and NAME_preview.png"""
    labels = label_map(found.objects)
    if len(found.objects) <= DEEPEST:
        _save(labels.astype(np.uint16), stem, "_labels.png")
    else:
        _save(labels, stem, "_labels.tif")
    _save(preview(labels), stem, "_preview.png")


def write_geojson(found: Found, stem: Path) -> None:
    """NAME.geojson"""
    rows = zip(found.regions, found.labels, found.scores, strict=True)
    features = [_feature(region, label, score, found) for region, label, score in rows]
    content = json.dumps({"type": "FeatureCollection", "features": features})
    stem.with_name(f"{stem.name}.geojson").write_text(content + "\n", encoding="utf-8")


def write_rois(found: Found, stem: Path) -> None:
    """NAME_RoiSet.zip"""
    with zipfile.ZipFile(stem.with_name(f"{stem.name}_RoiSet.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (region, label) in enumerate(zip(found.regions, found.labels, strict=True), start=1):
            name = f"{found.class_names[label - 1]}-{number}"
            entry = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name)
            archive.writestr(f"{entry}.roi", _roi(polygons(region), name))


PER_IMAGE: dict[str, tuple[Callable[[Found, Path], None], tuple[str, ...]]] = {  # and the endings of the files
    "overlay": (write_overlay, ("_overlay.png",)),
    "splash": (write_splash, ("_splash.png",)),
    "labels": (write_labels, (*LABELS, "_preview.png")),
    "geojson": (write_geojson, (".geojson",)),
    "imagej": (write_rois, ("_RoiSet.zip",)),
}
ENDINGS = tuple(ending for _, endings in PER_IMAGE.values() for ending in endings)


def check_installed(formats: Sequence[str]) -> None:
    """Raise ValueError if a format needs a package that is not there."""
    if "imagej" in formats and importlib.util.find_spec("roifile") is None:
        raise ValueError("--formats imagej: needs the package roifile: pip install roifile")


def color_splash(image: Pixels, regions: Sequence[Region]) -> Pixels:
    """The image [H, W, 3] in grey, with the cells in colour."""
    grey = np.asarray(Image.fromarray(image).convert("L"))  # luma of ITU-R BT.601
    splash = np.repeat(grey[..., None], 3, axis=2)
    for region in regions:
        splash[region.slices][region.mask] = image[region.slices][region.mask]
    return splash


def _save(picture: NDArray[Any], stem: Path, ending: str) -> None:
    Image.fromarray(picture).save(stem.with_name(stem.name + ending))


def _feature(region: Region, label: int, score: float, found: Found) -> dict[str, Any]:
    parts = [[_closed(ring) for ring in part.rings] for part in polygons(region)]
    geometry = {"type": "Polygon", "coordinates": parts[0]}
    if len(parts) > 1:
        geometry = {"type": "MultiPolygon", "coordinates": parts}
    colour = [round(255 * part) for part in to_rgb(class_colour(label))]
    measured = measures(region, found.objects.size)
    if found.pixel_size:
        measured |= in_microns(measured, found.pixel_size)
    properties = {
        "objectType": "annotation",  # QuPath's detections cannot be edited
        "classification": {"name": found.class_names[label - 1], "color": colour},
        "measurements": {"score": score, **measured},
    }
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _closed(ring: Ring) -> list[list[int]]:
    points: list[list[int]] = ring.tolist()
    return [*points, points[0]]


def _roi(parts: Sequence[Polygon], name: str) -> bytes:
    """A region of interest in ImageJ's format: an outline or, of several parts or with holes, a composite of outlines."""
    import roifile

    rings = [ring for part in parts for ring in part.rings]
    roi = roifile.ImagejRoi.frompoints(rings[0], name=name)
    roi.roitype = roifile.ROI_TYPE.TRACED
    if len(rings) == 1:
        return bytes(roi.tobytes())
    move, line, close = 0, 1, 4
    steps: list[float] = []
    for ring in rings:
        for i, (x, y) in enumerate(ring.tolist()):
            steps += [line if i else move, x, y]
        steps.append(close)
    corners = np.concatenate(rings)
    roi.roitype = roifile.ROI_TYPE.RECT
    roi.integer_coordinates = roi.subpixel_coordinates = None
    roi.n_coordinates, roi.shape_roi_size = 0, len(steps)
    roi.multi_coordinates = np.array(steps, np.float32)
    (roi.left, roi.top), (roi.right, roi.bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return bytes(roi.tobytes())
