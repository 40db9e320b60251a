"""How large the cells of images are, when nobody says so: a first pass at several scales.

At the right scale the model finds most cells, with the highest scores, and of the sizes that training had. At others it
takes red cells, platelets or clumps for white cells, or finds nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from maskrcnn.inference.detect import predict
from maskrcnn.inference.objects import Objects, confident_objects, equivalent_diameters
from maskrcnn.inference.scale import TrainingScale
from maskrcnn.model import MaskRCNN

FACTORS = tuple(2.0 ** (k / 2) for k in range(-3, 5))  # how many times as large as in training cells may be
MAX_IMAGES = 8  # are looked at
MAX_SIDE = 3  # tiles at the scale of training: of a larger image only the middle is looked at
SCORE = 0.5


class Vote(NamedTuple):
    """What is found at one scale: cells, each weighted by its score and by how usual its size is, and their median diameter
    as a fraction of that of training."""

    factor: float
    weight: float
    ratio: float


def estimate_diameter(
    model: MaskRCNN,
    images: Sequence[Tensor],
    known: TrainingScale,
    precision: str = "auto",
    change: Callable[[Tensor], Tensor] = lambda image: image,
    progress: Callable[[Sequence[float]], Iterable[float]] = iter,
) -> float | None:
    """The diameter of the median cell of some images [3, H, W] of one magnification, in their pixels; None if no cell is
    found at any scale. They are evenly sampled if they are many. precision, change: see `predict`; progress: wraps the
    scales, for a progress bar."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(MAX_IMAGES, len(images))).astype(int)).tolist()
    side = MAX_SIDE * known.tile(known.scale)[0]
    parts = [_middle(images[i], side) for i in chosen]

    def detect(image: Tensor, scale: float) -> Objects:
        return confident_objects(predict(model, image, precision, scale=scale, known=known, change=change), SCORE)

    votes = [_vote(detect, parts, known, factor) for factor in progress(FACTORS)]
    best = max(votes, key=lambda each: each.weight, default=None)
    if not best or not best.weight:
        return None
    return known.diameter * best.factor * best.ratio  # what the sizes say that were found is nearer to the truth


def _middle(image: Tensor, side: int) -> Tensor:
    """The middle of an image, at most so many pixels wide and high."""
    top, left = (max(0, (length - side) // 2) for length in image.shape[-2:])
    return image[:, top : top + side, left : left + side]


def _vote(
    detect: Callable[[Tensor, float], Objects], images: Sequence[Tensor], known: TrainingScale, factor: float
) -> Vote:
    """What is found if cells are `factor` times as large as in the training images."""
    scale = known.scale / factor
    weights, diameters = list[float](), list[float]()
    for image in images:
        cells = detect(image, scale)
        found = [scale * diameter for diameter in equivalent_diameters(cells)]
        weights += [
            score * known.likelihood(diameter) for score, diameter in zip(cells.scores.tolist(), found, strict=True)
        ]
        diameters += found
    ratio = float(np.median(diameters)) / known.percentile(50) if diameters else 1.0
    return Vote(factor, sum(weights), ratio)
