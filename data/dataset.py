"""Smears in memory: every file read and checked once, then images and targets as a detector takes them.

Targets follow torchvision's detection models. Coordinates are continuous: pixel i covers [i, i + 1).
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from data.lisc import CLASSES, GREY_CODES, MASK_MARGIN, DataError, Field

# A cell is 50 pixels across or more in a field of 720 x 576, at least 0.47 % of it. What is below a tenth of that, or is
# tiny beside the largest cell of its own mask, is a slip of the annotator's pen (LISC lymphocytes 3, 9, 10).
MIN_AREA = 0.0005  # of the image
MIN_AREA_OF_LARGEST = 0.05  # of the largest component in the mask

# JPEG surrounds the cells with faint grey. Half of the lowest code tells it from a cell.
JPEG_NOISE = 25


class Sample(NamedTuple):
    """What is kept of a field, compactly."""

    image: Tensor  # uint8 [H, W, 3]
    ids: Tensor  # [H, W], 0 is background, k the k-th cell; uint8, int32 for more than 255 cells
    boxes: Tensor  # float32 [N, 4]
    labels: Tensor  # int64 [N], 1..K


class SmearDataset(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Annotated fields, each an image and a target.

    image    float32 [3, H, W] in 0..1
    target   boxes   float32 [N, 4], x1, y1, x2, y2 in pixels; x2 is the last column + 1
             labels  int64 [N] in 1..K, the place in class_names plus one; 0 is left for the background
             masks   uint8 [N, H, W]
    """

    def __init__(
        self,
        fields: Sequence[Field],
        class_names: Sequence[str] = CLASSES,
        min_area: float = MIN_AREA,
        progress: bool = True,
    ) -> None:
        """Reads all files at once, so that training never waits for the disk.

        min_area: the share of the image below which a separate piece of a mask is not counted as a cell.
        Fields whose mask is empty are left out, with a warning, and listed in `skipped` (LISC has one).
        Raises DataError with a line for each file that cannot be used.
        """
        self.fields: list[Field] = []
        self.skipped: list[tuple[Path, str]] = []
        self._samples: list[Sample] = []
        problems: list[str] = []
        for field in tqdm(fields, "reading", unit="image", disable=not progress, leave=False):
            try:
                sample = read_sample(field, class_names, min_area)
            except DataError as error:
                problems += str(error).splitlines()
                continue
            if len(sample.labels):
                self.fields.append(field)
                self._samples.append(sample)
            else:
                self.skipped.append((field.mask or field.image, "no cell in this mask"))
        for path, reason in self.skipped:
            print(f"warning: {path}: {reason}; the image is left out", file=sys.stderr)
        if problems:
            raise DataError("\n  ".join([f"{len(problems)} problems in {len(fields)} fields:", *problems]))
        if fields and not self.fields:
            raise DataError(f"no mask holds a cell, from {fields[0].mask} on; any grey but 0 counts as cell")

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image, ids, boxes, labels = self._samples[index]
        cells = torch.arange(1, len(labels) + 1, dtype=ids.dtype)
        masks = (ids == cells[:, None, None]).to(torch.uint8)  # [N, H, W]
        pixels = image.permute(2, 0, 1).contiguous().float() / 255
        return pixels, {"boxes": boxes.clone(), "labels": labels.clone(), "masks": masks}


def read_sample(field: Field, class_names: Sequence[str], min_area: float = MIN_AREA) -> Sample:
    """Read one field; no cell is found in an empty mask. Raises DataError, a line for each problem."""
    if field.mask is None:
        raise DataError(f"{field.image}: has no mask; only annotated images can be trained or evaluated on")
    pictures, problems = [], []
    for path in (field.image, field.mask):
        try:
            pictures.append(_open(path))
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    image = np.array(pictures[0].convert("RGB"))
    mask = _mask_in_place(pictures[1], field.mask, image.shape[:2])
    ids = instances(mask, min_area)
    slices = ndimage.find_objects(ids)
    names = [field.label or _class_by_code(mask[ids == k]) for k in range(1, len(slices) + 1)]
    for name in names:
        if name not in class_names:
            raise DataError(f"{field.image}: shows a {name}, which is not among the classes {', '.join(class_names)}")
    boxes = [[columns.start, rows.start, columns.stop, rows.stop] for rows, columns in slices]
    return Sample(
        torch.from_numpy(image),
        torch.from_numpy(ids),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor([class_names.index(name) + 1 for name in names], dtype=torch.int64),
    )


def load_image(path: Path | str) -> NDArray[np.uint8]:
    """[H, W, 3]. Grey becomes RGB, transparency is dropped. Raises DataError naming the file and the remedy."""
    return np.array(_open(path).convert("RGB"))


def _mask_in_place(picture: Image.Image, path: Path, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Greys [H, W] of the mask of an image of size (H, W): LISC's smaller masks get their margin back."""
    mask = np.array(picture.convert("L"))
    if picture.format == "JPEG":
        mask[mask < JPEG_NOISE] = 0
    if (mask.shape[0] + 2 * MASK_MARGIN, mask.shape[1] + 2 * MASK_MARGIN) == tuple(size):
        mask = np.pad(mask, MASK_MARGIN)  # on every side: at (0, 0) a perfect mask would have an IoU of 0.83
    if mask.shape != tuple(size):
        raise DataError(
            f"{path}: the mask is {mask.shape[1]} x {mask.shape[0]}, its image {size[1]} x {size[0]}; they must be of one "
            f"size, or the mask {2 * MASK_MARGIN} smaller both ways as in LISC"
        )
    return mask


def instances(
    mask: NDArray[np.uint8], min_area: float = MIN_AREA, min_area_of_largest: float = MIN_AREA_OF_LARGEST
) -> NDArray[np.integer]:
    """Number the cells of a mask: connected pieces, diagonals included, of whatever grey but 0.

    Pieces smaller than `min_area` of the image or `min_area_of_largest` of the largest piece are dropped.
    [H, W] -> [H, W] with 0 for background, and 1..N from top to bottom; uint8, int32 for N > 255.
    """
    pieces, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    keep = areas >= max(1.0, min_area * mask.size, min_area_of_largest * areas.max())
    numbers = np.where(keep, np.cumsum(keep), 0)
    return numbers.astype(np.uint8 if keep.sum() < 256 else np.int32)[pieces]


def _class_by_code(greys: NDArray[np.uint8]) -> str:
    """The class of most of a cell's pixels, each counted for the class with the nearest grey code."""
    codes = np.array(list(GREY_CODES.values()))  # [K, 2]
    nearest = np.abs(np.arange(256)[:, None, None] - codes).min(axis=2).argmin(axis=1)  # grey -> class
    return list(GREY_CODES)[np.bincount(nearest[greys], minlength=len(codes)).argmax()]


def _open(path: Path | str) -> Image.Image:
    """An 8-bit picture, decoded. Raises DataError."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes); copy it again or take it out")
    try:
        with Image.open(path) as picture:
            # Pillow cuts 16-bit colour to 8 bits in silence; only the decoder's name tells.
            raw = str(picture.tile[0][3]) if picture.tile else ""
            picture.load()
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise DataError(f"{path}: unreadable or cut off ({error}); copy it again or take it out") from error
    if picture.mode in ("I", "F") or re.search(r"\b(I|L|LA|RGB\w?);16", f"{raw} {picture.mode}"):
        raise DataError(f"{path}: more than 8 bits a channel; save it with 8 (0 to 255)")
    return picture
