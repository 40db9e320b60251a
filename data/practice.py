"""Synthetic fields to practise on before a data set of one's own, which is small and has few of the rare classes.

A network with random weights learns what cells are, and what tells their classes apart, from many cells of each class. So
these fields are crowded with white cells of all classes, equally many, at the scale of the images that come after them.
"""

import contextlib
import math
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.dataset import SmearDataset, make_sample
from data.image_files import FieldError
from data.lisc import CLASSES, Field
from data.scale import typical_side
from data.smear import draw_smear

TYPICAL_SIDES = {"cell": 85, "nucleus": 66}  # pixels: the median of the longer side of the box in drawn fields
CELLS = 1200  # white cells in all fields together
ROOM = 165  # pixels: one white cell is drawn for each square of this side
SIDES = (256, 1024)  # pixels: the shortest and the longest side that a field may have


def field_size(like: SmearDataset, part: str = "cell") -> tuple[int, int]:
    """(width, height) of a drawn field in which cells are as large, against the field, as in those of `like`. part: what
    `like` outlines, see SmearDataset."""
    height, width = np.median([sample.ids.shape for sample in like.samples], axis=0)
    scale = TYPICAL_SIDES[part] / (typical_side(like) * min(height, width))
    scale = min(max(scale, SIDES[0] / min(height, width)), SIDES[1] / max(height, width))
    return round(width * scale), round(height * scale)


def draw_practice(like: SmearDataset, cells: int = CELLS, seed: int = 0, part: str = "cell") -> SmearDataset:
    """Fields of about so many cells, by seed, with the classes and for the scale of `like`. part: see SmearDataset."""
    names = [name for name in like.class_names if name in CLASSES]
    size = field_size(like, part)
    crowd = max(1, round(math.prod(size) / ROOM**2))
    fields, samples = [], []
    for k in tqdm(range(math.ceil(cells / crowd)), "drawing synthetic smears", unit="image", leave=False):
        rng = np.random.default_rng([seed, k])
        labels = [names[i % len(names)] for i in range(k * crowd, (k + 1) * crowd)]
        image, mask = draw_smear(rng.permutation(labels).tolist(), rng, size)
        field = Field(Path(f"practice {k}"), Path(f"practice {k}"), None)
        with contextlib.suppress(FieldError):  # only of basophils, whose nuclei are hidden, where nuclei are asked for
            samples.append(make_sample(image, mask, field, like.class_names, part=part))
            fields.append(field)
    return SmearDataset.of(fields, samples, like.class_names)
