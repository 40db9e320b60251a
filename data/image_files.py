"""Image files into arrays, or one reason why not, which names the file and what to do."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from data.lisc import MASK_MARGIN, DataError, Skipped

# JPEG surrounds the cells with faint grey. Half of the lowest code tells it from a cell.
JPEG_NOISE = 25


class FieldError(DataError):
    """A field cannot be used: `skipped` names the files at fault."""

    def __init__(self, *skipped: Skipped) -> None:
        super().__init__("\n".join(map(str, skipped)))
        self.skipped = skipped


def load_image(path: Path | str) -> NDArray[np.uint8]:
    """[H, W, 3]. Grey becomes RGB, transparency is dropped. Raises DataError naming the file and the remedy."""
    return np.array(open_picture(path).convert("RGB"))


def mask_in_place(picture: Image.Image, path: Path, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Greys [H, W] of the mask of an image of size (H, W): LISC's smaller masks get their margin back."""
    mask = np.array(picture.convert("L"))
    if picture.format == "JPEG":
        mask[mask < JPEG_NOISE] = 0
    if (mask.shape[0] + 2 * MASK_MARGIN, mask.shape[1] + 2 * MASK_MARGIN) == tuple(size):
        mask = np.pad(mask, MASK_MARGIN)  # on every side: at (0, 0) a perfect mask would have an IoU of 0.83
    if mask.shape != tuple(size):
        reason = (
            f"the mask is {mask.shape[1]} x {mask.shape[0]}, its image {size[1]} x {size[0]}; they must be of one size, "
            f"or the mask {2 * MASK_MARGIN} smaller both ways as in LISC"
        )
        raise FieldError(Skipped(path, reason))
    return mask


def open_picture(path: Path | str) -> Image.Image:
    """An 8-bit picture, decoded, as its camera says that it stands (EXIF). Raises DataError."""
    path = Path(path)
    if not path.is_file():
        raise FieldError(Skipped(path, "no such file"))
    if path.stat().st_size == 0:
        raise FieldError(Skipped(path, "the file is empty (0 bytes); copy it again or take it out"))
    try:
        with Image.open(path) as picture:
            # Pillow cuts 16-bit colour to 8 bits in silence; only the decoder's name tells.
            raw = str(picture.tile[0][3]) if picture.tile else ""
            pages = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
    except Image.DecompressionBombError as error:
        raise FieldError(Skipped(path, f"too large to be a field of view ({error}); cut it into fields")) from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise FieldError(Skipped(path, f"unreadable or cut off ({error}); copy it again or take it out")) from error
    if picture.mode in ("I", "F") or re.search(r"\b(I|L|LA|RGB\w?);16", f"{raw} {picture.mode}"):
        raise FieldError(Skipped(path, "more than 8 bits a channel; save it with 8 (0 to 255)"))
    if pages > 1:
        raise FieldError(Skipped(path, f"holds {pages} pictures; save each of them as a file of its own"))
    return picture
