"""What the numbers of a mask mean, decided for a data set as a whole and, where a mask cannot mean that, for the mask.

Whatever the kind, touching cells with different numbers, codes or colours stay apart.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data.formats.lisc import GREY_CODES
from data.mask_levels import LISC_GREYS, in_squares, is_noisy, present_values
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
VOID = 255  # Pascal VOC's value of the pixels around an object that belong to nothing
ENCLOSED = 0.9  # fraction of the pixels around a nucleus that are cytoplasm
NEARLY_ENCLOSED = 0.6  # of one that reaches the edge of its cell: such a mask follows the other ones of the data set
VOID_AROUND = 0.5  # fraction of the pixels around all objects that are void
BOUNDARY = 7  # pixels: boundaries of cells are thinner
BETWEEN = 0.75  # fraction of the pixels around a boundary that only separates cells which belong to these
THICKER = 2  # times: an inside than a boundary; the lobes of a nucleus are less so than the cytoplasm between them
MAX_LEVELS = 12  # greys of cytoplasm and nucleus in one mask: two for each of LISC's classes, and a slip or two


class MaskMeaning(NamedTuple):
    """What the numbers of a data set's masks mean."""

    kind: str  # one of KINDS
    classes: tuple[str, ...]  # class k of masks of class indices, k from 1 on
    is_told: bool = False  # whether a mask that cannot be of this kind is refused instead of read as what it can be


def has_void(values: NDArray[np.int64]) -> bool:
    """Whether 255 is the void between and around objects that are numbered: it lies around most of their pixels. Grey levels
    of cytoplasm and nucleus are no such small numbers; and where there is a higher one, 255 is a number among others."""
    objects = (values != 0) & (values != VOID)
    if not objects.any() or not (values == VOID).any() or values[objects].max() >= min(LISC_GREYS):
        return False
    around = values[_around(objects)]
    return bool(around.size and (around == VOID).mean() > VOID_AROUND)


def without_void(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """[H, W]: the values with background in place of the void."""
    return np.where(values == VOID, 0, values) if has_void(values) else values


def boundary_value(values: NDArray[np.int64], ordered: bool = True) -> int | None:
    """The value of the boundaries of cells, if a mask marks these apart from the insides: thin, and all around another value
    or between its parts. Cytoplasm may be as thin. But it has the lower value, if values are ordered, or else, as those of
    colours are not, one of only two; and it does not keep apart several nuclei that are much thicker."""
    present = present_values(values)
    if not 2 <= len(present) <= MAX_LEVELS:
        return None
    outlines = {value: values[_around(values == value)] for value in present.tolist()}
    thin = np.setdiff1d(present, present_values(values[in_squares(values, BOUNDARY)]))
    for line, inside in ((line, inside) for line in thin.tolist() for inside in outlines if inside != line):
        around = (outlines[inside] == line).mean() > ENCLOSED
        if around and (inside < line != VOID if ordered else len(present) > 2):
            return line
        if (around or (outlines[line] == inside).mean() > BETWEEN) and _keeps_apart(values, line, inside):
            return line
    return None


def _keeps_apart(values: NDArray[np.int64], line: int, inside: int) -> bool:
    """Whether several insides in one connected component are THICKER than the line around or between them. LISC's codes
    never mark boundaries: its lymphocytes have thin cytoplasm, and may touch."""
    if {line, inside} <= LISC_GREYS:
        return False
    clumps, _ = ndimage.label((values == line) | (values == inside))
    for number, slices in enumerate(ndimage.find_objects(clumps), start=1):
        own = np.pad(np.where(clumps[slices] == number, values[slices], 0), 1)
        insides, count = ndimage.label(own == inside)
        if count > 1:
            depths = ndimage.maximum(ndimage.distance_transform_edt(insides), insides, np.arange(1, count + 1))
            if np.sort(depths)[-2] >= THICKER * ndimage.distance_transform_edt(own == line).max():
                return True
    return False


def possible_kinds(mask: MaskValues) -> tuple[str, ...]:
    """What a mask can mean, the likeliest first. A mask of one number is never one of instances: if it shows several
    cells, they are apart. Numbers that are indices of classes look like those of instances, so these must be told."""
    values, source = without_void(mask.values), mask.source
    present = present_values(values)
    numbered = COLOURS if source == "colours" else INSTANCES
    if len(present) < 2:
        return (BINARY, CODES) if source != "colours" and values.max(initial=0) < COLOUR_LEVELS else (BINARY,)
    if values is not mask.values or boundary_value(values, ordered=source != "colours"):
        return (numbered,)
    greys = source == "greys"
    cells = (BINARY, CODES) if greys else (BINARY,)
    enclosed = max(_enclosed(values, present)) if len(present) <= (MAX_LEVELS if greys else 2) else 0
    if greys and set(present.tolist()) <= LISC_GREYS and not (enclosed > ENCLOSED and _are_of_two_classes(present)):
        return CODES, BINARY, INSTANCES
    if enclosed > ENCLOSED or (greys and is_noisy(values)):
        return (*cells, numbered)
    return (numbered, *cells) if enclosed > NEARLY_ENCLOSED else (numbered,)


def _are_of_two_classes(present: NDArray[np.int64]) -> bool:
    """Whether two values are not the codes of one class: if one is around the other, they are cytoplasm and nucleus in other
    greys than LISC's."""
    return len(present) == 2 and not any(set(present.tolist()) <= set(codes) for codes in GREY_CODES.values())


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


def _enclosed(values: NDArray[np.int64], present: NDArray[np.int64]) -> list[float]:
    """For each value the fraction of the pixels around it that have another one. Cells that touch share only a part of their
    outlines; a nucleus has all of its outline in the cell, or nearly all."""
    return [float((values[_around(values == value)] != 0).mean()) for value in present]


def is_enclosed(part: NDArray[np.bool_], cell: NDArray[np.bool_]) -> bool:
    """Whether what is around a part of a cell belongs to the cell as well. Both are cut to the box of the cell."""
    around = _around(np.pad(part, 1))
    return bool(around.any() and np.pad(cell, 1)[around].mean() >= ENCLOSED)


def nucleus_value(values: NDArray[np.int64]) -> int | None:
    """The one of two values that is enclosed by the other: that of nuclei. Of more than two it could be a cell among
    others."""
    present = present_values(values)
    enclosed = _enclosed(values, present) if len(present) == 2 else [0.0]
    return int(present[np.argmax(enclosed)]) if max(enclosed) > NEARLY_ENCLOSED else None


def _around(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[H, W]: the pixels that share an edge with those inside: a line that is only connected diagonally surrounds them."""
    near = np.zeros_like(inside)
    near[1:] |= inside[:-1]
    near[:-1] |= inside[1:]
    near[:, 1:] |= inside[:, :-1]
    near[:, :-1] |= inside[:, 1:]
    return near & ~inside
