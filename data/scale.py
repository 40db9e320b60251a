"""How large cells are in a data set, and the size of image at which the model's anchors fit them.

The lisc preset has anchors of 16 to 256 pixels, so the images are brought to the anchors: the same numbers then suit any
microscope. Larger images than that cost time and, where a network starts from random weights, accuracy.
"""

import numpy as np
import torch
from torch import Tensor

from data.dataset import SmearDataset

CELL_SIDE = 60  # pixels that the longer side of a typical cell's box should have
SIZES = (96, 320)  # limits of the shorter side of an image: larger ones take long
STEP = 32  # padding makes sides a multiple of it


def box_sides(dataset: SmearDataset) -> Tensor:
    """Width and height of every cell's box, in shorter sides of its image: [N, 2]."""
    return torch.cat([(s.boxes[:, 2:] - s.boxes[:, :2]) / min(s.ids.shape) for s in dataset.samples])


def typical_side(dataset: SmearDataset) -> float:
    """The median of the longer side of a cell's box, in shorter sides of its image."""
    return float(np.median(box_sides(dataset).amax(dim=1).numpy()))


def fitting_size(dataset: SmearDataset) -> int:
    """The shorter side of an image, in pixels, at which a typical cell has CELL_SIDE."""
    size = STEP * round(CELL_SIDE / typical_side(dataset) / STEP)
    return min(max(size, SIZES[0]), SIZES[1])
