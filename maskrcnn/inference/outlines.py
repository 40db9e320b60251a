"""Masks as polygons along the edges of their pixels: filled, they are the very mask again."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskrcnn.regions import BoolMask, Region

Ring = NDArray[np.int64]  # [n, 2]: x and y of the corners, in pixels of the image; the first one is not repeated


class Polygon(NamedTuple):
    """A part of a mask: its outer edge and those of its holes."""

    outer: Ring  # clockwise on the screen
    holes: list[Ring]  # counter-clockwise

    @property
    def rings(self) -> list[Ring]:
        """The outer edge first."""
        return [self.outer, *self.holes]


def polygons(region: Region) -> list[Polygon]:
    """The parts of a mask, from top to bottom. Pixels that touch at a corner only are of two parts, so that no ring passes
    a point twice, as the standards of vector data demand."""
    parts, count = ndimage.label(region.mask)  # of pixels that share an edge
    outer: list[Ring] = [np.zeros((0, 2), np.int64)] * count
    holes: list[list[Ring]] = [[] for _ in range(count)]
    for path in _paths(region.mask):
        for loop in _simple_loops(path):
            ring = np.array(loop, np.int64)
            part = _part(parts, ring)
            if _area(ring) > 0:
                outer[part] = ring
            else:
                holes[part].append(ring)
    corner = (region.left, region.top)
    return [Polygon(edge + corner, [hole + corner for hole in inner]) for edge, inner in zip(outer, holes, strict=True)]


def _paths(mask: BoolMask) -> list[list[tuple[int, int]]]:
    """The closed lines between mask and background, as their corners (x, y), with the mask on the right of each edge."""
    framed = np.pad(mask, 1).astype(np.int8)
    # A point is a corner if an edge ends there from the left or from the right, but not from both; or if all four edges meet
    # there, between pixels that lie opposite each other: then it is two corners.
    down, across = np.diff(framed, axis=0) != 0, np.diff(framed, axis=1) != 0
    turns = down[:, :-1] != down[:, 1:]
    crossed = down[:, :-1] & down[:, 1:] & across[:-1] & across[1:]
    points = np.argwhere(turns | crossed)
    points = np.repeat(points, 1 + crossed[tuple(points.T)], axis=0)  # sorted by y, then by x
    rows, columns = points.T
    along = _pairs(np.arange(len(points)))  # neighbours in a row are the ends of an edge, those in a column as well
    # Of two corners at one point the first ends the edge from the left. It also ends the one from above if the pixel between
    # them is of the mask, else the one from below: so an outline turns around each pixel, and does not pass to the next.
    is_second = np.append(False, (np.diff(points, axis=0) == 0).all(axis=1))
    is_above = is_second == (framed[rows, columns] == 0)
    beside = _pairs(np.lexsort((~is_above, rows, columns)))
    is_below = framed[rows + 1, columns + 1] != 0  # the pixel right of and below a point
    unseen = np.ones(len(points), bool)
    paths = []
    for start in np.arange(0, len(points), 2):  # the left ends of horizontal edges
        if not unseen[start]:
            continue
        here, path = int(start if is_below[start] else along[start]), []
        while unseen[here]:
            there = int(along[here])
            unseen[[here, there]] = False
            path += [(int(columns[k]), int(rows[k])) for k in (here, there)]
            here = int(beside[there])
        paths.append(path)
    return paths


def _pairs(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each point the other one of its pair, where the first two of the order are a pair, and so on."""
    other = np.empty_like(order)
    other[order[::2]], other[order[1::2]] = order[1::2], order[::2]
    return other


def _simple_loops(path: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """A closed line, cut where it passes a point a second time."""
    loops, open_line = [], list[tuple[int, int]]()
    place: dict[tuple[int, int], int] = {}
    for point in path:
        if point in place:
            first = place[point]
            loop = open_line[first:]
            loops.append(loop)
            for passed in loop:
                del place[passed]
            del open_line[first:]
        place[point] = len(open_line)
        open_line.append(point)
    return [*loops, open_line]


def _area(ring: Ring) -> float:
    """Positive if the ring runs clockwise on the screen, where y points down."""
    (x, y), (next_x, next_y) = ring.T, np.roll(ring, -1, axis=0).T
    return float((x * next_y - next_x * y).sum()) / 2


def _part(parts: NDArray[np.int32], ring: Ring) -> int:
    """The index of the part whose edge a ring is: that of the pixel on the right of its first horizontal edge."""
    i = 0 if ring[0, 1] == ring[1, 1] else 1
    (x, y), (next_x, _) = ring[i].tolist(), ring[(i + 1) % len(ring)].tolist()
    return int(parts[y, x] if next_x > x else parts[y - 1, x - 1]) - 1
