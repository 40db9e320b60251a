"""What the tests of pictures share: Axes to draw on, and the boxes that were drawn on them."""

import pytest
import torch
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure

from maskrcnn.rpn import AnchorGenerator


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def drawn_boxes():
    """ax -> the corners [x1, y1, x2, y2] of all boxes in its collections, in the order in which they were drawn."""

    def corners(ax):
        paths = [p for c in ax.collections if isinstance(c, PatchCollection) for p in c.get_paths()]
        return [[*path.vertices.min(axis=0).tolist(), *path.vertices.max(axis=0).tolist()] for path in paths]

    return corners


@pytest.fixture
def legend():
    """ax -> the texts of its legend."""
    return lambda ax: [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.fixture
def anchors():
    """Of an image of 32 x 64, two shapes per location: 4 x 8 locations with stride 8, then 1 x 2 with stride 32."""
    generator = AnchorGenerator([(8,), (32,)], (1.0, 4.0))
    return generator([torch.empty(1, 1, 4, 8), torch.empty(1, 1, 1, 2)], (32, 64))
