"""COCO's JSON: images, categories and annotations in one file, or a list of results."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from maskrcnn.durable import replacing_text
from maskrcnn.inference.export.finished import FinishedImage, FoundCell
from maskrcnn.inference.outlines import polygons
from maskrcnn.regions import Region, run_lengths
from maskrcnn.weights.coco import COCO_CLASSES, COCO_NAMES

OF_COCO = dict(zip(COCO_CLASSES, COCO_NAMES, strict=True))  # class -> the number that COCO's own files give it
PREDICTIONS = "predictions of maskrcnn"  # what the info of coco.json says, so that nobody takes them for annotations


def write_predictions(
    path: Path, images: Iterable[FinishedImage], class_names: Sequence[str], as_polygons: bool
) -> None:
    """COCO's file of annotations, with scores. as_polygons: see `segmentation`."""

    def entry(cell: FoundCell, size: list[int]) -> dict[str, Any]:
        return {"score": cell["score"], **_place(cell, size, as_polygons)}

    _write(path, images, class_names, {"info": {"description": PREDICTIONS}}, entry, lambda image: image["file"])


def write_annotations(path: Path, images: Iterable[FinishedImage], class_names: Sequence[str]) -> None:
    """The same for people to correct and for train.py to read: polygons of the copies of the images, without scores."""

    def entry(cell: FoundCell, size: list[int]) -> dict[str, Any]:
        return _place(cell, size, as_polygons=True)

    _write(path, images, class_names, {}, entry, lambda image: image["copy"])


def category_numbers(class_names: Sequence[str]) -> list[int]:
    """Of each class: COCO's own for COCO's 80, which are not counted through, else 1, 2, ..."""
    return [OF_COCO[name] if tuple(class_names) == COCO_CLASSES else k for k, name in enumerate(class_names, start=1)]


def write_results(path: Path, images: Iterable[FinishedImage], class_names: Sequence[str]) -> None:
    """The list that `COCO.loadRes` reads. The numbers of images and categories are those of `write_predictions`. Without
    boxes, from which it would take areas; it makes them from the masks."""
    numbers = category_numbers(class_names)
    with replacing_text(path) as file:
        file.write("[")
        _write_list(
            file,
            (
                {
                    "image_id": number,
                    "category_id": numbers[cell["label"] - 1],
                    "score": cell["score"],
                    "segmentation": {"size": [image["height"], image["width"]], "counts": cell["counts"]},
                }
                for number, image in enumerate(images, start=1)
                for cell in image["cells"]
            ),
        )
        file.write("]\n")


def _write(
    path: Path,
    images: Iterable[FinishedImage],
    class_names: Sequence[str],
    head: dict[str, Any],
    entry: Callable[[FoundCell, list[int]], dict[str, Any]],
    name: Callable[[FinishedImage], str],
) -> None:
    numbers = category_numbers(class_names)
    categories = [{"id": k, "name": name} for k, name in zip(numbers, class_names, strict=True)]
    pictures = (
        {"id": number, "file_name": name(image), "height": image["height"], "width": image["width"]}
        for number, image in enumerate(images, start=1)
    )
    cells = (
        (number, cell, [image["height"], image["width"]])
        for number, image in enumerate(images, start=1)
        for cell in image["cells"]
    )
    annotations = (
        {"id": i, "image_id": number, "category_id": numbers[cell["label"] - 1], **entry(cell, size)}
        for i, (number, cell, size) in enumerate(cells, start=1)
    )
    with replacing_text(path) as file:
        file.write(json.dumps({**head, "categories": categories})[:-1] + ', "images": [')
        _write_list(file, pictures)
        file.write('], "annotations": [')
        _write_list(file, annotations)
        file.write("]}\n")


def _write_list(file: IO[str], entries: Iterable[dict[str, Any]]) -> None:
    for i, entry in enumerate(entries):
        file.write(f"{',' * bool(i)}\n{json.dumps(entry)}")


def _place(cell: FoundCell, size: list[int], as_polygons: bool) -> dict[str, Any]:
    x1, y1, x2, y2 = cell["box"]
    runs = {"size": size, "counts": cell["counts"]}
    return {
        "iscrowd": 0,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": cell["measures"]["area_px"],
        "segmentation": (cell["polygons"] or runs) if as_polygons else runs,
    }


def outline(region: Region) -> list[list[int]] | None:
    """The polygons of a mask, one for each part; None for a mask with a hole, which COCO's polygons cannot have, so that it
    is written in run lengths."""
    parts = polygons(region)
    return None if any(part.holes for part in parts) else [part.outer.ravel().tolist() for part in parts]


def rle_encode(region: Region, size: tuple[int, int]) -> dict[str, Any]:
    """COCO's compressed run-length encoding of a whole mask [H, W], the one form that COCO.loadRes accepts."""
    return {"size": [int(side) for side in size], "counts": compress_runs(run_lengths(region, size).tolist())}


def compress_runs(runs: Sequence[int]) -> str:
    """Runs of 0 and 1 in turn, column by column, 0 first, as COCO writes them: from the third on, each as its difference to
    the run two before, in groups of five bits, the lowest first; bit 6 says that another group follows; 48 makes it a
    letter."""
    letters = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            group = value & 31
            value >>= 5
            more = value != (-1 if group & 16 else 0)
            letters.append(chr((group | 32 if more else group) + 48))
    return "".join(letters)
