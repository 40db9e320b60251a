"""From the numbers of a mask to its cells: their regions, nuclei and classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data.formats.lisc import GREY_CODES
from data.mask_codes import WHITE, groups_of_codes, listed
from data.mask_kinds import BINARY, CLASSES, CODES, COLOURS, INSTANCES, is_enclosed, nucleus_value, without_void
from data.mask_levels import MIN_CONTRAST, grey_levels, is_noisy, present_values, without_edges
from data.mask_mending import (
    EIGHT_CONNECTED,
    MaskError,
    Values,
    check_has_no_boundaries,
    check_is_no_photograph,
    fill_outlines,
    without_frame,
    without_noise,
    without_thin_lines,
)
from data.mask_values import COLOUR_LEVELS, MaskValues
from maskrcnn.regions import BoolMask, Region, region_of, regions_of_label_map

LARGE_PART = 0.5  # of the largest part of a number, for another one to be a cell of its own
# Of cells that touch: half of the thickness of the thicker one, in pixels; at which fractions of it they are cut apart; how
# thick the other one is beside it, and how much thicker than the neck.
MIN_DEPTH, CUTS, SECOND, NECK = 5, (0.3, 0.4, 0.5, 0.6, 0.7, 0.8), 0.6, 0.15
MAX_CLASSES = 50  # a higher value is a grey, or the number of a cell
# Nobody can see from a number or colour alone whether it is a class.
INDICES = (
    "write the number of the class in its place (1, 2, ..., grey or in a palette) and say --mask-kind class-indices"
)
SEVERAL_PARTS = {
    INSTANCES: "a number has several large parts, and they are one cell; if it is a class, say so with --mask-kind "
    "class-indices",
    COLOURS: f"a colour has several large parts, and they are one cell; if it is a class, {INDICES}",
}


class Cell(NamedTuple):
    """What a mask shows of one cell."""

    region: Region
    label: str | None = None  # what the mask says; None: nothing
    nucleus: Region | None = None  # None: it is not marked
    grey_label: str | None = None  # the class whose codes are exactly its greys

    def moved(self, down: int, right: int) -> "Cell":
        """The same cell elsewhere."""
        region, nucleus = self.region.moved(down, right), self.nucleus and self.nucleus.moved(down, right)
        return self._replace(region=region, nucleus=nucleus)


class MaskCells(NamedTuple):
    """What a mask shows."""

    cells: list[Cell]  # from top to bottom
    remarks: list[str]  # what was mended


def cells_of_mask(mask: MaskValues, kind: str, has_class: bool, class_names: Sequence[str]) -> MaskCells:
    """The cells of a mask. has_class: whether the class of its cells is known without it. class_names: what class indices
    refer to. Raises MaskError."""
    check_is_no_photograph(mask.values)
    mask = mask._replace(values=without_void(mask.values))
    if kind in (INSTANCES, COLOURS):
        return _numbered_cells(mask.values, kind)
    if kind == CLASSES:
        return MaskCells(_cells_of_indices(mask, class_names), [])
    if not has_class and kind == BINARY:
        raise MaskError(f"says nothing about classes; it has the values {listed(mask.values)}")
    values = mask.values if kind == CODES else _as_greys(mask)
    noisy, remarks = is_noisy(values), list[str]()
    values = without_frame(without_noise(values, kind) if noisy else values, remarks)
    values = fill_outlines(values, remarks)
    groups = groups_of_codes(values, has_class, noisy) if kind == CODES else (values != 0).astype(np.int64)
    return MaskCells(_cells_of_groups(values, groups, () if has_class else tuple(GREY_CODES), noisy), remarks)


def _as_greys(mask: MaskValues) -> Values:
    """Values of which that of a nucleus differs from that of its cytoplasm as greys do. Numbers beyond 8 bits, small ones
    and colours are no greys: their order says nothing about nuclei, but one that another one always surrounds does."""
    values = mask.values
    small = mask.source == "greys" and values.max(initial=0) < MIN_CONTRAST
    nuclei = nucleus_value(values) if small or mask.source != "greys" else None
    if nuclei is None and values.max(initial=0) < COLOUR_LEVELS:
        return values
    white = np.where(values != 0, WHITE, 0)
    return white if nuclei is None else np.where(values == nuclei, white, white // 2)


def _numbered_cells(values: Values, kind: str) -> MaskCells:
    check_has_no_boundaries(values, ordered=kind == INSTANCES)
    values = without_thin_lines(values)
    regions = regions_of_label_map(_numbers(values))
    several = any(map(_has_large_parts, regions))
    return MaskCells([Cell(region) for region in regions], [SEVERAL_PARTS[kind]] if several else [])


def _cells_of_indices(mask: MaskValues, class_names: Sequence[str]) -> list[Cell]:
    if mask.source == "colours" and mask.values.any():
        raise MaskError(f"has colours, and no numbers that a class could be told by; {INDICES}")
    values = mask.values if mask.indices is None else without_void(mask.indices)
    check_has_no_boundaries(values)
    values = without_thin_lines(values)
    if values.max(initial=0) > max(MAX_CLASSES, len(class_names)):
        raise MaskError(
            f"has the values {listed(values)}, and these are not the numbers of classes; write 1 for the first, 2 for the "
            "second, ..., and save the mask as PNG"
        )
    if values.max(initial=0) > len(class_names):
        raise MaskError(
            f"has the value {values.max()}, but there are {len(class_names)} classes ({', '.join(class_names)}); name all "
            "of them, in the order of the values, with --classes"
        )
    return _cells_of_groups(values, values, tuple(class_names), noisy=False)


def _cells_of_groups(values: Values, groups: Values, names: tuple[str, ...], noisy: bool) -> list[Cell]:
    """A cell for each connected component of equal groups 1, 2, ...; names: their classes, () if they say nothing."""
    cells = []
    plain = without_edges(values, noisy)
    for group in present_values(groups).tolist():
        components, _ = ndimage.label(groups == group, EIGHT_CONNECTED)
        label = names[group - 1] if names else None
        for region in regions_of_label_map(components):
            greys = values[region.slices][region.mask]
            component = region._replace(is_component=True)
            cells.append(Cell(component, label, nucleus(values, region, plain), class_by_exact_code(greys)))
    return sorted(cells, key=lambda cell: (cell.region.top, cell.region.left))


def class_by_exact_code(greys: Values) -> str | None:
    """The class whose codes, cytoplasm and nucleus, are exactly the greys of a cell; else None. One grey of the two is not
    enough: binary masks are 255 everywhere."""
    present = set(np.unique(greys).tolist())
    return next((name for name, codes in GREY_CODES.items() if present == set(codes)), None)


def nucleus(values: Values, region: Region, plain: BoolMask) -> Region | None:
    """The pixels of a cell above the middle of its lowest and its highest grey level: in a mask the cytoplasm is darker than
    the nucleus (LISC: 75 and 100, ..., 225 and 255), unless the darker part is enclosed. A cell of one level, such as LISC's
    basophils, shows none.

    plain [H, W]: where greys tell levels.
    """
    greys = np.where(region.mask, values[region.slices], 0)
    levels = grey_levels(greys[region.mask & plain[region.slices]])
    if len(levels) < 2:
        return None
    bright = greys > (levels[0] + levels[-1]) / 2
    dark = region.mask & ~bright
    if not plain.all():  # soft edges of the cell are dark, too
        dark = ndimage.binary_opening(dark, EIGHT_CONNECTED)
    return region_of(dark if is_enclosed(dark, region.mask) else bright, region.top, region.left)


def _has_large_parts(region: Region) -> bool:
    """Whether a second connected component is nearly as large as the largest."""
    components, _ = ndimage.label(region.mask, EIGHT_CONNECTED)
    sizes = np.sort(np.bincount(components.ravel())[1:])
    return len(sizes) > 1 and bool(sizes[-2] > LARGE_PART * sizes[-1])


def looks_merged(region: Region) -> bool:
    """Whether a connected component looks like cells that touch: if pixels are taken away from its edge inwards, it falls
    apart at a neck into two parts that are nearly as thick as the whole. So does the nucleus of a neutrophil."""
    depth = ndimage.distance_transform_edt(ndimage.binary_fill_holes(np.pad(region.mask, 1)))
    for cut in CUTS if depth.max() >= MIN_DEPTH else ():
        parts, count = ndimage.label(depth > cut * depth.max())
        if count > 1:
            thickness = np.sort(ndimage.maximum(depth, parts, np.arange(1, count + 1))) / depth.max()
            if thickness[-2] > max(SECOND, cut + NECK):
                return True
    return False


def _numbers(values: Values) -> NDArray[np.int32]:
    """Small numbers in place of the values, in their order."""
    if values.max(initial=0) < COLOUR_LEVELS**2:
        return values.astype(np.int32)
    present = present_values(values)
    return np.where(values == 0, 0, np.searchsorted(present, values) + 1).astype(np.int32)
