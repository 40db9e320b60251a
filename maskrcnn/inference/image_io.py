"""Image files into arrays, or a reason why not that names the file and the remedy."""

import re
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

IMAGE_EXTENSIONS = frozenset({".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

# Pillow warns from 89 megapixels on, and refuses twice as many. A scan of 100 is no attack.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

COPY_AGAIN = "copy it again or take it out"
TAGS_OF_PNG = (b"eXIf", b"Raw profile type", b"com.adobe.xmp")  # where a PNG has its orientation, if it has one


class ImageError(ValueError):
    """An image file cannot be used: `path`, and the `reason` with its remedy."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{readable(path)}: {reason}")
        self.path, self.reason = path, reason


def readable(name: Path | str) -> str:
    r"""A file name that can be printed, drawn and written: bytes that are not UTF-8 appear as \xe9."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def load_image(path: Path | str) -> NDArray[np.uint8]:
    """[H, W, 3]. Grey becomes RGB, transparency is dropped. Raises ImageError."""
    return np.array(open_image(path).convert("RGB"))


def open_image(path: Path | str) -> Image.Image:
    """An 8-bit image, decoded, turned upright as its EXIF or TIFF orientation says. Raises ImageError."""
    image = decode_image(path)
    if image.info["deep"]:
        raise ImageError(Path(path), "more than 8 bits per channel; save it with 8 (0 to 255)")
    return image


def decode_image(path: Path | str) -> Image.Image:
    """As `open_image`, of any number of bits; info["deep"] tells whether these are more than 8. Raises ImageError."""
    path = Path(path)
    if not path.is_file():
        raise ImageError(path, "no such file")
    if path.stat().st_size == 0:
        raise ImageError(path, "the file is empty (0 bytes); copy it again or take it out")
    try:
        # From an open file: of a path Pillow maps uncompressed TIFFs into memory, and then turns their pixels wrongly.
        with path.open("rb") as file, Image.open(file) as image:
            # Pillow reduces 16-bit colour to 8 bits without a word; only the decoder's raw mode tells.
            raw = str(image.tile[0][3]) if image.tile else ""
            pages = getattr(image, "n_frames", 1) if image.format in ("TIFF", "GIF", "WEBP") else 1
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
    except Image.DecompressionBombError as error:
        raise ImageError(path, f"too many pixels to be read at once ({error}); cut it into parts") from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise ImageError(path, f"{_unreadable(path)} ({error}); {COPY_AGAIN}") from error
    if pages > 1:
        reason = f"contains {pages} images, or channels in a page each; save each image as a file of its own, in RGB"
        raise ImageError(path, reason)
    deep = image.mode in ("I", "F") or re.search(r"\b(I|L|LA|RGB\w?);16", f"{raw} {image.mode}")
    image.info["deep"] = bool(deep)
    return image


def _unreadable(path: Path) -> str:
    """What may be wrong with a file that Pillow fails on."""
    try:
        with path.open("rb") as file:
            is_tiff = file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    except OSError:
        is_tiff = False
    return (
        "unreadable, cut off, or a TIFF of a kind that is not read: try 8-bit RGB"
        if is_tiff
        else "unreadable or cut off"
    )


def orientation(path: Path) -> int:
    """The orientation that the EXIF or TIFF tags of an image say, 1 to 8; 1 is upright, and also where there is none."""
    try:
        with Image.open(path) as image:
            # Pillow would decode a PNG to see whether tags come after its pixels.
            if image.format == "PNG" and not any(place in path.read_bytes() for place in TAGS_OF_PNG):
                return 1
            return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # no image, a damaged one, or a tag that is no number
        return 1


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image, upright, without decoding it. Raises ImageError."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise ImageError(path, f"{_unreadable(path)} ({error}); {COPY_AGAIN}") from error
    return (width, height) if orientation(path) > 4 else (height, width)  # 5 to 8 lie on their sides
