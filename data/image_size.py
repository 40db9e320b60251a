"""How large the cells of a data set are, and the image size at which the model's anchors fit them.

The lisc and small presets have anchors of 16 to 256 pixels. The images are resized to fit them, so they suit any microscope.
Larger images cost time and, when training from random weights, accuracy.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.dataset import SmearDataset
from data.samples import Sample
from maskrcnn.images import ImageTransform, Size, scaled_size
from maskrcnn.inference.scale import TrainingScale

CELL_SIDE = 60  # pixels: what the longer side of the median cell's box should become
MIN_SIZE, MAX_SIZE = 96, 320  # limits of an image's shorter side: larger images take long
STEP = 32  # sides are padded to a multiple of it


def relative_box_sides(dataset: SmearDataset) -> Tensor:
    """Width and height of every cell's box as a fraction of its image's shorter side: [N, 2]."""
    return torch.cat([(s.boxes[:, 2:] - s.boxes[:, :2]) / min(s.size) for s in dataset.samples])


def median_cell_side(dataset: SmearDataset) -> float:
    """The median of the longer side of a cell's box, as a fraction of its image's shorter side."""
    return float(np.median(relative_box_sides(dataset).amax(dim=1).numpy()))


def size_for_cells(dataset: SmearDataset) -> int:
    """The shorter side of an image, in pixels, at which the median cell measures CELL_SIDE."""
    size = STEP * round(CELL_SIDE / median_cell_side(dataset) / STEP)
    return min(max(size, MIN_SIZE), MAX_SIZE)


def training_scale(dataset: SmearDataset, transform: ImageTransform, may_be_one: bool = True) -> TrainingScale:
    """The scale at which images are trained on. One for all if their cells are of one size in pixels, as those of one
    magnification are, whether or not the images are; else, and unless it may_be_one, each image's own, by its shorter
    side."""
    sizes = [sample.file_size or sample.size for sample in dataset.samples]
    own = np.array([transform.scale_of(size) for size in sizes])
    diameters = [_diameters(sample) for sample in dataset.samples]  # in pixels of the files
    pooled = np.concatenate(diameters)
    resized = np.concatenate([of_image * scale for of_image, scale in zip(diameters, own, strict=True)])
    one = float(np.median(own))
    fits = max(max(size) for size in sizes) * one <= transform.max_size
    if may_be_one and fits and _spread(pooled) <= _spread(resized):
        own, resized = np.full(len(own), one), pooled * one
    return TrainingScale.of(sizes, own.tolist(), resized.tolist())


def _diameters(sample: Sample) -> NDArray[np.float64]:
    """Of discs with the cells' areas, in pixels of the file."""
    areas = np.array([int(region.mask.sum()) for region in sample.regions], np.float64)
    return np.sqrt(4 * areas / math.pi) / sample.scale


def _spread(diameters: NDArray[np.float64]) -> float:
    """How many times as large a large cell is as a small one, as a logarithm."""
    low, high = np.quantile(np.log(diameters), (0.25, 0.75))
    return float(high - low)


def scales_of(dataset: SmearDataset, known: TrainingScale | None) -> list[float | None]:
    """The scale of each image of a data set, which may be stored reduced, for `MaskRCNN`; None: by its shorter side."""
    scale = known.scale if known and known.is_one else None
    return [scale and scale / sample.scale for sample in dataset.samples]


def model_sizes(dataset: SmearDataset, transform: ImageTransform, scales: Sequence[float | None]) -> list[Size]:
    """The size of each image of a data set for the model. scales: see `scales_of`."""
    sizes = [sample.size for sample in dataset.samples]
    return [
        transform.resized_size(size) if scale is None else scaled_size(size, scale)
        for size, scale in zip(sizes, scales, strict=True)
    ]
