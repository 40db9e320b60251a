"""Images larger than the training images: tiles with overlap, whose objects are merged without duplicates or seams.

A cell that is smaller than the overlap lies whole in one tile at least; what a seam cuts off it in another one is
suppressed by the whole. The parts of a larger object, which no tile shows whole, are joined.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from maskrcnn.boxes import area, intersection_and_union, iou
from maskrcnn.images import Size, image_size
from maskrcnn.inference.objects import SAME_OBJECT, Objects, joined
from maskrcnn.regions import highest, intersection

COMPARABLE = 0.5  # of the score of a part: a whole object with a lower one does not replace it
SEAM = 2.0  # pixels: a box that ends so close to a seam is cut by it


class Tile(NamedTuple):
    """A part of an image: its rows top .. bottom - 1 and columns left .. right - 1."""

    top: int
    left: int
    bottom: int
    right: int


def tiles_of(size: Size, tile: Size, overlap: int) -> list[Tile]:
    """The fewest tiles of at most this size that cover an image of `size` and overlap by `overlap` pixels or more, evenly
    spread. Raises ValueError for tiles that are no larger than their overlap."""
    if min(tile) <= overlap:
        raise ValueError(f"tiles of {tile[1]} x {tile[0]} pixels cannot overlap by {overlap}")
    rows, columns = (_intervals(length, part, overlap) for length, part in zip(size, tile, strict=True))
    return [Tile(top, left, bottom, right) for top, bottom in rows for left, right in columns]


def _intervals(length: int, part: int, overlap: int) -> list[tuple[int, int]]:
    if length <= part:
        return [(0, length)]
    count = math.ceil((length - overlap) / (part - overlap))
    starts = np.linspace(0, length - part, count).round().astype(int).tolist()
    return [(start, start + part) for start in starts]


def detect_in_tiles(
    detect: Callable[[Tensor], Objects],
    image: Tensor,
    tile: Size,
    overlap: int,
    progress: Callable[[Sequence[Tile]], Iterable[Tile]] = iter,
    seam: float = SEAM,
) -> Objects:
    """The objects of an image [3, H, W] of any size, best first. Memory is bounded by the tile.

    detect: what finds those of a tile; it may turn 8-bit pixels into numbers. tile: largest (height, width) of a tile, in
    pixels of the image; overlap: of neighbouring tiles, at least as large as a cell. progress: wraps the tiles, for a
    progress bar. seam: a box that ends within so many pixels of a seam is cut by it.
    """
    size = image_size(image)
    found = list[tuple[Tile, Objects]]()
    for each in progress(tiles_of(size, tile, overlap)):
        objects = detect(image[:, each.top : each.bottom, each.left : each.right])
        found.append((each, objects.moved(each.top, each.left, size)))
    return found[0][1] if len(found) == 1 else merge_tiles(found, size, seam)


def merge_tiles(found: Sequence[tuple[Tile, Objects]], size: Size, seam: float = SEAM) -> Objects:
    """The objects of an image of this size from those of its tiles, in pixels of the image, best first. An object
    may be reported under several classes, as the model does."""
    pooled = joined([objects for _, objects in found], size)
    tiles = torch.tensor([tile for tile, objects in found for _ in range(len(objects))]).reshape(-1, 4)
    is_part = _cut_by_seams(pooled.boxes, tiles, size, seam)
    whole, parts = (pooled.select(which) for which in (~is_part, is_part))
    whole = whole.select(_without_duplicates(whole, tiles[~is_part]))
    left = [i for i in range(len(parts)) if not _is_inside(parts.select([i]), whole)]
    return joined([whole, _join_parts(parts.select(left), tiles[is_part][left])], size).by_score()


def _cut_by_seams(boxes: Tensor, tiles: Tensor, size: Size, seam: float) -> Tensor:
    """[D]: whether a box ends at an edge of its tile that is no edge of the image. boxes [D, 4], tiles int [D, 4]."""
    top, left, bottom, right = tiles.unbind(1)
    x1, y1, x2, y2 = boxes.unbind(1)
    at_left, at_top = (x1 < left + seam) & (left > 0), (y1 < top + seam) & (top > 0)
    at_right, at_bottom = (x2 > right - seam) & (right < size[1]), (y2 > bottom - seam) & (bottom < size[0])
    return at_left | at_top | at_right | at_bottom


def _without_duplicates(whole: Objects, tiles: Tensor) -> list[int]:
    """Indices of whole objects, each only from the tile where it has the highest score."""
    order = whole.scores.argsort(descending=True, stable=True).tolist()
    is_kept = np.zeros(len(whole), bool)
    for i in order:
        is_other = (whole.labels == whole.labels[i]) & (tiles != tiles[i]).any(dim=1) & torch.from_numpy(is_kept)
        is_kept[i] = not bool((iou(whole.boxes[[i]], whole.boxes[is_other]) > SAME_OBJECT).any())
    return np.flatnonzero(is_kept).tolist()


def _is_inside(part: Objects, whole: Objects) -> bool:
    """Whether most of one part lies in a whole object of any class with a comparable score: a seam often changes the class,
    and a poor detection is no reason to doubt a good one."""
    rivals = whole.boxes[whole.scores >= COMPARABLE * part.scores]
    shared, _ = intersection_and_union(part.boxes, rivals)
    return bool((shared[0] > SAME_OBJECT * area(part.boxes)).any())


def _join_parts(parts: Objects, tiles: Tensor) -> Objects:
    """Parts of objects that no tile shows whole, those of one object as one: where two tiles overlap, both show the same."""
    if not len(parts):
        return parts
    shared, _ = intersection_and_union(parts.boxes, parts.boxes)
    may_be_same = (shared > 0) & (parts.labels[:, None] == parts.labels) & (tiles[:, None] != tiles).any(dim=2)
    regions = parts.regions()
    same = np.zeros((len(parts), len(parts)), bool)
    for i, k in torch.nonzero(torch.triu(may_be_same)).tolist():
        window = (*torch.maximum(tiles[i], tiles[k])[:2].tolist(), *torch.minimum(tiles[i], tiles[k])[2:].tolist())
        a, b = (region.within(*window) if (region := regions[j]) else None for j in (i, k))
        if a and b:
            both = intersection(a, b)
            same[i, k] = both > SAME_OBJECT * (a.mask.sum() + b.mask.sum() - both)
    count, group = connected_components(same, directed=False)
    members = [parts.select(group == number) for number in range(count)]
    boxes = [torch.cat([each.boxes[:, :2].amin(dim=0), each.boxes[:, 2:].amax(dim=0)]) for each in members]
    return Objects(
        parts.size,
        torch.stack(boxes),
        torch.stack([each.labels[0] for each in members]),
        torch.stack([each.scores.amax() for each in members]),
        [highest(each.patches) for each in members],
        parts.limited,
    )
