"""How large the cells of images are, when nobody says so: a first pass at several scales.

A model finds its cells over a range of scales, and each time says the same about their size in the image. What it takes for
cells at a wrong scale, such as red cells or platelets in an image that is shown too large, has the size of training cells
whatever the scale. So the diameter that most scales agree on is taken.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from maskrcnn.images import Size
from maskrcnn.inference.colours import Light
from maskrcnn.inference.detect import predict
from maskrcnn.inference.objects import Objects, confident_objects, equivalent_diameters
from maskrcnn.inference.scale import TrainingScale
from maskrcnn.model import MaskRCNN

FACTORS = tuple(2.0 ** (k / 2) for k in range(-3, 5))  # how many times as large as in training cells may be
MAX_AREA = 8  # training images: together as large are the images that are looked at, and no more than
MAX_IMAGES = 64
MAX_SIDE = 1.5  # tiles at the scale of training: of a larger image only the middle is looked at
SCORE = 0.5
AGREE = 1.25  # times: by so little differ the diameters that two scales agree on


class Vote(NamedTuple):
    """What is found at one scale: the median diameter of cells, as a multiple of that of training cells in their images, and
    the mean score."""

    diameter: float
    score: float


def some_images(sizes: Sequence[Size], known: TrainingScale) -> list[int]:
    """Which images to look at, evenly sampled: indices into their sizes (height, width)."""
    side = _largest_side(known)
    area = float(np.median([min(height, side) * min(width, side) for height, width in sizes] or [1]))
    number = min(len(sizes), MAX_IMAGES, math.ceil(MAX_AREA * math.prod(known.image_size) / area))
    return np.linspace(0, len(sizes) - 1, number).astype(int).tolist()


def estimate_diameter(
    model: MaskRCNN,
    images: Iterable[Tensor],
    known: TrainingScale,
    precision: str = "auto",
    shown: Light = lambda image: lambda part: part,
    progress: Callable[[Sequence[float]], Iterable[float]] = iter,
) -> float | None:
    """The diameter of the median cell of some images [3, H, W] of one magnification, in their pixels; None if no cell is
    found at any scale. precision: see `predict`; shown: see `as_shown`; progress: wraps the scales, for a progress bar."""
    parts = [(_middle(image, _largest_side(known)), shown(image)) for image in images]

    def detect(scale: float) -> list[Objects]:
        found = (predict(model, part, precision, scale=scale, known=known, change=change) for part, change in parts)
        return [confident_objects(objects, SCORE) for objects in found]

    found = [_vote(detect(known.scale / factor), known) for factor in progress(FACTORS)]
    votes = [vote for vote in found if vote]
    return known.diameter * _consensus(votes) if votes else None


def _largest_side(known: TrainingScale) -> int:
    return round(MAX_SIDE * known.tile(known.scale)[0])


def _consensus(votes: Sequence[Vote]) -> float:
    """The median of the diameters that most votes, by their scores, agree on."""
    logs = np.log([vote.diameter for vote in votes])
    agree = np.abs(logs[:, None] - logs) < math.log(AGREE)
    most = (agree @ np.array([vote.score for vote in votes])).argmax()
    return float(np.exp(np.median(logs[agree[most]])))


def _middle(image: Tensor, side: int) -> Tensor:
    """The middle of an image, at most so many pixels wide and high."""
    top, left = (max(0, (length - side) // 2) for length in image.shape[-2:])
    return image[:, top : top + side, left : left + side].clone()  # which lets a large image go


def _vote(cells: Sequence[Objects], known: TrainingScale) -> Vote | None:
    """What is found in the images at one scale; None if nothing is."""
    diameters = [diameter for of_image in cells for diameter in equivalent_diameters(of_image)]
    scores = [score for of_image in cells for score in of_image.scores.tolist()]
    return Vote(float(np.median(diameters)) / known.diameter, float(np.mean(scores))) if scores else None
