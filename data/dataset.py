"""Smears in memory: every file read and checked once, then images and targets as a detector takes them.

Targets follow torchvision's detection models. Coordinates are continuous: pixel i covers [i, i + 1).
"""

import copy
import re
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

from data.lisc import CLASSES, GREY_CODES, MASK_MARGIN, DataError, Field, Skipped

# A cell is 50 pixels across or more in a field of 720 x 576, at least 0.47 % of it. What is below a tenth of that, or is
# tiny beside the largest cell of its own mask, is a slip of the annotator's pen (LISC lymphocytes 3, 9, 10).
MIN_AREA = 0.0005  # of the image
MIN_AREA_OF_LARGEST = 0.05  # of the largest component in the mask

# JPEG surrounds the cells with faint grey. Half of the lowest code tells it from a cell.
JPEG_NOISE = 25

PARTS = ("cell", "nucleus")
MIN_CONTRAST = 15  # greys between cytoplasm and nucleus; LISC's codes are 25 or more apart
EIGHT = np.ones((3, 3))  # a pixel's neighbours, diagonals included


class Sample(NamedTuple):
    """What is kept of a field, compactly."""

    image: Tensor  # uint8 [H, W, 3]
    ids: Tensor  # [H, W], 0 is background, k the k-th cell; uint8, int32 for more than 255 cells
    boxes: Tensor  # float32 [N, 4]
    labels: Tensor  # int64 [N], 1..K
    fragments: int  # pieces of the mask too small to be a cell
    contradiction: str = ""  # what its greys say, if that is not what its folder says


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
        part: str = "cell",
    ) -> None:
        """Reads all files at once, so that training never waits for the disk.

        min_area: the share of the image below which a separate piece of a mask is not counted as a cell.
        part: "cell", all of it; or "nucleus", what the mask's brighter grey marks in a cell (see `nuclei`).
        Fields that cannot be used are left out and listed in `skipped`: unreadable ones, those without a cell.
        Raises DataError if none is left.
        """
        if part not in PARTS:
            raise ValueError(f"part {part!r} is not known; choose {' or '.join(PARTS)}")
        self.fields: list[Field] = []
        self.skipped: list[Skipped] = []
        self.samples: list[Sample] = []
        self.class_names = tuple(class_names)
        for field in tqdm(fields, "reading", unit="image", disable=not progress, leave=False):
            try:
                sample = read_sample(field, class_names, min_area, part)
            except FieldError as error:
                self.skipped += error.skipped
                continue
            self.fields.append(field)
            self.samples.append(sample)
        if fields and not self.fields:
            raise DataError("\n  ".join([f"none of {len(fields)} fields can be used:", *map(str, self.skipped)]))

    @classmethod
    def of(cls, fields: Sequence[Field], samples: Sequence[Sample], class_names: Sequence[str]) -> "SmearDataset":
        """Of fields that are in memory already."""
        made = cls((), class_names, progress=False)
        made.fields, made.samples = list(fields), list(samples)
        return made

    def subset(self, indices: Sequence[int]) -> "SmearDataset":
        """Some of the fields, not read again. `skipped` is empty there."""
        chosen = copy.copy(self)
        chosen.fields = [self.fields[i] for i in indices]
        chosen.samples = [self.samples[i] for i in indices]
        chosen.skipped = []
        return chosen

    def shrunk(self, sizes: Sequence[tuple[int, int]]) -> "SmearDataset":
        """The same fields, each no larger than its size (height, width), to which it is scaled if it is: what is made
        smaller at every look anyway is cheaper to start from. Boxes keep their fractions of a pixel."""
        smaller = [_shrink(sample, size) for sample, size in zip(self.samples, sizes, strict=True)]
        return SmearDataset.of(self.fields, smaller, self.class_names)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image, ids, boxes, labels, *_ = self.samples[index]
        cells = torch.arange(1, len(labels) + 1, dtype=ids.dtype)
        masks = (ids == cells[:, None, None]).to(torch.uint8)  # [N, H, W]
        pixels = image.permute(2, 0, 1).contiguous().float() / 255
        return pixels, {"boxes": boxes.clone(), "labels": labels.clone(), "masks": masks}


class FieldError(DataError):
    """A field cannot be used: `skipped` names the files at fault."""

    def __init__(self, *skipped: Skipped) -> None:
        super().__init__("\n".join(map(str, skipped)))
        self.skipped = skipped


def read_sample(
    field: Field, class_names: Sequence[str] = CLASSES, min_area: float = MIN_AREA, part: str = "cell"
) -> Sample:
    """Read one field. Raises FieldError, also if its mask holds no cell."""
    if field.mask is None:
        raise FieldError(Skipped(field.image, "has no mask; only annotated images can be trained or evaluated on"))
    pictures: list[Image.Image] = []
    bad: list[Skipped] = []
    for path in (field.image, field.mask):
        try:
            pictures.append(_open(path))
        except FieldError as error:
            bad += error.skipped
    if bad:
        raise FieldError(*bad)
    image = np.array(pictures[0].convert("RGB"))
    mask = _mask_in_place(pictures[1], field.mask, image.shape[:2])
    return make_sample(image, mask, field, class_names, min_area, part)


