"""Size and shape of a mask, as cell biology measures them. Lengths are in pixels, areas in square pixels."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class RegionProps(NamedTuple):
    """The measures of one region, named as in scikit-image."""

    area: int
    equivalent_diameter: float  # of the disc with the same area
    perimeter: float
    eccentricity: float  # of the ellipse with the same second moments: 0 for a circle, near 1 for a line
    centroid_x: float  # pixel i covers i to i + 1
    centroid_y: float


def regionprops(mask: NDArray[np.bool_]) -> RegionProps:
    """The measures of a mask [H, W]; all 0 for an empty mask."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return RegionProps(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    area = len(rows)
    centroid = float(columns.mean()) + 0.5, float(rows.mean()) + 0.5
    crop = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return RegionProps(area, math.sqrt(4 * area / math.pi), perimeter(crop), eccentricity(rows, columns), *centroid)


def perimeter(mask: NDArray[np.bool_]) -> float:
    """The length of the outline of a mask [H, W], by Crofton's formula in four directions.

    Counting pixel edges would give every disc the perimeter of its bounding square. Instead count how often parallel lines
    cross the outline: for one direction, the number of crossings times the distance between the lines times pi / 2
    estimates the length. The result is the mean over rows, columns and both diagonals.
    """
    framed = np.pad(mask, 1).astype(np.int8)
    straight = np.abs(np.diff(framed, axis=1)).sum(), np.abs(np.diff(framed, axis=0)).sum()
    diagonal = np.abs(framed[1:, 1:] - framed[:-1, :-1]).sum(), np.abs(framed[1:, :-1] - framed[:-1, 1:]).sum()
    return float(math.pi / 2 * (sum(straight) + sum(diagonal) / math.sqrt(2)) / 4)


def eccentricity(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> float:
    """From the coordinates of a region's pixels. Each pixel is a square, whose own variance is 1 / 12."""
    moments = np.cov(np.stack([rows, columns]), bias=True) + np.eye(2) / 12
    small, large = np.linalg.eigvalsh(moments)
    return math.sqrt(max(0.0, 1 - small / large))
