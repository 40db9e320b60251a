"""How large the cells of a data set are, and the image size at which the model's anchors fit them.

The lisc and small presets have anchors of 16 to 256 pixels. The images are resized to fit them, so they suit any microscope.
Larger images cost time and, when training from random weights, accuracy.
"""

import numpy as np
import torch
from torch import Tensor

from data.dataset import SmearDataset

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
