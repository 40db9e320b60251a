"""From the numbers of a mask to its cells: their regions, nuclei and classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data.formats.lisc import GREY_CODES
from data.mask_kinds import (
    BINARY,
    CLASSES,
    CODES,
    COLOURS,
    INSTANCES,
    grey_levels,
    is_noisy,
    present_values,
    without_edges,
)
from data.mask_mending import (
    CODE_TOLERANCE,
    EIGHT_CONNECTED,
    NOISY_TOLERANCE,
    MaskError,
    Values,
    fill_outlines,
    without_frame,
    without_noise,
    without_thin_lines,
    without_void,
)
from data.mask_values import COLOUR_LEVELS, MaskValues
from data.regions import BoolMask, Region, region_of, regions_of_label_map

WHITE = 255
MAX_FOREIGN = 0.1  # fraction of the covered pixels of a mask of codes that may be far from all codes
MIN_CLASS = 0.1  # fraction of the covered pixels, for a second class to be more than a slip
SLIP = 0.05  # of the largest part of a clump of cells: a smaller one is no cell
LARGE_PART = 0.5  # of the largest part of a number, for another one to be a cell of its own


class Cell(NamedTuple):
    """What a mask shows of one cell."""

    region: Region
    label: str | None = None  # what the mask says; None: nothing
    nucleus: Region | None = None  # None: it is not marked
    grey_label: str | None = None  # the class whose codes are exactly its greys


class MaskCells(NamedTuple):
    """What a mask shows."""

    cells: list[Cell]  # from top to bottom
    remarks: list[str]  # what was mended


def cells_of_mask(mask: MaskValues, kind: str, has_class: bool, class_names: Sequence[str]) -> MaskCells:
    """The cells of a mask. has_class: whether the class of its cells is known without it. class_names: what class indices
    refer to. Raises MaskError."""
    if kind in (INSTANCES, COLOURS):
        return _numbered_cells(mask.values, kind)
    if kind == CLASSES:
        values = without_thin_lines(without_void(mask.values))
        _check_class_indices(values, class_names)
        return MaskCells(_cells_of_groups(values, values, tuple(class_names)), [])
    if not has_class and kind == BINARY:
        raise MaskError(f"says nothing about classes; it has the values {_listed(mask.values)}")
    # Numbers beyond 8 bits are no greys: their order says nothing about nuclei.
    values = mask.values if kind == CODES or mask.values.max(initial=0) < COLOUR_LEVELS else _white(mask.values)
    remarks: list[str] = []
    values = without_frame(without_noise(values, kind), remarks)
    values = fill_outlines(values, remarks)
    groups = _groups_of_codes(values, has_class) if kind == CODES else _white(values) // WHITE
    return MaskCells(_cells_of_groups(values, groups, () if has_class else tuple(GREY_CODES)), remarks)


def _numbered_cells(values: Values, kind: str) -> MaskCells:
    values = without_void(values) if kind == INSTANCES else values
    regions = regions_of_label_map(_numbers(without_thin_lines(values)))
    several = any(map(_has_large_parts, regions))
    remark = (
        "a number or colour has several large parts, and they are one cell; if it is a class, say so with --mask-kind "
        "class-indices"
    )
    return MaskCells([Cell(region) for region in regions], [remark] if several else [])


def _cells_of_groups(values: Values, groups: Values, names: tuple[str, ...]) -> list[Cell]:
    """A cell for each connected component of equal groups 1, 2, ...; names: their classes, () if they say nothing."""
    cells = []
    plain = without_edges(values)
    for group in present_values(groups).tolist():
        components, _ = ndimage.label(groups == group, EIGHT_CONNECTED)
        label = names[group - 1] if names else None
        for region in regions_of_label_map(components):
            greys = values[region.slices][region.mask]
            cells.append(Cell(region, label, nucleus(values, region, plain), class_by_exact_code(greys)))
    return sorted(cells, key=lambda cell: (cell.region.top, cell.region.left))


def class_by_exact_code(greys: Values) -> str | None:
    """The class whose codes, cytoplasm and nucleus, are exactly the greys of a cell; else None. One grey of the two is not
    enough: binary masks are 255 everywhere."""
    present = set(np.unique(greys).tolist())
    return next((name for name, codes in GREY_CODES.items() if present == set(codes)), None)


def nucleus(values: Values, region: Region, plain: BoolMask) -> Region | None:
    """The pixels of a cell above the middle of its lowest and its highest grey level: in a mask the cytoplasm is darker than
    the nucleus (LISC: 75 and 100, ..., 225 and 255). A cell of one level, such as LISC's basophils, shows none.

    plain [H, W]: where greys tell levels.
    """
    greys = np.where(region.mask, values[region.slices], 0)
    levels = grey_levels(greys[region.mask & plain[region.slices]])
    if len(levels) < 2:
        return None
    return region_of(greys > (levels[0] + levels[-1]) / 2, region.top, region.left)


def _groups_of_codes(values: Values, has_class: bool) -> Values:
    """[H, W]: 1, 2, ... for the class whose codes are nearest to each grey, 0 for background. Where the class is known, a
    second one counts only if much of the mask has it. Raises MaskError if the greys are not LISC's codes."""
    codes = np.array(list(GREY_CODES.values()))  # [K, 2]
    distance = np.abs(np.arange(COLOUR_LEVELS)[:, None, None] - codes).min(axis=2)  # [256, K]
    nearest = np.where(np.arange(COLOUR_LEVELS) > 0, distance.argmin(axis=1) + 1, 0)
    if values.max(initial=0) > WHITE:
        raise _not_codes(values)
    noisy = is_noisy(values)
    tolerance = NOISY_TOLERANCE if noisy else CODE_TOLERANCE
    groups = nearest[values]
    covered = values[values != 0]
    if has_class:
        sizes = np.bincount(groups[groups > 0], minlength=1)
        if (sizes > MIN_CLASS * covered.size).sum() < 2:
            return _white(values) // WHITE
    elif _is_white(values):
        raise MaskError(
            "marks all cells in white, and the class of a cell here is told by its grey; put images of one class into the "
            "folder of that class, or " + _codes_or_indices()
        )
    elif (distance.min(axis=1)[covered] > tolerance).sum() > MAX_FOREIGN * covered.size:
        raise _not_codes(values)
    return _without_slips(groups, noisy)


