"""From the shapes of annotation files to masks: polygons, circles, ellipses, rectangles, run lengths."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.records import Ring, RunLengths, Shape
from maskrcnn.regions import BoolMask, Region, region_of

CORNERS = 180  # of the polygon that stands for an ellipse; its area is 0.02 % too small
VISIBLE = 0.25  # fraction of a shape's bounding box; a circle around a corner of the image has as much
FARTHEST = 1e7  # pixels: no coordinate of an image is so large


def polygon(points: Any) -> Ring:
    """[n, 2], from the points of an annotation file: pairs of x and y, or x and y in turn. Raises ValueError for fewer than
    three points, the last one not counted if it repeats the first, and for what is no number."""
    try:
        ring = np.asarray(points, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("the coordinates of a polygon are not numbers") from error
    if ring.ndim == 1:
        if len(ring) % 2:
            raise ValueError(f"a polygon of {len(ring)} coordinates; each point needs an x and a y")
        ring = ring.reshape(-1, 2)
    if ring.ndim != 2 or ring.shape[1] < 2:
        raise ValueError("the coordinates of a polygon are not pairs of x and y")
    if not (np.abs(ring) < FARTHEST).all():  # which NaN is not, either
        raise ValueError("a coordinate of a polygon is not a number, or far outside any image")
    corners = len(ring) - int(len(ring) > 1 and (ring[0] == ring[-1]).all())
    if corners < 3:
        raise ValueError(f"a polygon of {corners} points; three are needed")
    return ring[:, :2]


def rectangle(x: Any, y: Any, width: Any, height: Any) -> Ring:
    """[4, 2]. Raises ValueError for what is no number."""
    x1, y1, w, h = map(_number, (x, y, width, height))
    return polygon([[x1, y1], [x1 + w, y1], [x1 + w, y1 + h], [x1, y1 + h]])


def ellipse(x: Any, y: Any, radius_x: Any, radius_y: Any, theta: Any = 0.0) -> Ring:
    """[CORNERS, 2], around (x, y). theta: radians by which it is turned from the x towards the y axis. Raises ValueError for
    what is no number."""
    centre_x, centre_y, along_x, along_y, turn = map(_number, (x, y, radius_x, radius_y, theta))
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    along, across = along_x * np.cos(angles), along_y * np.sin(angles)
    cos, sin = np.cos(turn), np.sin(turn)
    return polygon(np.stack([centre_x + along * cos - across * sin, centre_y + along * sin + across * cos], axis=1))


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{value!r} is not a number") from error
    if not np.isfinite(number):
        raise ValueError(f"{value!r} is not a number")
    return number


def rasterize(shape: Shape, size: tuple[int, int]) -> Region | None:
    """The pixels of an image of size (height, width) whose centres a shape contains; None if there are none. Raises
    ValueError for run lengths of another size, and for a shape outside the image."""
    if shape.runs is not None:
        if (shape.runs.height, shape.runs.width) != size:
            raise ValueError(f"its mask is {shape.runs.width} x {shape.runs.height}, the image {size[1]} x {size[0]}")
        return region_of(decode_runs(shape.runs))
    corners = np.concatenate([ring for rings in shape.polygons for ring in rings])
    _check_place(corners, size)
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, size[::-1]).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)), 0, size[::-1]).astype(int)
    mask = np.zeros((max(bottom - top, 0), max(right - left, 0)), bool)
    for rings in shape.polygons:
        mask |= fill([ring - (left, top) for ring in rings], mask.shape)
    return region_of(mask, int(top), int(left))


def _check_place(corners: Ring, size: tuple[int, int]) -> None:
    """Raises ValueError if less than VISIBLE of the bounding box of a shape is in the image. It may reach over an edge,
    as a circle does around a cell that the edge cuts."""
    low, high, edge = corners.min(axis=0), corners.max(axis=0), np.array(size[::-1])
    inside = np.minimum(high, edge) - np.maximum(low, 0)
    extent = high - low
    visible = np.divide(inside, extent, out=np.ones(2), where=extent > 0)
    if inside.min() < 0 or visible.prod() < VISIBLE:
        raise ValueError(
            f"lies between ({low[0]:.0f}, {low[1]:.0f}) and ({high[0]:.0f}, {high[1]:.0f}), mostly outside the image of "
            f"{size[1]} x {size[0]} pixels; it was perhaps drawn on a copy of another size"
        )


def fill(rings: list[Ring], size: tuple[int, int]) -> BoolMask:
    """[H, W]: the pixels whose centres are inside an odd number of the rings, so an inner ring is a hole."""
    height, width = size
    starts = np.concatenate(rings)
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    (x1, y1), (x2, y2) = starts.T, ends.T
    # Edge e crosses the centres of rows first[e] up to, not including, last[e]; a horizontal one crosses none.
    first, last = (np.clip(np.ceil(y - 0.5), 0, height).astype(int) for y in (np.minimum(y1, y2), np.maximum(y1, y2)))
    rows_of = last - first
    edge = np.repeat(np.arange(len(starts)), rows_of)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(rows_of) - rows_of, rows_of) + first[edge]
    slope = (x2 - x1)[edge] / (y2 - y1)[edge]
    x = x1[edge] + (row + 0.5 - y1[edge]) * slope
    # Every pixel to the right of a crossing changes sides.
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(int)
    crossings = np.zeros((height, width + 1), np.int64)
    np.add.at(crossings, (row, column), 1)
    inside: BoolMask = np.cumsum(crossings, axis=1)[:, :width] % 2 == 1
    return inside


def decode_runs(runs: RunLengths) -> BoolMask:
    """[H, W]. Raises ValueError if the runs do not fill the mask."""
    size = runs.height * runs.width
    if runs.counts.sum() != size or ((runs.counts < 0) | (runs.counts > size)).any():
        raise ValueError(f"its run lengths add up to {runs.counts.sum()}, not {runs.width} x {runs.height} pixels")
    values = np.arange(len(runs.counts)) % 2 == 1
    mask: BoolMask = np.repeat(values, runs.counts).reshape(runs.width, runs.height).T
    return mask


def encode_runs(mask: BoolMask) -> RunLengths:
    """The run lengths of a mask [H, W]."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges, [mask.size]]))
    return RunLengths(mask.shape[0], mask.shape[1], counts.astype(np.int64))


def parse_counts(text: str) -> NDArray[np.int64]:
    """The run lengths of COCO's compressed string; the inverse of `rle_encode` in maskrcnn/inference/export/coco.py. Raises
    ValueError for a string that is cut short, or no such string."""
    runs: list[int] = []
    value = shift = 0
    for letter in text.encode("ascii"):
        group = letter - 48
        if not 0 <= group < 64 or shift > 60:  # 64 bits are more than any image needs
            raise ValueError("its run lengths are not those of COCO's compressed string")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:  # the highest bit of the last group is the sign
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its run lengths are cut short")
    return np.array(runs, np.int64)
