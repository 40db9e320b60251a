"""What was found in images, in the forms that others read: a table of cells, COCO's JSON, a differential count, pictures."""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn.regions import measure

COLUMNS = ("file", "cell", "class", "score", "x1", "y1", "x2", "y2",
           "area", "equivalent_diameter", "perimeter", "eccentricity", "touches_border")  # fmt: skip


class Results:
    """Collects the cells of one image after the other, then writes them all."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self.cells: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, file: str, prediction: Mapping[str, Tensor]) -> None:
        """prediction: boxes [D, 4], labels [D], scores [D], masks [D, 1, H, W], as `MaskRCNN` returns them."""
        height, width = prediction["masks"].shape[-2:]
        self.images.append({"id": len(self.images) + 1, "file_name": file, "height": height, "width": width})
        masks = (prediction["masks"][:, 0] > 0.5).cpu().numpy()
        values = zip(*(prediction[name].tolist() for name in ("boxes", "labels", "scores")), masks, strict=True)
        for number, (box, label, score, mask) in enumerate(values, start=1):
            region = measure(mask)
            border = bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
            place = dict(zip(("x1", "y1", "x2", "y2"), (round(x, 2) for x in box), strict=True))
            shape = {name: round(value, 3) for name, value in region._asdict().items()}
            name = self.class_names[label - 1]
            head = {"file": file, "cell": number, "class": name, "score": round(score, 4)}
            self.cells.append({**head, **place, **shape, "touches_border": int(border)})
            x1, y1, x2, y2 = box
            self.annotations.append({
                "id": len(self.annotations) + 1, "image_id": len(self.images), "category_id": label, "iscrowd": 0,
                "score": score, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": region.area, "segmentation": encode(mask),
            })  # fmt: skip

    def write(self, folder: Path) -> list[Path]:
        """cells.csv, differential.csv and coco.json. Returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / name for name in ("cells.csv", "differential.csv", "coco.json")]
        _write_csv(paths[0], COLUMNS, self.cells)
        rows = self.differential()
        _write_csv(paths[1], tuple(rows[0]), rows)
        categories = [{"id": k, "name": name} for k, name in enumerate(self.class_names, start=1)]
        content = {"images": self.images, "categories": categories, "annotations": self.annotations}
        paths[2].write_text(json.dumps(content) + "\n", encoding="utf-8")
        return paths

    def differential(self) -> list[dict[str, Any]]:
        """For each image and, last, for all: how many cells, and how many and what percentage of each class."""
        counts = [(image["file_name"], Counter[str]()) for image in self.images]
        for annotation in self.annotations:
            counts[annotation["image_id"] - 1][1][self.class_names[annotation["category_id"] - 1]] += 1
        everything = sum((count for _, count in counts), Counter[str]())
        return [self._share(file, count) for file, count in [*counts, ("all", everything)]]

    def _share(self, file: str, count: Counter[str]) -> dict[str, Any]:
        row: dict[str, Any] = {"file": file, "cells": count.total()}
        for name in self.class_names:
            row[name] = count[name]
        for name in self.class_names:
            row[f"{name}_percent"] = round(100 * count[name] / count.total(), 1) if count else ""
        return row


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run-length encoding of a mask [H, W].

    Runs of 0 and 1 take turns, column by column, 0 first. From the third on, each is written as its difference to the one
    two before, in groups of five bits, the lowest first; bit 6 says that another group follows; 48 makes it a letter.
    """
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1] if len(flat) else True))
    runs = np.diff(edges, prepend=0).tolist()
    letters = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            group = value & 31
            value >>= 5
            more = value != (-1 if group & 16 else 0)
            letters.append(chr((group | 32 if more else group) + 48))
    return {"size": [int(side) for side in mask.shape], "counts": "".join(letters)}


def splash(image: Tensor, masks: Tensor) -> NDArray[np.uint8]:
    """The image in grey but for what was found. image: [3, H, W] in 0..1; masks: [D, 1, H, W] -> uint8 [H, W, 3]."""
    grey = (image * image.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0)  # luma of ITU-R BT.601
    found = (masks[:, 0] > 0.5).any(dim=0)
    shown = image.where(found, grey.expand_as(image))
    result: NDArray[np.uint8] = (shown.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return result
