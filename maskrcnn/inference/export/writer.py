"""Writes the results image by image, so that whatever ends a run leaves all finished images and their rows."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from maskrcnn.durable import replacing_text
from maskrcnn.inference.colours import ColourRange, colour_figure
from maskrcnn.inference.export import annotations, coco
from maskrcnn.inference.export.finished import (
    RECORDS,
    FinishedImage,
    FinishedImages,
    FoundCell,
    append,
    line_of,
)
from maskrcnn.inference.export.pictures import DEEPEST, LABELS, PER_IMAGE, Found
from maskrcnn.inference.export.tables import Tables, measures
from maskrcnn.inference.image_io import readable

SUMMARIES = ("coco", "coco-polygons", "coco-results")
FORMATS = (*PER_IMAGE, *SUMMARIES)
DEFAULT = ("overlay", "splash", "labels", "coco")


@dataclass(frozen=True)
class Options:
    """What is written, see --help."""

    formats: Sequence[str] = DEFAULT  # some of FORMATS
    pixel_size: float | None = None  # micrometres per pixel
    annotations: Path | None = None  # the folder of a data set to correct


class PredictionWriter:
    """Adds one image after another to an output folder, then summarises them."""

    def __init__(
        self,
        out: Path,
        class_names: Sequence[str],
        known_colours: ColourRange | None = None,
        options: Options = Options(),
    ) -> None:
        """Goes on with the images that are already in the folder. known_colours: those that the model was trained on, to
        compare the images with. Raises OSError."""
        self.out, self.class_names, self.known_colours, self.options = out, tuple(class_names), known_colours, options
        self.images = FinishedImages(out / RECORDS)
        self.tables = Tables(class_names, options.pixel_size, known_colours is not None)
        self.done: dict[str, str] = {}  # absolute path -> output
        self.digests: dict[str, str] = {}  # absolute path -> SHA-256 of the file
        self.colours: list[Tensor] = []
        self.scales: set[float] = set()
        self._copies: set[str] = set()
        out.mkdir(parents=True, exist_ok=True)
        self.images.path.touch()
        self.images.drop_cut_off()
        self.incomplete = self.images.keep(self._has_files)  # whose files somebody has deleted
        for image in self.images:
            self._remember(image)
        self._write_tables()

    def add(
        self,
        file: Path,
        output: Path,
        found: Found,
        colours: Tensor | None = None,
        scale: float | None = None,
        digest: str = "",
    ) -> None:
        """Write the files of one image and its rows. file: where it was read; output: where its files go, below the output
        folder, without ending; found: best first; colours: its `colour_quantiles`, of all images or of none; scale: pixels
        of the model per pixel of the image; digest: of the file, see `digest_of`. Raises OSError; the image has no rows
        then."""
        stem = self.out / output
        stem.parent.mkdir(parents=True, exist_ok=True)
        for name in self.options.formats:
            if name in PER_IMAGE:
                PER_IMAGE[name][0](found, stem)
        copy = ""
        if self.options.annotations:
            copy = annotations.copy_name(file, output, self._copies)
            annotations.copy_image(file, found.image, self.options.annotations / "images" / copy)
        height, width = found.objects.size
        image: FinishedImage = {
            "path": os.path.realpath(file),
            "sha256": digest,
            "file": readable(file),
            "output": str(output),
            "copy": copy,
            "height": height,
            "width": width,
            "scale": scale,
            "colours": None if colours is None else colours.tolist(),
            "limited": found.objects.limited,
            "cells": self._cells(found),
        }
        differential = self.tables.differential(image, self._distance(image))
        rows = {"cells.csv": self.tables.cells(image), "differential.csv": differential, RECORDS: line_of(image)}
        append({self.out / name: text for name, text in rows.items()})
        self._remember(image)

    def finish(self) -> tuple[dict[str, int], str]:
        """Write what all images are needed for. Returns the number of cells of each class, and the digest of the
        annotations. Raises OSError."""
        by_folder, total, counts = self.tables.summaries(self.images)
        for name, text in (("differential_folders.csv", by_folder), ("differential_total.csv", total)):
            _write_text(self.out / name, [text])
        for name in set(self.options.formats) & set(SUMMARIES):
            path = self.out / f"{name.replace('-', '_')}.json"
            if name == "coco-results":
                coco.write_results(path, self.images, self.class_names)
            else:
                coco.write_predictions(path, self.images, self.class_names, as_polygons=name == "coco-polygons")
        if self.known_colours and self.colour_warning():
            colour_figure(self.known_colours, torch.stack(self.colours)).savefig(self.out / "colours.png", dpi=100)
        folder = self.options.annotations
        digest = annotations.write(folder, self.images, self.class_names) if folder else ""
        return {name: counts[name] for name in self.class_names}, digest

    def colour_warning(self) -> str:
        """See `ColourRange.warning`."""
        return self.known_colours.warning(torch.stack(self.colours)) if self.known_colours and self.colours else ""

    def _cells(self, found: Found) -> list[FoundCell]:
        with_polygons = "coco-polygons" in self.options.formats or self.options.annotations is not None
        size = found.objects.size
        return [
            {
                "label": label,
                "score": score,
                "box": list(region.box),
                "measures": measures(region, size),
                "counts": coco.rle_encode(region, size)["counts"],
                "polygons": coco.outline(region) if with_polygons else None,
            }
            for region, label, score in zip(found.regions, found.labels, found.scores, strict=True)
        ]

    def _has_files(self, image: FinishedImage) -> bool:
        """Whether the files that are written for an image are all there."""
        stem = self.out / image["output"]
        labels = "_labels.png" if len(image["cells"]) <= DEEPEST else "_labels.tif"
        endings = {
            labels if ending in LABELS else ending
            for name in self.options.formats
            if name in PER_IMAGE
            for ending in PER_IMAGE[name][1]
        }
        files = [stem.with_name(stem.name + ending) for ending in endings]
        if self.options.annotations:
            files.append(self.options.annotations / "images" / image["copy"])
        return all(file.is_file() for file in files)

    def _remember(self, image: FinishedImage) -> None:
        self.done[image["path"]] = image["output"]
        self.digests[image["path"]] = image.get("sha256", "")
        self._copies.add(image["copy"].lower())
        if image["scale"] is not None:
            self.scales.add(image["scale"])
        if image["colours"] is not None:
            self.colours.append(torch.tensor(image["colours"]))

    def _distance(self, image: FinishedImage) -> float | None:
        if not self.known_colours or image["colours"] is None:
            return None
        return float(self.known_colours.distances(torch.tensor(image["colours"])[None]))

    def _write_tables(self) -> None:
        rows = (self.tables.differential(image, self._distance(image)) for image in self.images)
        _write_text(self.out / "differential.csv", [self.tables.differential_header()], rows)
        cells = (self.tables.cells(image) for image in self.images)
        _write_text(self.out / "cells.csv", [self.tables.cells_header()], cells)


def _write_text(path: Path, *texts: Iterable[str]) -> None:
    with replacing_text(path) as file:
        for each in texts:
            file.writelines(each)
