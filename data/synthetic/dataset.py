"""Writes a set of artificial stained smears with exact masks, in the folders of LISC or of the tutorial.

It stands in for LISC, which must not be redistributed: enough to train on, to test with and to look at. smear.py draws a
field of view, cell.py a white cell.
"""

import math
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from data.formats.lisc import MASK_MARGIN
from data.records import MULTI_CLASS, DataError
from data.synthetic.smear import SIZE, draw_smear
from maskrcnn.config import LISC_CLASSES

IMAGES = 240  # as many as LISC has
DEFAULT_DIR = Path("data/synthetic-smears")  # of the set that `--data synthetic` means
LAYOUTS = ("wbc", "lisc")
CELL_COUNT_ODDS = {"wbc": (0.4, 0.35, 0.25), "lisc": (0.92, 0.06, 0.02)}  # of one, two and three cells per image


class PlannedImage(NamedTuple):
    """What image k of a set shows. It depends on k and the seed alone, so a longer set begins with the shorter one."""

    content: str  # a class, MULTI_CLASS, or "" for an image without a mask
    number: int  # among the images of the same content, from 1
    val: bool


def plan(images: int, layout: str, val_fraction: float) -> list[PlannedImage]:
    """The classes in turn; in LISC's layout with images of several classes and images without masks in between."""
    counts: Counter[str] = Counter()
    planned = []
    for k in range(images):
        content = LISC_CLASSES[k % len(LISC_CLASSES)]
        if layout == "lisc" and k % 20 in (11, 17):
            content = MULTI_CLASS if k % 20 == 11 else ""
        counts[content] += 1
        number = counts[content]
        is_val = _steps(number, val_fraction) > _steps(number - 1, val_fraction)
        planned.append(PlannedImage(content, number, is_val))
    return planned


def _steps(number: int, fraction: float) -> int:
    """Grows by 1 at a `fraction` of all numbers, evenly spread, first at number 2: floor((number - 2) * fraction)."""
    return math.floor(round((number - 2) * fraction, 9))  # rounded, since 90 * 0.7 is 62.99999999999999


def write_dataset(
    root: Path | str,
    images: int,
    seed: int = 0,
    layout: str = "wbc",
    size: tuple[int, int] = SIZE,
    val_fraction: float = 0.2,
    zoom: tuple[float, float] = (1.0, 1.0),
    progress: bool = True,
) -> None:
    """Write a set of `images` images of size (width, height) below root. The same arguments write the same pixels.

    layout "wbc": the tutorial's folders, PNG, one class and one to three cells per image, split into train and val.
    layout "lisc": LISC's folders, BMP, masks without the outer 4 pixels, mostly one cell per image, no split; a few images
    show several classes, a few have no mask.
    zoom: each image is magnified by a random factor between these two, relative to LISC's 6 pixels per micrometre.
    Raises DataError if root exists and is not an empty folder, ValueError for arguments that make no sense.
    """
    if images < 1 or layout not in LAYOUTS or not 0 <= val_fraction < 1:
        raise ValueError("images must be 1 or more, layout wbc or lisc, val_fraction from 0 to below 1")
    if not 0 < zoom[0] <= zoom[1] or min(size) / zoom[1] < 128:
        raise ValueError("zoom must be above 0, low before high, and leave both sides of an image 128 pixels before it")
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"{root}: already exists; choose a new or an empty folder")
    plans = plan(images, layout, val_fraction)
    for k, planned in enumerate(tqdm(plans, "drawing", unit="image", disable=None if progress else True)):
        rng = np.random.default_rng([seed, k])
        labels = _sample_labels(planned.content, layout, rng)
        image, mask = draw_magnified(labels, rng, size, float(rng.uniform(*zoom)))
        image_path, mask_path = file_paths(planned, layout)
        _save(image, root / image_path)
        if mask_path:
            inner = slice(MASK_MARGIN, -MASK_MARGIN) if layout == "lisc" else slice(None)
            _save(mask[inner, inner], root / mask_path)


def _sample_labels(content: str, layout: str, rng: Generator) -> list[str]:
    """The classes of the cells of an image."""
    labels = [content or str(rng.choice(LISC_CLASSES))] * int(rng.choice([1, 2, 3], p=CELL_COUNT_ODDS[layout]))
    if content == MULTI_CLASS:
        labels = [str(name) for name in rng.permutation(LISC_CLASSES)[: rng.integers(2, 4)]]
    return labels


def draw_magnified(
    labels: Sequence[str], rng: Generator, size: tuple[int, int], zoom: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """`draw_smear` as through another objective: the cells larger by the factor zoom, the image of the same size."""
    if zoom == 1:
        return draw_smear(labels, rng, size)
    image, mask = draw_smear(labels, rng, (round(size[0] / zoom), round(size[1] / zoom)))
    large_image = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    large_mask = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
    return np.asarray(large_image), np.asarray(large_mask)


def cached_default(root: Path) -> Path:
    """The set of the default size and seed, written to root unless root exists. Returns root."""
    if not root.exists():
        print(f"drawing {IMAGES} synthetic smears into {root}")
        # Renamed when complete, so that an interrupted run leaves no set that looks complete.
        partial = root.with_name(root.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        write_dataset(partial, IMAGES)
        partial.rename(root)
    return root


def resolve_data(data: str) -> Path:
    """The folder that --data means: for the word "synthetic" the default set, which is written at the first use."""
    return cached_default(DEFAULT_DIR) if data == "synthetic" else Path(data)


def file_paths(planned: PlannedImage, layout: str) -> tuple[Path, Path | None]:
    """Paths of image and mask, relative to the root of the set. None: the image has no mask."""
    content, number, val = planned
    if layout == "wbc":
        side, name = Path("val" if val else "train"), f"{content.title()}/{content.title()}_{number:03d}.png"
        return side / "image" / name, side / "mask" / name
    if not content:
        return Path("More Dataset without Ground Truth", "alll", f"{number}.bmp"), None
    folder = {"basophil": "Baso"}.get(content, content[:4])  # LISC's spelling
    mask = Path("Ground Truth Segmentation", folder, "areaforexpert1", f"{number}_expert.bmp")
    return Path("Main Dataset", folder, f"{number}.bmp"), mask


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # For PNG: noise hardly compresses, and a higher level would take half of the time. BMP is not compressed.
    Image.fromarray(pixels).save(path, compress_level=1)
