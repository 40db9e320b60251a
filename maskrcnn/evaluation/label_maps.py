"""Label maps from files of any program: PNG of 8 or 16 bits, TIFF of 16 or 32, .npy; and which two are of one image."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskrcnn.inference.image_io import ImageError, decode_image, readable

EXTENSIONS = frozenset({".npy", ".png", ".tif", ".tiff"})
# What programs append to the name of an image: a_labels.png, a_cp_masks.tif, a_label.npy are of a.
ENDINGS = (
    r"[-_ ](?:cp[-_ ])?(?:masks?|labels?|label[-_]?maps?|seg|segmentations?|instances?|gt|truth|pred|predictions?)$"
)
LARGE_PART = 0.5  # of the largest part of a number, for another one to be an object of its own
SHOWN = 5  # files in a message


def read_label_map(path: Path) -> NDArray[np.int64]:
    """[H, W], 0 is background. Raises ImageError for a file that is no label map."""
    values = _load_npy(path) if path.suffix.lower() == ".npy" else _load_image(path)
    if values.ndim != 2:
        raise ImageError(path, f"has the shape {values.shape}; a label map has two dimensions")
    if values.dtype.kind not in "biuf":
        raise ImageError(path, f"holds {values.dtype}; a label map has whole numbers")
    if values.dtype == np.uint64 and values.max(initial=0) > np.iinfo(np.int64).max:
        raise ImageError(path, f"has numbers up to {values.max()}; number the objects from 1 on")
    with np.errstate(invalid="ignore"):
        numbers = values.astype(np.int64)
    if (numbers != values).any():
        raise ImageError(path, "has numbers that are not whole; a label map has whole ones, 0 for the background")
    if numbers.min(initial=0) < 0:
        raise ImageError(path, f"has negative numbers, down to {numbers.min()}; a label map has 0 for the background")
    if _is_black_and_white(numbers):
        raise ImageError(
            path,
            f"is black and white: only {numbers.max()}, in several parts, which may be several objects; give each object a "
            "number of its own",
        )
    return numbers


def _load_npy(path: Path) -> NDArray[np.generic]:
    try:
        values = np.asarray(np.load(path, allow_pickle=False))
    except Exception as error:  # a damaged or hostile file makes the decoder raise nearly anything
        raise ImageError(path, f"no array of numbers ({error}); export the masks as PNG or TIFF") from error
    return np.squeeze(values) if values.ndim > 2 else values  # some programs keep an axis of one image or one channel


def _load_image(path: Path) -> NDArray[np.generic]:
    image = decode_image(path)
    if image.format == "JPEG":
        raise ImageError(path, "a JPEG, which changes numbers; save the label map as PNG or TIFF")
    if image.mode in ("RGB", "RGBA") and not image.info["deep"]:
        red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
        if (red == green).all() and (green == blue).all():
            return red
    if image.mode not in ("1", "L", "P", "F") and not image.mode.startswith("I"):
        raise ImageError(path, "a colour picture; a label map has one number per pixel, 0 for the background")
    return np.asarray(image)


def _is_black_and_white(numbers: NDArray[np.int64]) -> bool:
    """Whether the only number there is has several large parts."""
    marked = numbers != 0
    if not marked.any() or (numbers[marked] != numbers.max()).any():
        return False
    parts, _ = ndimage.label(marked, np.ones((3, 3)))
    sizes = np.sort(np.bincount(parts.ravel())[1:])
    return len(sizes) > 1 and bool(sizes[-2] > LARGE_PART * sizes[-1])


class Pairs(NamedTuple):
    """Label maps to compare, and the files of their folders that are taken for something else."""

    pairs: list[tuple[Path, Path]]  # true, predicted
    left_out: list[Path]


def pair_label_maps(truth: Path, prediction: Path) -> Pairs:
    """Two files, or those of two folders, and of folders below, that have the same name but for ENDINGS. Raises ValueError
    with every file that has no partner."""
    for path in (truth, prediction):
        if not path.exists():
            raise ImageError(path, "no such file or folder")
    if truth.is_dir() != prediction.is_dir():
        raise ValueError(f"{truth} and {prediction}: one is a folder, the other a file; name two of a kind")
    if truth.is_file():
        return Pairs([(truth, prediction)], [])
    (true_of, left_out), (predicted_of, others) = _by_name(truth), _by_name(prediction)
    alone = [(file, prediction) for name, file in true_of.items() if name not in predicted_of]
    alone += [(file, truth) for name, file in predicted_of.items() if name not in true_of]
    if alone:
        lines = [f"{readable(file)}: no label map of that name in {other}" for file, other in alone[:SHOWN]]
        lines += [f"... {len(alone)} in all"] if len(alone) > SHOWN else []
        raise ValueError("\n  ".join(["every label map needs a partner of the same name:", *lines]))
    return Pairs([(true_of[name], predicted_of[name]) for name in sorted(true_of)], left_out + others)


def _by_name(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """Name of the image -> label map, and the other files. Where some have one of ENDINGS, the others are images and
    overlays; and where there is a picture of a label map, an array beside it, as cellpose writes, is the same."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in EXTENSIONS and path.is_file()]
    files = sorted((path for path in files if not path.name.startswith(".")), key=lambda path: path.suffix == ".npy")
    maps = [path for path in files if re.search(ENDINGS, path.stem.lower())] or files
    found: dict[str, Path] = {}
    for path in maps:
        stem = path.stem[: len(re.sub(ENDINGS, "", path.stem.lower()))]
        other = found.setdefault(str((path.parent / stem).relative_to(folder)), path)
        if other != path and (path.suffix != ".npy" or other.suffix == ".npy"):
            raise ValueError(f"{readable(path)}: of the same image as {other.name}; keep one of the two")
    if not found:
        raise ImageError(folder, f"no label map in this folder (endings: {', '.join(sorted(EXTENSIONS))})")
    return found, [path for path in files if path not in maps]
