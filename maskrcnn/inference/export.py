"""Predictions in the forms that others read: a table of cells, COCO's JSON, a differential count, pictures."""

import csv
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn.inference.colours import ColourRange, colour_figure
from maskrcnn.inference.regionprops import regionprops

PREDICTIONS = "predictions of maskrcnn"  # what the info of coco.json says, so that nobody takes them for annotations
COLUMNS = (
    "file",
    "cell",
    "class",
    "score",
    "x1",
    "y1",
    "x2",
    "y2",
    "area",
    "equivalent_diameter",
    "perimeter",
    "eccentricity",
    "touches_border",
)


class PredictionWriter:
    """Collects the cells of one image after another, then writes them all."""

    def __init__(self, class_names: Sequence[str], known_colours: ColourRange | None = None) -> None:
        """known_colours: those that the model was trained on, to compare the images with."""
        self.class_names, self.known_colours = tuple(class_names), known_colours
        self.colours: list[Tensor] = []
        self.cells: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, file: str, prediction: Mapping[str, Tensor], colours: Tensor | None = None) -> None:
        """prediction: boxes [D, 4], labels [D], scores [D], masks [D, 1, H, W], as `MaskRCNN` returns them. colours: the
        image's `colour_quantiles`, of all images or of none."""
        if colours is not None:
            self.colours.append(colours)
        height, width = prediction["masks"].shape[-2:]
        self.images.append({"id": len(self.images) + 1, "file_name": file, "height": height, "width": width})
        masks = (prediction["masks"][:, 0] > 0.5).cpu().numpy()
        values = zip(*(prediction[name].tolist() for name in ("boxes", "labels", "scores")), masks, strict=True)
        for number, (box, label, score, mask) in enumerate(values, start=1):
            region = regionprops(mask)
            corners = dict(zip(("x1", "y1", "x2", "y2"), (round(x, 2) for x in box), strict=True))
            shape = {name: round(value, 3) for name, value in region._asdict().items()}
            cell = {"file": file, "cell": number, "class": self.class_names[label - 1], "score": round(score, 4)}
            self.cells.append({**cell, **corners, **shape, "touches_border": int(touches_border(mask))})
            x1, y1, x2, y2 = box
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": len(self.images),
                    "category_id": label,
                    "iscrowd": 0,
                    "score": score,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": region.area,
                    "segmentation": rle_encode(mask),
                }
            )

    def write(self, folder: Path) -> list[Path]:
        """Write cells.csv, differential.csv, coco.json and, if there is something to see in it, colours.png. Returns their
        paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / name for name in ("cells.csv", "differential.csv", "coco.json")]
        _write_csv(paths[0], COLUMNS, self.cells)
        rows = self.differential()
        _write_csv(paths[1], tuple(rows[0]), rows)
        categories = [{"id": k, "name": name} for k, name in enumerate(self.class_names, start=1)]
        info = {"description": PREDICTIONS}
        content = {"info": info, "images": self.images, "categories": categories, "annotations": self.annotations}
        paths[2].write_text(json.dumps(content) + "\n", encoding="utf-8")
        if self.known_colours and self.colour_warning():
            paths.append(folder / "colours.png")
            colour_figure(self.known_colours, torch.stack(self.colours)).savefig(paths[-1], dpi=100)
        return paths

    def differential(self) -> list[dict[str, Any]]:
        """One row per image, and a last row for all: the number of cells, and number and percentage of each class."""
        counts = [(image["file_name"], Counter[str]()) for image in self.images]
        for annotation in self.annotations:
            counts[annotation["image_id"] - 1][1][self.class_names[annotation["category_id"] - 1]] += 1
        total = sum((count for _, count in counts), Counter[str]())
        rows = [self._differential_row(file, count) for file, count in [*counts, ("all", total)]]
        if self.known_colours and self.colours:
            distances = self.known_colours.distances(torch.stack(self.colours)).tolist()
            for row, distance in zip(rows, [*(round(distance, 1) for distance in distances), ""], strict=True):
                row["colour_distance"] = distance
        return rows

    def colour_warning(self) -> str:
        """See `ColourRange.warning`."""
        return self.known_colours.warning(torch.stack(self.colours)) if self.known_colours and self.colours else ""

    def _differential_row(self, file: str, count: Counter[str]) -> dict[str, Any]:
        row: dict[str, Any] = {"file": file, "cells": count.total()}
        for name in self.class_names:
            row[name] = count[name]
        for name in self.class_names:
            row[f"{name}_percent"] = round(100 * count[name] / count.total(), 1) if count else ""
        return row


def touches_border(mask: NDArray[np.bool_]) -> bool:
    """Whether a mask [H, W] has a pixel in the outermost rows or columns of the image."""
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def rle_encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run-length encoding of a mask [H, W], the one form that COCO.loadRes accepts."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1] if len(flat) else True))
    runs = np.diff(edges, prepend=0).tolist()
    return {"size": [int(side) for side in mask.shape], "counts": compress_runs(runs)}


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


def color_splash(image: Tensor, masks: Tensor) -> NDArray[np.uint8]:
    """The image in grey, with the cells in colour. image: [3, H, W] in 0..1; masks: [D, 1, H, W] -> uint8 [H, W, 3]."""
    grey = (image * image.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0)  # luma of ITU-R BT.601
    is_cell = (masks[:, 0] > 0.5).any(dim=0)
    splash = image.where(is_cell, grey.expand_as(image))
    result: NDArray[np.uint8] = (splash.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return result


def check_writable(folder: Path) -> None:
    """Raise ValueError, naming it, for a folder that cannot be created or written to. Leaves nothing behind."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"{folder}: cannot be created, since {existing} is a file; choose another --out")
    try:
        with tempfile.TemporaryDirectory(dir=existing):
            pass
    except OSError as error:  # trying is the only way to know: root may write everywhere, except where nobody may
        raise ValueError(f"{folder}: cannot write to {existing} ({error.strerror}); choose another --out") from error


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
