"""The scale at which an image is shown to the model: that of training, so that a cell has the size which the model knows.

A model that has seen every cell 60 pixels across neither finds nor names one of 30. So an image is not brought to a fixed
shorter side, as photographs are (He et al. 2017, sec. 3.1): a crop, or several fields stitched together, would show its
cells larger or smaller.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from maskrcnn.images import Size

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
TILE = 1.5  # times the longer side of a training image: GroupNorm averages over what the model is shown
OVERLAP = 1.25  # times the diameter of a large cell, as boxes are longer than that
SAME_SCALE = 0.02  # by so little may the scales of training images differ, to count as one


@dataclass(frozen=True)
class TrainingScale:
    """At which scale a model saw its training images, and how large their cells were."""

    scale: float  # pixels of the model per pixel of a training image, of the median one
    is_one: bool  # whether that of all of them was the same
    image_size: Size  # (height, width) of the median training image, in its own pixels
    diameters: tuple[float, ...]  # PERCENTILES of the cells' equivalent diameters, in pixels of the model

    @classmethod
    def of(cls, sizes: Sequence[Size], scales: Sequence[float], diameters: Sequence[float]) -> "TrainingScale":
        """sizes: of the training images, in their own pixels; scales: by which each is resized; diameters: equivalent
        diameters of all cells, in pixels of the model."""
        height, width = (int(side) for side in np.median(sizes, axis=0))
        scale = float(np.median(scales))
        is_one = bool(np.ptp(scales) <= SAME_SCALE * scale)
        return cls(scale, is_one, (height, width), tuple(np.percentile(diameters, PERCENTILES).tolist()))

    @classmethod
    def of_checkpoint(cls, saved: Mapping[str, Any]) -> "TrainingScale | None":
        """saved: the entries of a checkpoint of train.py. None if it records none, as those of older versions."""
        if "scale" not in saved:
            return None
        values = saved["scale"]
        return cls(values["scale"], values["is_one"], tuple(values["image_size"]), tuple(values["diameters"]))

    def entries(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)

    @property
    def diameter(self) -> float:
        """Of the median cell, in pixels of a training image."""
        return self.percentile(50) / self.scale

    def percentile(self, percent: int) -> float:
        """One of PERCENTILES of the diameters, in pixels of the model."""
        return self.diameters[PERCENTILES.index(percent)]

    def tile(self, scale: float) -> tuple[int, int]:
        """Side and overlap of the tiles of an image that is shown at this scale, in pixels of the image: somewhat larger
        than a training image, and a nearly largest cell with a margin."""
        overlap = OVERLAP * self.percentile(99)
        side = max(TILE * max(self.image_size) * self.scale, 2 * overlap)
        return math.ceil(side / scale), math.ceil(overlap / scale)