def _without_slips(groups: Values, noisy: bool) -> Values:
    """Small parts of clumps of cells whose greys are codes of another class get the class of the nearest part: slips of the
    pen and, in a mask with noise, the edges, where the greys pass through all codes in between."""
    parts, count = np.zeros(groups.shape, np.int64), 0
    for group in present_values(groups).tolist():
        inside = groups == group
        inside = ndimage.binary_opening(inside, EIGHT_CONNECTED) if noisy else inside
        labelled, found = ndimage.label(inside, EIGHT_CONNECTED)
        parts = np.where(inside, labelled + count, parts)
        count += found
    cleaned = groups.copy()
    clumps, _ = ndimage.label(groups, EIGHT_CONNECTED)
    for number, slices in enumerate(ndimage.find_objects(clumps), start=1):
        own = clumps[slices] == number
        own_parts = np.where(own, parts[slices], 0)
        sizes = np.bincount(own_parts.ravel())
        sizes[0] = 0
        large = np.isin(own_parts, np.flatnonzero(sizes > SLIP * sizes.max()))
        if large.any():  # else the clump is too thin to tell
            nearest = ndimage.distance_transform_edt(~large, return_distances=False, return_indices=True)
            cleaned[slices][own] = groups[slices][tuple(nearest)][own]
    return cleaned


def _not_codes(values: Values) -> MaskError:
    return MaskError(
        f"has the values {_listed(values)}, and the class of a cell here is told by its grey: " + _codes_or_indices()
    )


def _codes_or_indices() -> str:
    listed = ", ".join(f"{'/'.join(map(str, dict.fromkeys(pair)))} {name}" for name, pair in GREY_CODES.items())
    return f"use LISC's grey codes ({listed}); if the values number the classes, say so with --mask-kind class-indices"


def _is_white(values: Values) -> bool:
    """Whether a mask marks everything alike, in white, which is also the code of a neutrophil's nucleus."""
    levels = grey_levels(values[(values != 0) & without_edges(values)])
    return len(levels) == 1 and abs(levels[0] - WHITE) <= NOISY_TOLERANCE


def _white(values: Values) -> Values:
    return np.where(values != 0, WHITE, 0)


def _has_large_parts(region: Region) -> bool:
    """Whether a second connected component is nearly as large as the largest."""
    components, _ = ndimage.label(region.mask, EIGHT_CONNECTED)
    sizes = np.sort(np.bincount(components.ravel())[1:])
    return len(sizes) > 1 and bool(sizes[-2] > LARGE_PART * sizes[-1])


def _check_class_indices(values: Values, class_names: Sequence[str]) -> None:
    if values.max(initial=0) > len(class_names):
        raise MaskError(
            f"has the value {values.max()}, but there are {len(class_names)} classes ({', '.join(class_names)}); name all "
            "of them, in the order of the values, with --classes"
        )


def _numbers(values: Values) -> NDArray[np.int32]:
    """1, 2, ... in place of the values, in their order."""
    present = present_values(values)
    return np.where(values == 0, 0, np.searchsorted(present, values) + 1).astype(np.int32)


def _listed(values: Values) -> str:
    present = present_values(values).tolist()
    return ", ".join(map(str, present[:6])) + (", ..." if len(present) > 6 else "")
