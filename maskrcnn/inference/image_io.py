"""Image files into arrays, or a reason why not that names the file and the remedy."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

IMAGE_EXTENSIONS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})


class ImageError(ValueError):
    """An image file cannot be used: `path`, and the `reason` with its remedy."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


def load_image(path: Path | str) -> NDArray[np.uint8]:
    """[H, W, 3]. Grey becomes RGB, transparency is dropped. Raises ImageError."""
    return np.array(open_image(path).convert("RGB"))


def open_image(path: Path | str) -> Image.Image:
    """An 8-bit image, decoded, turned upright as its EXIF orientation says. Raises ImageError."""
    path = Path(path)
    if not path.is_file():
        raise ImageError(path, "no such file")
    if path.stat().st_size == 0:
        raise ImageError(path, "the file is empty (0 bytes); copy it again or take it out")
    try:
        with Image.open(path) as image:
            # Pillow reduces 16-bit colour to 8 bits without a word; only the decoder's raw mode tells.
            raw = str(image.tile[0][3]) if image.tile else ""
            pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
    except Image.DecompressionBombError as error:
        raise ImageError(path, f"too large to be a field of view ({error}); cut it into fields") from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise ImageError(path, f"unreadable or cut off ({error}); copy it again or take it out") from error
    if image.mode in ("I", "F") or re.search(r"\b(I|L|LA|RGB\w?);16", f"{raw} {image.mode}"):
        raise ImageError(path, "more than 8 bits per channel; save it with 8 (0 to 255)")
    if pages > 1:
        raise ImageError(path, f"contains {pages} images; save each of them as a file of its own")
    return image
