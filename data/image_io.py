"""The image and the mask of a record as arrays of one size."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.formats.lisc import MASK_MARGIN
from data.records import ImageRecord, RecordError, Skipped
from maskrcnn.inference.image_io import ImageError, open_image

# JPEG surrounds the cells with faint grey. Half of the lowest code tells it from a cell.
JPEG_NOISE = 25


def read_image_and_mask(record: ImageRecord) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """RGB [H, W, 3] and greys [H, W]. Raises RecordError with every file of the record that cannot be used."""
    if record.mask is None:
        reason = "has no mask; only annotated images can be trained or evaluated on"
        raise RecordError(Skipped(record.image, reason))
    opened: list[Image.Image] = []
    bad: list[Skipped] = []
    for path in (record.image, record.mask):
        try:
            opened.append(open_image(path))
        except ImageError as error:
            bad.append(Skipped(error.path, error.reason))
    if bad:
        raise RecordError(*bad)
    image = np.array(opened[0].convert("RGB"))
    return image, align_mask(opened[1], record.mask, image.shape[:2])


def align_mask(mask_image: Image.Image, path: Path, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Greys [H, W] of the mask of an image of size (H, W). LISC's smaller masks are padded by their margin. Raises
    RecordError for a mask of another size."""
    mask = np.array(mask_image.convert("L"))
    if mask_image.format == "JPEG":
        mask[mask < JPEG_NOISE] = 0
    if (mask.shape[0] + 2 * MASK_MARGIN, mask.shape[1] + 2 * MASK_MARGIN) == tuple(size):
        mask = np.pad(mask, MASK_MARGIN)  # on every side: pasted at (0, 0), a perfect mask would have an IoU of 0.83
    if mask.shape != tuple(size):
        reason = (
            f"the mask is {mask.shape[1]} x {mask.shape[0]}, its image {size[1]} x {size[0]}; they must be of one size, "
            f"or the mask {2 * MASK_MARGIN} smaller both ways as in LISC"
        )
        raise RecordError(Skipped(path, reason))
    return mask
