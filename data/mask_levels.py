"""Which values occur in a mask, which of them are noise, and which are grey levels.

Glossary: a value is a number of `read_mask_values`; a value is solid if most of its pixels lie in squares of 3 x 3 of it,
which those of the greys of soft edges and of JPEG noise do not; a level is a grey that many pixels of a mask have.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.formats.lisc import GREY_CODES
from data.mask_values import COLOUR_LEVELS, SMALL

LISC_GREYS = frozenset(code for codes in GREY_CODES.values() for code in codes)
MAX_NOISE = 0.001  # fraction of the covered pixels whose values are not solid, in a mask without noise
SOLID = 0.5  # fraction of the pixels of a value that lie in squares of it, for the value to be no noise
FLAT = 12  # greys by which neighbours differ at most where there is no edge, in a mask with noise
MIN_CONTRAST = 15  # greys between cytoplasm and nucleus; LISC's codes are 25 or more apart
LEVEL_WIDTH, LEVEL_FRACTION = 4, 0.04  # a level: at least this fraction of the pixels, so many greys around it


def present_values(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The values that occur, without 0, in rising order."""
    if values.max(initial=0) < max(values.size, COLOUR_LEVELS):  # counted, as that is faster than sorting
        return np.flatnonzero(np.bincount(values.ravel())[1:]) + 1
    present = np.unique(values)
    return present[present != 0]


def in_squares(values: NDArray[np.int64], side: int = 3) -> NDArray[np.bool_]:
    """[H, W]: the pixels that lie in a square of side x side pixels of one value; the border goes on outside."""
    if min(values.shape) < side:
        return np.ones(values.shape, bool)
    padded = np.pad(values, side // 2, mode="edge")
    rows = _sliding(np.logical_and, padded[:, 1:] == padded[:, :-1], side - 1, axis=1)
    columns = _sliding(np.logical_and, padded[1:] == padded[:-1], side - 1, axis=0)
    flat = _sliding(np.logical_and, rows, side, axis=0) & columns[:, : values.shape[1]]
    return _sliding(np.logical_or, _sliding(np.logical_or, np.pad(flat, side // 2), side, axis=0), side, axis=1)


def _sliding(combine: np.ufunc, values: NDArray[Any], length: int, axis: int) -> NDArray[Any]:
    """combine of each `length` neighbours along an axis."""
    turned = np.moveaxis(values, axis, 0)
    count = len(turned) - length + 1
    found = functools.reduce(combine, (turned[i : i + count] for i in range(length)))
    return np.moveaxis(found, 0, axis)


def is_noisy(values: NDArray[np.int64]) -> bool:
    """Whether a mask of greys has soft edges or went through JPEG: many of its pixels have a value that is rarely solid,
    and there are more such values than others. Small numbers are never noise (who paints cells nearly black?), nor are
    LISC's codes: a rim of cytoplasm may be thin. Nor are two values alone, or numbers of more than 8 bits."""
    present = present_values(values)
    if len(present) <= 2 or not SMALL <= present[-1] < COLOUR_LEVELS:
        return False
    counts = np.bincount(values.ravel())[present]
    solid = np.bincount(values[in_squares(values)], minlength=COLOUR_LEVELS)[present]
    noise = (solid < SOLID * counts) & ~np.isin(present, sorted(LISC_GREYS))
    return bool(counts[noise].sum() > MAX_NOISE * counts.sum() and 2 * noise.sum() >= len(present))


def without_edges(values: NDArray[np.int64], noisy: bool) -> NDArray[np.bool_]:
    """[H, W]: the pixels whose greys tell levels. In a mask with noise (see `is_noisy`) those of edges do not."""
    if not noisy:
        return np.ones(values.shape, bool)
    padded = np.pad(values.astype(np.int16), 1, mode="edge")  # greys: in small numbers this is four times as fast
    lowest, highest = (
        _sliding(combine, _sliding(combine, padded, 3, axis=0), 3, axis=1) for combine in (np.minimum, np.maximum)
    )
    return np.asarray(highest - lowest <= FLAT)


def grey_levels(greys: NDArray[np.int64]) -> list[int]:
    """The greys that many of the pixels [P] have, in rising order, MIN_CONTRAST or more apart."""
    if not greys.size:
        return []
    histogram = np.bincount(greys)
    near = np.convolve(histogram, np.ones(2 * LEVEL_WIDTH + 1), mode="same")[: len(histogram)]
    levels: list[int] = []
    for grey in np.argsort(-(near + histogram / greys.size), kind="stable").tolist():
        if near[grey] < LEVEL_FRACTION * greys.size:
            break
        if all(abs(grey - other) >= MIN_CONTRAST for other in levels):
            levels.append(grey)
    return sorted(levels)