def make_sample(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    field: Field,
    class_names: Sequence[str] = CLASSES,
    min_area: float = MIN_AREA,
    part: str = "cell",
) -> Sample:
    """From the pixels [H, W, 3] and greys [H, W] of a field that has a mask. Raises FieldError if it holds no cell."""
    assert field.mask is not None
    cells = instances(mask, min_area)
    fragments = ndimage.label(mask, EIGHT)[1] - cells.max()
    names = [field.label or _class_by_code(mask[cells == k]) for k in range(1, cells.max() + 1)]
    unknown = sorted(set(names) - set(class_names))
    if unknown:
        reason = f"shows a {unknown[0]}, which is not among the classes {', '.join(class_names)}"
        raise FieldError(Skipped(field.image, reason))
    contradiction = _contradiction(
        field.label, [_class_by_exact_code(mask[cells == k]) for k in range(1, len(names) + 1)]
    )
    if part == "nucleus":
        cells = nuclei(mask, cells)
    boxes, labels = [], []
    for name, place in zip(names, ndimage.find_objects(cells, len(names)), strict=True):
        if place is not None:  # a cell without nucleus has none
            rows, columns = place
            boxes.append([columns.start, rows.start, columns.stop, rows.stop])
            labels.append(class_names.index(name) + 1)
    if not boxes:
        raise FieldError(Skipped(field.mask, f"no {part} in this mask"))
    numbers = np.cumsum(np.bincount(cells.ravel(), minlength=len(names) + 1)[1:] > 0)
    cells = np.concatenate([[0], numbers]).astype(cells.dtype)[cells]  # 1..N without gaps
    return Sample(
        torch.from_numpy(image), torch.from_numpy(cells), torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.int64), int(fragments), contradiction,
    )  # fmt: skip


def _shrink(sample: Sample, size: tuple[int, int]) -> Sample:
    height, width = sample.ids.shape
    if height <= size[0] or width <= size[1]:
        return sample
    image = Image.fromarray(sample.image.numpy()).resize(size[::-1], Image.Resampling.BILINEAR)  # means of all pixels
    rows, columns = (  # the nearest pixel to the middle of each new one
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, (height, width), strict=True)
    )
    ids = sample.ids[rows[:, None], columns]
    boxes = sample.boxes * torch.tensor([size[1] / width, size[0] / height]).repeat(2)
    return sample._replace(image=torch.from_numpy(np.array(image)), ids=ids, boxes=boxes)


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
        reason = (
            f"the mask is {mask.shape[1]} x {mask.shape[0]}, its image {size[1]} x {size[0]}; they must be of one size, "
            f"or the mask {2 * MASK_MARGIN} smaller both ways as in LISC"
        )
        raise FieldError(Skipped(path, reason))
    return mask


def instances(
    mask: NDArray[np.uint8], min_area: float = MIN_AREA, min_area_of_largest: float = MIN_AREA_OF_LARGEST
) -> NDArray[np.integer]:
    """Number the cells of a mask: connected pieces, diagonals included, of whatever grey but 0.

    Pieces smaller than `min_area` of the image or `min_area_of_largest` of the largest piece are dropped.
    [H, W] -> [H, W] with 0 for background, and 1..N from top to bottom; uint8, int32 for N > 255.
    """
    pieces, _ = ndimage.label(mask, structure=EIGHT)
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    keep = areas >= max(1.0, min_area * mask.size, min_area_of_largest * areas.max())
    numbers = np.where(keep, np.cumsum(keep), 0)
    return numbers.astype(np.uint8 if keep.sum() < 256 else np.int32)[pieces]


def nuclei(mask: NDArray[np.uint8], cells: NDArray[np.integer]) -> NDArray[np.integer]:
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


def _class_by_code(greys: NDArray[np.uint8]) -> str:
    """The class of most of a cell's pixels, each counted for the class with the nearest grey code."""
    codes = np.array(list(GREY_CODES.values()))  # [K, 2]
    nearest = np.abs(np.arange(256)[:, None, None] - codes).min(axis=2).argmin(axis=1)  # grey -> class
    return list(GREY_CODES)[np.bincount(nearest[greys], minlength=len(codes)).argmax()]


def _class_by_exact_code(greys: NDArray[np.uint8]) -> str | None:
    """The class that has all of a cell's greys among its codes; None if there is no such, or more than one."""
    there = set(np.unique(greys).tolist())
    named = [name for name, codes in GREY_CODES.items() if there <= set(codes)]
    return named[0] if len(named) == 1 else None


def _contradiction(label: str | None, by_code: Sequence[str | None]) -> str:
    others = sorted({name for name in by_code if name not in (None, label)} if label else set())
    return f"the greys of its mask are those of a cell of another class ({', '.join(others)})" if others else ""


def _open(path: Path | str) -> Image.Image:
    """An 8-bit picture, decoded. Raises DataError."""
    path = Path(path)
    if not path.is_file():
        raise FieldError(Skipped(path, "no such file"))
    if path.stat().st_size == 0:
        raise FieldError(Skipped(path, "the file is empty (0 bytes); copy it again or take it out"))
    try:
        with Image.open(path) as picture:
            # Pillow cuts 16-bit colour to 8 bits in silence; only the decoder's name tells.
            raw = str(picture.tile[0][3]) if picture.tile else ""
            picture.load()
    except Image.DecompressionBombError as error:
        raise FieldError(Skipped(path, f"too large to be a field of view ({error}); cut it into fields")) from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise FieldError(Skipped(path, f"unreadable or cut off ({error}); copy it again or take it out")) from error
    if picture.mode in ("I", "F") or re.search(r"\b(I|L|LA|RGB\w?);16", f"{raw} {picture.mode}"):
        raise FieldError(Skipped(path, "more than 8 bits a channel; save it with 8 (0 to 255)"))
    return picture
