"""What the numbers of a mask mean, decided for a data set as a whole and, where a mask cannot mean that, for the mask.

Whatever the kind, touching cells with different numbers, codes or colours stay apart.

Glossary: a value is a number of `read_mask_values`; a value is solid if most of its pixels lie in squares of 3 x 3 of it,
which those of the greys of soft edges and of JPEG noise do not; a level is a grey that many pixels of a mask have.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data.formats.lisc import GREY_CODES
from data.mask_values import COLOUR_LEVELS, MaskValues

BINARY, CODES, INSTANCES, CLASSES, COLOURS = KINDS = (
    "binary",
    "lisc-codes",
    "instance-labels",
    "class-indices",
    "object-colours",
)
KIND_HELP = {
    BINARY: "a pixel that is not 0 belongs to a cell; cells that do not touch are separate cells",
    CODES: "LISC's grey codes of cytoplasm and nucleus tell the class",
    INSTANCES: "every number is a cell",
    CLASSES: "number k is the k-th class; cells of one class that do not touch are separate cells",
    COLOURS: "every colour is a cell",
}
LISC_GREYS = frozenset(code for codes in GREY_CODES.values() for code in codes)
VOID = 255  # Pascal VOC's value of the pixels around an object that belong to nothing
MAX_NOISE = 0.001  # fraction of the covered pixels whose values are not solid, in a mask without noise
SOLID = 0.5  # fraction of the pixels of a value that lie in squares of it, for the value to be no noise
FLAT = 12  # greys by which neighbours differ at most where there is no edge, in a mask with noise
MIN_CONTRAST = 15  # greys between cytoplasm and nucleus; LISC's codes are 25 or more apart
LEVEL_WIDTH, LEVEL_FRACTION = 4, 0.04  # a level: at least this fraction of the pixels, so many greys around it
ENCLOSED = 0.9  # fraction of the pixels around a nucleus that are cytoplasm
VOID_AROUND = 0.5  # fraction of the pixels around all objects that are void
BOUNDARY = 7  # pixels: boundaries of cells are thinner
MAX_LEVELS = 12  # greys of cytoplasm and nucleus in one mask: two for each of LISC's classes, and a slip or two


def present_values(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The values that occur, without 0, in rising order."""
    present = np.unique(values)
    return present[present != 0]


def in_squares(values: NDArray[np.int64], side: int = 3) -> NDArray[np.bool_]:
    """[H, W]: the pixels that lie in a square of side x side pixels of one value."""
    if min(values.shape) < side:
        return np.ones(values.shape, bool)
    flat = ndimage.minimum_filter(values, side, mode="nearest") == ndimage.maximum_filter(values, side, mode="nearest")
    squares: NDArray[np.bool_] = ndimage.binary_dilation(flat, np.ones((side, side)))
    return squares


def is_noisy(values: NDArray[np.int64]) -> bool:
    """Whether a mask of greys has soft edges or went through JPEG: many of its pixels have a value that is rarely solid,
    and there are more such values than others. Small numbers are never noise (who paints cells nearly black?), nor are
    LISC's codes: a rim of cytoplasm may be thin."""
    covered = values != 0
    present, inverse, counts = np.unique(values[covered], return_inverse=True, return_counts=True)
    if present.max(initial=0) < 2 * MIN_CONTRAST:
        return False
    solid = np.bincount(inverse, weights=in_squares(values)[covered], minlength=len(present))
    noise = (solid < SOLID * counts) & ~np.isin(present, sorted(LISC_GREYS))
    return bool(counts[noise].sum() > MAX_NOISE * counts.sum() and 2 * noise.sum() >= len(present))


def without_edges(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[H, W]: the pixels whose greys tell levels. In a mask with noise those of edges do not."""
    if not is_noisy(values):
        return np.ones(values.shape, bool)
    flat: NDArray[np.bool_] = ndimage.maximum_filter(values, 3) - ndimage.minimum_filter(values, 3) <= FLAT
    return flat


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


def has_void(values: NDArray[np.int64]) -> bool:
    """Whether 255 is the void between and around objects that are numbered: it lies around most of their pixels. Grey levels
    of cytoplasm and nucleus are no such small numbers."""
    objects = (values != 0) & (values != VOID)
    if not objects.any() or not (values == VOID).any() or values[objects].max() >= min(LISC_GREYS):
        return False
    around = values[_around(objects)]
    return bool(around.size and (around == VOID).mean() > VOID_AROUND)


def boundary_value(values: NDArray[np.int64]) -> int | None:
    """The value of the boundaries of cells, if a mask marks these apart from the insides: thin, all around another value,
    and higher. Cytoplasm has a lower one than the nucleus that it surrounds."""
    present = present_values(values)
    if len(present) > MAX_LEVELS:
        return None
    thick = set(values[in_squares(values, BOUNDARY)].tolist())
    for value in present.tolist():
        around = values[_around(values == value)]
        outer = int(np.bincount(around).argmax()) if around.size else 0
        if outer > value and outer not in thick and outer != VOID and (around == outer).mean() > ENCLOSED:
            return outer
    return None


def possible_kinds(mask: MaskValues) -> tuple[str, ...]:
    """What a mask can mean, the likeliest first. A mask of one number is never one of instances: if it shows several
    cells, they are apart. Numbers that are indices of classes look like those of instances, so these must be told."""
    values, source = mask
    present = present_values(values)
    if source == "colours":
        return (COLOURS,) if len(present) > 1 else (BINARY,)
    if len(present) < 2:
        return (BINARY, CODES) if values.max(initial=0) < COLOUR_LEVELS else (BINARY,)
    if source != "integers" and (has_void(values) or boundary_value(values)):
        return (INSTANCES,)
    if source == "greys" and set(present.tolist()) <= LISC_GREYS:
        return CODES, BINARY, INSTANCES
    if source == "greys" and (is_noisy(values) or _has_nuclei(values, present)):
        return BINARY, CODES, INSTANCES
    return (INSTANCES,)


def kind_of_dataset(masks: Iterable[MaskValues]) -> str:
    """The likeliest kind of most of some masks; of several such, the one that more of them can have."""
    possible = [possible_kinds(mask) for mask in masks]
    votes = Counter(kind for kinds in possible for kind in kinds)
    first = Counter(kinds[0] for kinds in possible)
    return max(KINDS, key=lambda kind: (first[kind], votes[kind], -KINDS.index(kind)))


def kind_of_mask(mask: MaskValues, preferred: str, has_class: bool = True) -> str:
    """The kind of the data set if this mask can have it, else its own likeliest. has_class: whether the class of its cells
    is known without it; if it is not, only LISC's codes can tell it."""
    if not has_class:
        return CODES
    kinds = possible_kinds(mask)
    return preferred if preferred in kinds else kinds[0]


def _has_nuclei(values: NDArray[np.int64], present: NDArray[np.int64]) -> bool:
    """Whether one of a few greys is that of nuclei: nearly all pixels around it have another grey. Cells that touch share
    only a part of their outlines."""
    if len(present) > MAX_LEVELS:
        return False
    for value in present:
        around = values[_around(values == value)]
        if around.size and (around != 0).mean() > ENCLOSED:
            return True
    return False


def _around(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[H, W]: the pixels that share an edge with those inside: a line that is only connected diagonally surrounds them."""
    near: NDArray[np.bool_] = ndimage.binary_dilation(inside) & ~inside
    return near
