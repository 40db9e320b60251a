"""A data set in another format: COCO's JSON, class folders, label maps. Split, classes and images stay as they are."""

import csv
import itertools
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from data.dataset import listed
from data.formats.files import key, normal
from data.opening import AnnotatedImages
from data.records import MULTI_CLASS, DataError, ImageRecord
from data.samples import Sample
from maskrcnn.inference.arguments import plural
from maskrcnn.inference.export import rle_encode
from maskrcnn.inference.image_io import open_image, orientation
from maskrcnn.regions import Region

# What label maps cannot hold.
OVERLAP = "pixels belonged to two cells; each now belongs to the later one"
HIDDEN = "cells are lost, since others cover them wholly; convert to coco to keep them"
PARTED = (
    "masks have one cell only, of several parts, which would be read as several cells; convert to coco, or read them with "
    "--mask-kind instance-labels"
)
# Names that a folder of a class cannot have: devices of Windows, with any ending, and LISC's folder of several classes.
REFUSED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)), MULTI_CLASS}


class Item(NamedTuple):
    """An image of the data set, and where it goes."""

    record: ImageRecord
    sample: Sample
    side: str  # train, val or test, "" if the data set has no split
    name: str  # of its file in the new data set, unique


def convert_dataset(
    images: AnnotatedImages, out: Path, target: str, test: AnnotatedImages | None = None
) -> Iterator[str]:
    """Write all that can be used of a data set to a new folder. images: read at full size, with or without their pixels;
    test: those of its test split, with the same classes. Yields what to tell the user. Raises DataError if the folder exists
    and is not empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: already exists; choose a new or an empty folder")
    items = _items([*_with_sides(images), *(_with_sides(test, "test") if test else [])])
    lost = TARGETS[target](items, images.dataset.class_names, out)
    skipped = dict.fromkeys([*images.skipped, *(test.skipped if test else ())])
    yield from (f"left out: {line}" for line in listed(skipped))
    yield from images.notes
    yield from lost
    cells = sum(len(item.sample.labels) for item in items)
    yield f"{plural(len(items), 'image')} with {plural(cells, 'cell')} in {out}, as {target}"


def write_coco(items: Sequence[Item], class_names: Sequence[str], out: Path) -> list[str]:
    """images/<name>, annotations/instances_<split>.json with run lengths, which keep every pixel."""
    categories = [{"id": k, "name": name} for k, name in enumerate(class_names, start=1)]
    for side in dict.fromkeys(item.side for item in items):
        pictures: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, item in enumerate((item for item in items if item.side == side), start=1):
            height, width = item.sample.size
            pictures.append({"id": number, "file_name": item.name, "height": height, "width": width})
            _copy_image(item, out / "images")
            for region, label in zip(item.sample.regions, item.sample.labels.tolist(), strict=True):
                annotations.append(_annotation(region, label, len(annotations) + 1, number, item.sample.size))
        path = out / "annotations" / f"instances{'_' * bool(side)}{side}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"images": pictures, "annotations": annotations, "categories": categories}
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return []


def write_class_folders(items: Sequence[Item], class_names: Sequence[str], out: Path) -> list[str]:
    """<split>/image|mask/<Class>/<name>: an image of several classes is in the folder of each, with the mask of its own
    cells, which are numbered. An image without a cell is in the folder of the first class, with an empty mask."""
    losses: Counter[str] = Counter()
    names = _folder_names(class_names)
    for item in items:
        labels = item.sample.labels.tolist()
        for label in sorted(set(labels)) or [1]:
            regions = [region for region, other in zip(item.sample.regions, labels, strict=True) if other == label]
            _copy_image(item, out / item.side / "image" / names[label - 1])
            losses += _save_label_map(regions, item, out / item.side / "mask" / names[label - 1])
    renamed = [
        f"the class {old} is in the folder {new}" for old, new in zip(class_names, names, strict=True) if old != new
    ]
    return [*_loss_notes(losses), *renamed]


def write_label_maps(items: Sequence[Item], class_names: Sequence[str], out: Path) -> list[str]:
    """<split>/images/<name>, <split>/masks/<name>.png, and classes.csv with the class of every number."""
    losses: Counter[str] = Counter()
    rows: list[tuple[str, int, str]] = []
    for item in items:
        _copy_image(item, out / item.side / "images")
        losses += _save_label_map(item.sample.regions, item, out / item.side / "masks")
        labels = enumerate(item.sample.labels.tolist(), start=1)
        rows += [(Path(item.side, item.name).as_posix(), number, class_names[label - 1]) for number, label in labels]
    with open(out / "classes.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "number", "class"), *rows])
    return [*_loss_notes(losses), "label maps hold no classes: they are in classes.csv"]


TARGETS: dict[str, Callable[[Sequence[Item], Sequence[str], Path], list[str]]] = {
    "coco": write_coco,
    "class-folders": write_class_folders,
    "label-maps": write_label_maps,
}


def _folder_names(class_names: Sequence[str]) -> list[str]:
    """A name of a folder for each class, without what file systems refuse or our reader takes for something else. Raises
    DataError if two would be the same."""
    names = [re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).strip(" .") or "_" for name in class_names]
    names = [f"_{name}" if normal(name.split(".")[0].rstrip()) in REFUSED else name for name in names]
    first: dict[str, str] = {}
    for name, folder in zip(class_names, names, strict=True):
        other = first.setdefault(normal(folder), name)
        if other != name:
            raise DataError(f"the classes {other} and {name} would share a folder; rename one with --classes")
    return names


def _with_sides(images: AnnotatedImages, side: str | None = None) -> Iterator[tuple[ImageRecord, Sample, str]]:
    """Each image with its split: `side` or, without it, the one that the data set says."""
    val = None if images.provided_val is None else set(images.provided_val)
    for i, (record, sample) in enumerate(zip(images.dataset.records, images.dataset.samples, strict=True)):
        yield record, sample, side or ("" if val is None else "val" if i in val else "train")


def _items(images: Sequence[tuple[ImageRecord, Sample, str]]) -> list[Item]:
    stems = Counter(key(record.image) for record, _, _ in images)
    taken: set[str] = set()
    numbers: dict[str, Iterator[int]] = {}  # of the names that are tried for a stem
    items = []
    for record, sample, side in images:
        stem = record.image.stem
        if stems[key(record.image)] > 1:  # LISC's numbers recur in every class folder
            stem = f"{record.image.parent.name}_{stem}"
        suffix = record.image.suffix if orientation(record.image) == 1 else ".png"
        counts = numbers.setdefault(normal(stem), itertools.count(1))
        tries = (stem if count == 1 else f"{stem}_{count}" for count in counts)
        stem = next(name for name in tries if key(f"{name}{suffix}") not in taken)
        taken.add(key(f"{stem}{suffix}"))
        items.append(Item(record, sample, side, stem + suffix))
    return items


def _copy_image(item: Item, folder: Path) -> None:
    """The file as it is, or upright where only its tags say how it is to be turned, which other programs ignore."""
    folder.mkdir(parents=True, exist_ok=True)
    if orientation(item.record.image) == 1:
        shutil.copyfile(item.record.image, folder / item.name)
    else:
        open_image(item.record.image).convert("RGB").save(folder / item.name)


def _annotation(region: Region, label: int, number: int, image: int, size: tuple[int, int]) -> dict[str, Any]:
    x1, y1, x2, y2 = region.box
    return {
        "id": number,
        "image_id": image,
        "category_id": label,
        "iscrowd": 0,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": int(region.mask.sum()),
        "segmentation": rle_encode(region, size),
    }


def _save_label_map(regions: Sequence[Region], item: Item, folder: Path) -> Counter[str]:
    """16 bits, as a PNG, or 32, as a TIFF, if there are more cells than these can number."""
    label_map: NDArray[np.int32] = np.zeros(item.sample.size, np.int32)
    overlap = 0
    for number, region in enumerate(regions, start=1):
        inside = label_map[region.slices]
        overlap += int((inside[region.mask] != 0).sum())
        inside[region.mask] = number
    folder.mkdir(parents=True, exist_ok=True)
    if len(regions) <= np.iinfo(np.uint16).max:
        Image.fromarray(label_map.astype(np.uint16)).save(folder / f"{Path(item.name).stem}.png")
    else:
        Image.fromarray(label_map).save(folder / f"{Path(item.name).stem}.tif")
    hidden = len(regions) - len(np.setdiff1d(label_map, [0]))
    # A mask of a single number is read as one of cells that are apart.
    parts = ndimage.label(label_map, np.ones((3, 3)))[1] if len(regions) == 1 else 1
    return Counter({OVERLAP: overlap, HIDDEN: hidden, PARTED: int(parts > 1)})


def _loss_notes(losses: Counter[str]) -> list[str]:
    return [f"{count} {loss}" for loss, count in losses.items() if count]
