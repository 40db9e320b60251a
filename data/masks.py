"""From the greys of a mask to its cells: connected components, the nucleus of each, the class that the greys stand for."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data.formats.lisc import GREY_CODES

# A cell is 50 pixels across or more in an image of 720 x 576, at least 0.47 % of it. A component below a tenth of that, or
# tiny compared with the largest of its mask, is a stray fragment of the annotation (LISC lymphocytes 3, 9, 10).
MIN_AREA = 0.0005  # fraction of the image
MIN_AREA_OF_LARGEST = 0.05  # fraction of the largest component in the mask
MAX_AREA = 0.8  # fraction of the image: no cell is so large, so the mask is inverted or white all over

MIN_CONTRAST = 15  # greys between cytoplasm and nucleus; LISC's codes are 25 or more apart
EIGHT_CONNECTED = np.ones((3, 3))  # diagonal neighbours are connected


def label_instances(
    mask: NDArray[np.uint8], min_area: float = MIN_AREA, min_area_of_largest: float = MIN_AREA_OF_LARGEST
) -> NDArray[np.int32]:
    """Number the cells of a mask: 8-connected components of non-zero pixels.

    Components smaller than `min_area` of the image or `min_area_of_largest` of the largest component are dropped.
    [H, W] -> int32 [H, W] with 0 for background, and 1..N from top to bottom.
    """
    components, _ = ndimage.label(mask, structure=EIGHT_CONNECTED)
    areas = np.bincount(components.ravel())
    areas[0] = 0
    keep = areas >= max(1.0, min_area * mask.size, min_area_of_largest * areas.max())
    numbers = np.where(keep, np.cumsum(keep), 0)
    return numbers.astype(np.int32)[components]


def label_nuclei(mask: NDArray[np.uint8], cells: NDArray[np.int32]) -> NDArray[np.int32]:
    """The pixels of each cell's nucleus, with the cell's number: the upper half of the cell's range of greys.

    In a mask the cytoplasm is darker than the nucleus (LISC: 75 and 100, ..., 225 and 255). A cell of one grey, such as
    LISC's basophils, whose nucleus is hidden, has none. mask: greys [H, W]; cells: [H, W] from `label_instances`.
    """
    numbers = np.arange(cells.max() + 1)
    low, high = (
        np.asarray(measure(mask, cells, numbers), np.float64) for measure in (ndimage.minimum, ndimage.maximum)
    )
    middle = np.where(high - low >= MIN_CONTRAST, (low + high) / 2, 255)
    return np.where(mask > middle[cells], cells, 0).astype(cells.dtype)


def class_from_greys(greys: NDArray[np.uint8]) -> str:
    """The majority class of a cell's pixels; each votes for the class with the nearest grey code."""
    codes = np.array(list(GREY_CODES.values()))  # [K, 2]
    nearest = np.abs(np.arange(256)[:, None, None] - codes).min(axis=2).argmin(axis=1)  # grey -> class
    return list(GREY_CODES)[np.bincount(nearest[greys], minlength=len(codes)).argmax()]


def class_conflict(label: str | None, mask: NDArray[np.uint8], cells: NDArray[np.int32]) -> str:
    """A message if the greys of a cell are exactly those of another class than `label`; else ""."""
    numbers = range(1, cells.max() + 1) if label else ()
    named = {_class_by_exact_code(mask[cells == k]) for k in numbers} - {None, label}
    others = ", ".join(sorted(map(str, named)))
    return f"the greys of its mask are those of a cell of another class ({others})" if others else ""


def _class_by_exact_code(greys: NDArray[np.uint8]) -> str | None:
    """The class whose codes, cytoplasm and nucleus, are exactly the greys of a cell; else None. One grey of the two is not
    enough: binary masks are 255 everywhere."""
    present = set(np.unique(greys).tolist())
    return next((name for name, codes in GREY_CODES.items() if present == set(codes)), None)
