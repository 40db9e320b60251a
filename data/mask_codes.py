"""The classes that LISC's grey codes tell."""

import numpy as np
from scipy import ndimage

from data.formats.lisc import GREY_CODES
from data.mask_levels import grey_levels, present_values, without_edges
from data.mask_mending import CODE_TOLERANCE, EIGHT_CONNECTED, NOISY_TOLERANCE, MaskError, Values
from data.mask_values import COLOUR_LEVELS

WHITE = 255
MAX_FOREIGN = 0.1  # fraction of the covered pixels of a mask of codes that may be far from all codes
MIN_CLASS = 0.1  # fraction of the covered pixels, for a second class to be more than a slip
SLIP = 0.05  # of the largest part of a clump of cells: a smaller one is no cell


def groups_of_codes(values: Values, has_class: bool, noisy: bool) -> Values:
    """[H, W]: 1, 2, ... for the class whose codes are nearest to each grey, 0 for background. Where the class is known, a
    second one counts only if much of the mask has it. Raises MaskError if the greys are not LISC's codes."""
    codes = np.array(list(GREY_CODES.values()))  # [K, 2]
    distance = np.abs(np.arange(COLOUR_LEVELS)[:, None, None] - codes).min(axis=2)  # [256, K]
    nearest = np.where(np.arange(COLOUR_LEVELS) > 0, distance.argmin(axis=1) + 1, 0)
    if values.max(initial=0) > WHITE:
        raise _not_codes(values)
    tolerance = NOISY_TOLERANCE if noisy else CODE_TOLERANCE
    groups = nearest[values]
    covered = values[values != 0]
    if has_class:
        sizes = np.bincount(groups[groups > 0], minlength=1)
        if (sizes > MIN_CLASS * covered.size).sum() < 2:
            return (values != 0).astype(np.int64)
    elif _is_white(values, noisy):
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
        f"has the values {listed(values)}, and the class of a cell here is told by its grey: " + _codes_or_indices()
    )


def _codes_or_indices() -> str:
    listed = ", ".join(f"{'/'.join(map(str, dict.fromkeys(pair)))} {name}" for name, pair in GREY_CODES.items())
    return f"use LISC's grey codes ({listed}); if the values number the classes, say so with --mask-kind class-indices"


def _is_white(values: Values, noisy: bool) -> bool:
    """Whether a mask marks everything alike, in white, which is also the code of a neutrophil's nucleus."""
    levels = grey_levels(values[(values != 0) & without_edges(values, noisy)])
    return len(levels) == 1 and abs(levels[0] - WHITE) <= NOISY_TOLERANCE


def listed(values: Values) -> str:
    """The first of the values that occur."""
    present = present_values(values).tolist()
    return ", ".join(map(str, present[:6])) + (", ..." if len(present) > 6 else "")
