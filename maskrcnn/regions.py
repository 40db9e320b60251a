"""Size and shape of a mask, as cell biology measures them. Lengths are in pixels, areas in square pixels."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Region(NamedTuple):
    area: int
    equivalent_diameter: float  # of the disc with the same area
    perimeter: float
    eccentricity: float  # of the ellipse with the same second moments: 0 a circle, near 1 a line


def measure(mask: NDArray[np.bool_]) -> Region:
    """[H, W] -> its measures; all 0 for an empty mask."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return Region(0, 0.0, 0.0, 0.0)
    cut = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    area = len(rows)
    return Region(area, math.sqrt(4 * area / math.pi), perimeter(cut), eccentricity(rows, columns))


def perimeter(mask: NDArray[np.bool_]) -> float:
    """The length of the outline, by Crofton's formula in four directions: how often lines across the grid meet it.

    Counting pixel edges would make every disc as long as its bounding square. For one direction, the number of crossings
    times the distance between lines times pi / 2 estimates the length; the mean over directions is taken.
    """
    framed = np.pad(mask, 1).astype(np.int8)
    across = np.abs(np.diff(framed, axis=1)).sum(), np.abs(np.diff(framed, axis=0)).sum()
    diagonal = np.abs(framed[1:, 1:] - framed[:-1, :-1]).sum(), np.abs(framed[1:, :-1] - framed[:-1, 1:]).sum()
    return float(math.pi / 2 * (sum(across) + sum(diagonal) / math.sqrt(2)) / 4)


def eccentricity(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> float:
    """From the coordinates of a region's pixels, each a square of its own (hence the 1 / 12)."""
    moments = np.cov(np.stack([rows, columns]), bias=True) + np.eye(2) / 12
    small, large = np.linalg.eigvalsh(moments)
    return math.sqrt(max(0.0, 1 - small / large))
