"""The scale at which an image is shown to the model: that of training, so that a cell has the size which the model knows.

A model that has seen every cell 60 pixels across neither finds nor names one of 30. So an image is not brought to a fixed
shorter side, as photographs are (He et al. 2017, sec. 3.1): a crop, or several fields stitched together, would show its
cells larger or smaller.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from maskrcnn.images import Size

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
TILE = 1.5  # times the longer side of a training image: GroupNorm averages over what the model is shown
OVERLAP = 1.25  # times the diameter of a large cell, as boxes are longer than that
MAX_FACTOR = 20  # times as large, or as small, as in training cells may be said to be: more is a slip
TOLERANCE = 1.1  # times: by so much may a cell be outside of the range of nine in ten of training
MAX_OUTSIDE = 0.3  # fraction of the cells found that may be smaller or larger than nearly all of training
SAME_MAGNIFICATION = 1.3  # times: by so much the median cell of a few images differs from that of others
HOW_LARGE = "say how large the cells are with --diameter PIXELS, or --diameter auto"
SAME_SCALE = 0.02  # by so little may the scales of training images differ, to count as one


class ShownScale(NamedTuple):
    """At which scale images are shown to the model, in pixels of the model per pixel of the image, and how that was decided.
    None: each image at its own, by its shorter side."""

    scale: float | None
    reason: str


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

    def scale_for(self, diameter: float) -> float:
        """The scale at which a cell of this diameter, in pixels of its image, is as large as the median one of training."""
        return self.percentile(50) / diameter

    def percentile(self, percent: int) -> float:
        """One of PERCENTILES of the diameters, in pixels of the model."""
        return self.diameters[PERCENTILES.index(percent)]

    def tile(self, scale: float) -> tuple[int, int]:
        """Side and overlap of the tiles of an image that is shown at this scale, in pixels of the image: somewhat larger
        than a training image, and a nearly largest cell with a margin."""
        overlap = OVERLAP * self.percentile(99)
        side = max(TILE * max(self.image_size) * self.scale, 2 * overlap)
        return math.ceil(side / scale), math.ceil(overlap / scale)

    def warning(self, diameters: Sequence[float]) -> str:
        """What to say about all cells found, by their diameters in pixels of the model; "" if these are of the sizes of
        training."""
        if not diameters:
            return f"warning: no cell was found; if there are some, {HOW_LARGE}"
        low, high = self.percentile(5), self.percentile(95)
        median = float(np.median(diameters))
        low, high = low / TOLERANCE, TOLERANCE * high
        outside = float(np.mean([not low <= diameter <= high for diameter in diameters]))
        if low <= median <= high and outside <= MAX_OUTSIDE:
            return ""
        return (
            f"warning: the cells found do not have the sizes of the training cells: {median / self.percentile(50):.2f} "
            f"times their diameter in the median, {outside:.0%} outside of the range of nine in ten. Were the images taken "
            f"at another magnification, or resized? If so, {HOW_LARGE}"
        )

    def is_other_magnification(self, diameters: Sequence[float]) -> bool:
        """Whether the cells found in one image, by their diameters in pixels of the model, are in the median smaller or
        larger than nearly all of training: one image has few cells, which vary."""
        low, high = self.percentile(1) / SAME_MAGNIFICATION, SAME_MAGNIFICATION * self.percentile(99)
        return bool(diameters) and not low <= float(np.median(diameters)) <= high


def choose_scale(
    known: TrainingScale | None,
    diameter: float | Literal["auto"] | None,
    factor: float | None,
    estimate: Callable[[TrainingScale], float | None],
) -> ShownScale:
    """What the options --diameter and --scale (factor) mean. estimate: the diameter of the median cell in pixels of the
    images, or None if no cell is found. Raises ValueError if the checkpoint does not record the sizes of its cells, and for
    sizes that no image of cells has."""
    if known is None:
        if diameter or factor:
            raise ValueError(
                "--diameter and --scale need a checkpoint that records how large its training cells were; this one is of an "
                "older version of train.py"
            )
        return ShownScale(None, "each image is resized to one shorter side: the checkpoint records no scale")
    if diameter == "auto":
        found = estimate(known)
        if found and max(found / known.diameter, known.diameter / found) < SAME_MAGNIFICATION:
            reason = f"cells are estimated to be {found:.0f} pixels across: the magnification of training"
            return ShownScale(known.scale, reason)
        if found:
            return ShownScale(known.scale_for(found), f"cells are estimated to be {found:.0f} pixels across")
        reason = f"no cell was found at any scale; taken to be {known.diameter:.0f} pixels across, as in training"
        return ShownScale(known.scale, reason)
    check_size(known, diameter / known.diameter if diameter else factor or 1.0)
    if diameter:
        return ShownScale(known.scale_for(diameter), f"cells are {diameter:g} pixels across, as given")
    if factor:
        across = factor * known.diameter
        return ShownScale(
            known.scale / factor, f"cells are taken to be {across:.0f} pixels across, as given by --scale"
        )
    if not known.is_one:
        return ShownScale(
            None, "each image is resized to one shorter side, as in training, where cells varied with images"
        )
    return ShownScale(known.scale, f"cells are taken to be {known.diameter:.0f} pixels across, as in training")


def check_size(known: TrainingScale, times: float) -> None:
    """Raise ValueError unless cells can be so many times as large as in training."""
    if not 1 / MAX_FACTOR <= times <= MAX_FACTOR:
        raise ValueError(
            f"cells {times:.3g} times as large as in training are out of reach: there the median cell is "
            f"{known.diameter:.0f} pixels across; check --diameter or --scale"
        )
