"""From a mask file to one number per pixel, whatever the file stores: greys, palette indices, colours, deep integers.

0 is background, and so is what is transparent. Colours never go through luminance, palette indices are taken as they are.
"""

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.records import RecordError, Skipped
from maskrcnn.inference.image_io import ImageError, decode_image

COLOUR_LEVELS = 256
SMALL = 30  # a lower number is one of objects or classes, and no grey
OPAQUE = 128  # alpha of what belongs to the mask: what an eraser with soft edges left does not
MAX_TINT, BRIGHT = 8, 64  # of a lossy grey: differences between its channels, and a value that is reached
# What a pickled array consists of, with the last part of its module.
HARMLESS = {("_reconstruct", "multiarray"), ("scalar", "multiarray"), ("ndarray", "numpy"), ("dtype", "numpy")}


class MaskValues(NamedTuple):
    """The numbers of a mask file."""

    values: NDArray[np.int64]  # [H, W], 0 is background
    source: str  # "greys", "indices" of a palette, "colours" or "integers" of more than 8 bits
    indices: NDArray[np.int64] | None = None  # [H, W]: of a palette, where the values are its greys


def read_mask_values(path: Path) -> MaskValues:
    """Raises RecordError for a file that cannot be read, and for numbers that are not whole or that JPEG has changed."""
    try:
        if path.suffix.lower() == ".npy":
            return _whole(_load_npy(path), path)
        image = decode_image(path)
    except ImageError as error:
        raise RecordError(Skipped(error.path, error.reason)) from error
    if image.info["deep"] and not image.mode.startswith(("I", "F")) and not _is_black_and_white(image):
        reason = "has colours of 16 bits, of which only 8 are read; save it with 8 bits per channel, or as 16-bit grey"
        raise RecordError(Skipped(path, reason))
    if image.format == "JPEG" and 0 < (highest := np.asarray(image.convert("RGB")).max()) < SMALL:
        reason = f"has no value above {highest}, and such small ones do not survive JPEG; save the mask as PNG"
        raise RecordError(Skipped(path, reason))
    if image.mode == "P":
        return _palette_values(image)
    if image.mode in ("1", "L"):
        return MaskValues(np.asarray(image.convert("L")).astype(np.int64), "greys")
    if image.mode.startswith("I") or image.mode == "F":
        return _whole(np.asarray(image), path)
    return _colour_values(image)


def _is_black_and_white(image: Image.Image) -> bool:
    """Whether the upper 8 bits tell all: black and white, and not only black, which small numbers are as well."""
    pixels = np.asarray(image.convert("RGB"))
    return bool(np.isin(pixels, (0, COLOUR_LEVELS - 1)).all() and pixels.any())


def _palette_values(image: Image.Image) -> MaskValues:
    """The indices; but the greys, with the indices beside them, where the palette is that of a grey picture; and where
    another index than 0 is black and 0 is not, black is the background, and colours count."""
    indices = np.asarray(image).astype(np.int64)
    palette = image.getpalette() or []
    colours = {i: tuple(palette[3 * i : 3 * i + 3]) for i in np.unique(indices).tolist()}
    dark = [i for i, colour in colours.items() if not any(colour)]
    if 0 in colours and 0 not in dark and len(dark) == 1:
        return _colour_values(image)
    if "transparency" in image.info:
        indices[np.asarray(image.convert("RGBA"))[..., 3] < OPAQUE] = 0
    if dark == [0] and all(len(set(c)) == 1 for c in colours.values()) and len(set(colours.values())) == len(colours):
        grey_of = np.zeros(COLOUR_LEVELS, np.int64)
        grey_of[list(colours)] = [colour[0] for colour in colours.values()]
        return MaskValues(grey_of[indices], "greys", indices)
    return MaskValues(indices, "indices")


def _colour_values(image: Image.Image) -> MaskValues:
    """R + 256 G + 65536 B, as COCO's panoptic masks; the grey itself where all three are equal."""
    # Pillow turns CMYK, LAB and YCbCr into RGB only.
    image = image if image.mode in ("RGBA", "LA", "P") else image.convert("RGB")
    rgba = np.asarray(image.convert("RGBA")).astype(np.int64)
    red, green, blue, alpha = np.moveaxis(rgba, -1, 0)
    if not rgba[alpha >= OPAQUE, :3].any() and (alpha < OPAQUE).any():
        return MaskValues(alpha, "greys")  # black paint on a transparent picture
    if (red == green).all() and (green == blue).all():
        values, source = red.copy(), "greys"
    elif _is_lossy_grey(rgba[..., :3]):
        values, source = np.median(rgba[..., :3], axis=-1).astype(np.int64), "greys"
    else:
        values, source = red + COLOUR_LEVELS * green + COLOUR_LEVELS**2 * blue, "colours"
    values[alpha < OPAQUE] = 0
    return MaskValues(values, source)


def rgb_of(value: int) -> tuple[int, int, int]:
    """The colour that a value of source "colours" stands for."""
    return value % COLOUR_LEVELS, value // COLOUR_LEVELS % COLOUR_LEVELS, value // COLOUR_LEVELS**2


def _is_lossy_grey(colours: NDArray[np.int64]) -> bool:
    """Whether colours [H, W, 3] are greys that a lossy format such as WebP has tinted a little. Numbers of objects written
    as colours are not near grey in every pixel and bright in some."""
    highest = colours.max(axis=-1)
    return bool(highest.max() > BRIGHT and (highest - colours.min(axis=-1)).max() <= MAX_TINT)


def _whole(numbers: NDArray[Any], path: Path) -> MaskValues:
    values = np.nan_to_num(numbers).astype(np.int64)
    if numbers.ndim != 2 or (values != numbers).any() or (values < 0).any():
        reason = "its numbers are not labels: a label map has two dimensions and whole numbers from 0 on"
        raise RecordError(Skipped(path, reason))
    return MaskValues(values, "integers")


def _load_npy(path: Path) -> NDArray[Any]:
    """An array, or the `masks` of cellpose's _seg.npy, which is a pickled dict: only arrays, numbers and texts are read from
    it, never code. Raises ImageError."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            _, _, dtype = read_header(file)
            if dtype.hasobject:
                content = _ArraysOnly(file).load()
                return np.squeeze(np.asarray(content.item()["masks"]))
        return np.squeeze(np.load(path, allow_pickle=False))
    except Exception as error:  # a damaged or hostile file makes the decoder raise nearly anything
        raise ImageError(path, f"not a label map or cellpose's _seg.npy ({error}); export the masks as PNG") from error


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and (name, module.split(".")[-1]) in HARMLESS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"contains {module}.{name}")
