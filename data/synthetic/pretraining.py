"""Synthetic smears for pre-training: a data set of one's own is small and has few cells of the rare classes.

From random weights a network learns from them what cells are and how the classes differ. So the images are crowded with
white cells, of all classes equally many, at the scale of the real images that follow.
"""

import contextlib
import math
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.dataset import SmearDataset
from data.image_io import Annotated
from data.image_size import median_cell_side
from data.records import ImageRecord, RecordError
from data.samples import cells_of_codes, make_sample, without_fragments
from data.synthetic.smear import draw_smear, random_stain
from maskrcnn.config import LISC_CLASSES

MEDIAN_SIDES = {"whole-cell": 85, "nucleus": 66}  # pixels: the median of the longer side of a box in synthetic smears
CELLS = 1200  # white cells in all images together
CELL_SPACING = 165  # pixels: one white cell per square of this side
ANY_STAIN = 0.5  # fraction of the images whose stain is invented, so that no class is known by its colour alone
MIN_SIDE, MAX_SIDE = 256, 1024  # pixels: limits of the sides of an image


def pretraining_set(
    reference: SmearDataset, cells: int = CELLS, seed: int = 0, compartment: str = "whole-cell"
) -> SmearDataset:
    """Images of about `cells` cells together, deterministic by seed, with the classes and at the scale of `reference`. If it
    has none of LISC's classes, each cell has a random one of its own.

    compartment: what is annotated in them and in `reference`, see `read_dataset`.
    """
    shown = shown_classes(reference)
    names = shown or list(LISC_CLASSES)
    size = matching_size(reference, compartment)
    per_image = max(1, round(math.prod(size) / CELL_SPACING**2))
    dataset = SmearDataset([], [], reference.class_names)
    images = math.ceil(cells / per_image)
    for k in tqdm(range(images), "drawing synthetic smears", unit="image", leave=False, disable=None):
        rng = np.random.default_rng([seed, k])
        labels = [names[i % len(names)] for i in range(k * per_image, (k + 1) * per_image)]
        stain = random_stain(rng) if rng.uniform() < ANY_STAIN else None
        image, mask = draw_smear(rng.permutation(labels).tolist(), rng, size, stain)
        record = ImageRecord(Path(f"synthetic {k}"))
        drawn = cells_of_codes(mask)
        if not shown:  # the classes are others: any one is as good, and what a cell is can still be learnt
            drawn = [cell._replace(label=str(rng.choice(reference.class_names))) for cell in drawn]
        with contextlib.suppress(RecordError):  # nuclei are asked for, and all cells are basophils, whose are hidden
            sample = make_sample(Annotated(image, drawn, [], []), record, reference.class_names, compartment)
            dataset.records.append(record)
            dataset.samples.append(sample)
    dataset.samples = without_fragments(dataset.samples)
    return dataset


def shown_classes(reference: SmearDataset) -> list[str]:
    """The classes of a data set that synthetic smears can show. If there is none, other classes are not worth pre-training
    (docs/recipe.md)."""
    return [name for name in reference.class_names if name in LISC_CLASSES]


def matching_size(reference: SmearDataset, compartment: str = "whole-cell") -> tuple[int, int]:
    """(width, height) of a synthetic image in which cells are as large, relative to the image, as those of `reference`."""
    height, width = np.median([sample.size for sample in reference.samples], axis=0)
    scale = MEDIAN_SIDES[compartment] / (median_cell_side(reference) * min(height, width))
    scale = min(max(scale, MIN_SIDE / min(height, width)), MAX_SIDE / max(height, width))
    return round(width * scale), round(height * scale)
