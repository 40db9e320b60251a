"""The masks of an image's objects, stored compactly: each cut to its bounding box. They may overlap."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BoolMask = NDArray[np.bool_]


class Region(NamedTuple):
    """One object: its mask within its bounding box, which has the corner (top, left) in the image."""

    top: int
    left: int
    mask: BoolMask  # [h, w], with a pixel in each outermost row and column
    is_component: bool = (
        False  # of a mask, and so perhaps a stray fragment; what is drawn or numbered one by one is none
    )

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 in pixels; x2 is the last column + 1."""
        return self.left, self.top, self.left + self.mask.shape[1], self.top + self.mask.shape[0]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns in the image."""
        return slice(self.top, self.top + self.mask.shape[0]), slice(self.left, self.left + self.mask.shape[1])

    def moved(self, down: int, right: int) -> "Region":
        """The same mask elsewhere."""
        return self._replace(top=self.top + down, left=self.left + right)

    def within(self, top: int, left: int, bottom: int, right: int) -> "Region | None":
        """What of it lies in these rows and columns of the image; None if nothing does."""
        top, left = max(top, self.top), max(left, self.left)
        if top >= bottom or left >= right:
            return None
        rows, columns = slice(top - self.top, bottom - self.top), slice(left - self.left, right - self.left)
        return region_of(self.mask[rows, columns], top, left)


class Patch(NamedTuple):
    """One predicted mask: probabilities within a window, which has the corner (top, left) in the image; 0 elsewhere."""

    top: int
    left: int
    values: NDArray[np.float32]  # [h, w]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns in the image."""
        return slice(self.top, self.top + self.values.shape[0]), slice(self.left, self.left + self.values.shape[1])

    def moved(self, down: int, right: int) -> "Patch":
        """The same probabilities elsewhere."""
        return self._replace(top=self.top + down, left=self.left + right)

    def region(self, threshold: float = 0.5) -> Region | None:
        """The pixels that are more probable than the threshold; None if there is none."""
        return region_of(self.values > threshold, self.top, self.left)


def mean(patches: Sequence[Patch]) -> Patch:
    """Of several masks, in a window around them all."""
    total = _window(patches)
    for patch in patches:
        total.values[patch.moved(-total.top, -total.left).slices] += patch.values
    return total._replace(values=total.values / np.float32(len(patches)))


def highest(patches: Sequence[Patch]) -> Patch:
    """The highest of several probabilities at each pixel, in a window around them all."""
    result = _window(patches)
    for patch in patches:
        part = result.values[patch.moved(-result.top, -result.left).slices]
        np.maximum(part, patch.values, out=part)
    return result


def _window(patches: Sequence[Patch]) -> Patch:
    """Zeros around all patches that have a pixel."""
    rows, columns = ([p.slices[axis] for p in patches if p.values.size] or [slice(0, 0)] for axis in (0, 1))
    top, left = min(part.start for part in rows), min(part.start for part in columns)
    height, width = max(part.stop for part in rows) - top, max(part.stop for part in columns) - left
    return Patch(top, left, np.zeros((height, width), np.float32))


def region_of(mask: BoolMask, top: int = 0, left: int = 0) -> Region | None:
    """The region of a mask [H, W] whose first pixel is (top, left) of the image; None for a mask without a pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Region(top + int(rows[0]), left + int(columns[0]), inner.copy())


def regions_of_label_map(label_map: NDArray[np.integer]) -> list[Region]:
    """The regions of the numbers 1, 2, ... of a label map [H, W], without those that do not occur."""
    found = enumerate(ndimage.find_objects(label_map), start=1)
    return [
        Region(slices[0].start, slices[1].start, label_map[slices] == number)
        for number, slices in found
        if slices is not None
    ]


def union(regions: Sequence[Region], size: tuple[int, int]) -> BoolMask:
    """[H, W]: where there is any of them."""
    covered = np.zeros(size, bool)
    for region in regions:
        covered[region.slices] |= region.mask
    return covered


def intersection(a: Region, b: Region) -> int:
    """The number of pixels that two regions share."""
    left, top = max(a.left, b.left), max(a.top, b.top)
    right, bottom = min(a.box[2], b.box[2]), min(a.box[3], b.box[3])
    if left >= right or top >= bottom:
        return 0
    parts = (each.mask[top - each.top : bottom - each.top, left - each.left : right - each.left] for each in (a, b))
    return int(np.logical_and(*parts).sum())


def paste_regions(regions: Sequence[Region], size: tuple[int, int]) -> NDArray[np.uint8]:
    """[N, H, W]: the whole mask of each."""
    masks = np.zeros((len(regions), *size), np.uint8)
    for mask, region in zip(masks, regions, strict=True):
        mask[region.slices] = region.mask
    return masks


def run_lengths(region: Region, size: tuple[int, int]) -> NDArray[np.int64]:
    """Of the whole mask [H, W] of an image of this size, without making it: runs of 0 and of 1 in turn, 0 first, column by
    column."""
    height, width = size
    columns, rows = np.nonzero(np.diff(np.pad(region.mask, ((1, 1), (0, 0))), axis=0).T)
    begins_and_ends = (region.left + columns) * height + region.top + rows
    # A run that goes from the last row of the image on to the first of the next column ends and begins at the same place.
    edges, counts = np.unique(np.append(begins_and_ends, height * width), return_counts=True)
    edges = edges[(counts == 1) | (edges == height * width)]
    return np.diff(edges, prepend=0).astype(np.int64)


def downscale_region(region: Region, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Region | None:
    """The region in an image that keeps only these rows and columns, in rising order; None if nothing of it is left."""
    (x1, y1, x2, y2) = region.box
    top, bottom = np.searchsorted(rows, (y1, y2))
    left, right = np.searchsorted(columns, (x1, x2))
    kept = region.mask[(rows[top:bottom] - y1)[:, None], columns[left:right] - x1]
    reduced = region_of(kept, int(top), int(left))
    return reduced and reduced._replace(is_component=region.is_component)
