"""From the greys of a mask to its cells: separate pieces, the nucleus in each, the class that the greys stand for."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data.lisc import GREY_CODES

# A cell is 50 pixels across or more in a field of 720 x 576, at least 0.47 % of it. What is below a tenth of that, or is
# tiny beside the largest cell of its own mask, is a slip of the annotator's pen (LISC lymphocytes 3, 9, 10).
MIN_AREA = 0.0005  # of the image
MIN_AREA_OF_LARGEST = 0.05  # of the largest component in the mask
MAX_AREA = 0.8  # of the image: no cell is so large; the mask is inverted, or white all over

MIN_CONTRAST = 15  # greys between cytoplasm and nucleus; LISC's codes are 25 or more apart
EIGHT = np.ones((3, 3))  # a pixel's neighbours, diagonals included


def instances(
    mask: NDArray[np.uint8], min_area: float = MIN_AREA, min_area_of_largest: float = MIN_AREA_OF_LARGEST
) -> NDArray[np.int32]:
    """Number the cells of a mask: connected pieces, diagonals included, of whatever grey but 0.

    Pieces smaller than `min_area` of the image or `min_area_of_largest` of the largest piece are dropped.
    [H, W] -> int32 [H, W] with 0 for background, and 1..N from top to bottom.
    """
    pieces, _ = ndimage.label(mask, structure=EIGHT)
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    keep = areas >= max(1.0, min_area * mask.size, min_area_of_largest * areas.max())
    numbers = np.where(keep, np.cumsum(keep), 0)
    return numbers.astype(np.int32)[pieces]


def nuclei(mask: NDArray[np.uint8], cells: NDArray[np.int32]) -> NDArray[np.int32]:
    """The pixels of each cell's nucleus, with the cell's number: those of the upper half of the cell's range of greys.

    Masks write the cytoplasm darker than the nucleus (LISC: 75 and 100, ..., 225 and 255). A cell of one grey, such as
    LISC's basophils, whose nucleus is hidden, has none. mask: greys [H, W]; cells: [H, W] of `instances`.
    """
    numbers = np.arange(cells.max() + 1)
    low, high = (
        np.asarray(measure(mask, cells, numbers), np.float64) for measure in (ndimage.minimum, ndimage.maximum)
    )
    middle = np.where(high - low >= MIN_CONTRAST, (low + high) / 2, 255)
    return np.where(mask > middle[cells], cells, 0).astype(cells.dtype)


def class_by_code(greys: NDArray[np.uint8]) -> str:
    """The class of most of a cell's pixels, each counted for the class with the nearest grey code."""
    codes = np.array(list(GREY_CODES.values()))  # [K, 2]
    nearest = np.abs(np.arange(256)[:, None, None] - codes).min(axis=2).argmin(axis=1)  # grey -> class
    return list(GREY_CODES)[np.bincount(nearest[greys], minlength=len(codes)).argmax()]


def contradiction(label: str | None, mask: NDArray[np.uint8], cells: NDArray[np.int32]) -> str:
    """What to say where the greys of a cell are those of another class than `label` alone; else nothing."""
    numbers = range(1, cells.max() + 1) if label else ()
    named = {_class_by_exact_code(mask[cells == k]) for k in numbers} - {None, label}
    others = ", ".join(sorted(map(str, named)))
    return f"the greys of its mask are those of a cell of another class ({others})" if others else ""


def _class_by_exact_code(greys: NDArray[np.uint8]) -> str | None:
    """The class whose codes, cytoplasm and nucleus, are just the greys of a cell; None if there is no such. One grey out of
    two says nothing: plain masks are 255 all over."""
    there = set(np.unique(greys).tolist())
    return next((name for name, codes in GREY_CODES.items() if there == set(codes)), None)
