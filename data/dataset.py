"""Smears in memory: every file read and checked once, then images and targets as a detector takes them.

Targets follow torchvision's detection models. Coordinates are continuous: pixel i covers [i, i + 1).
"""

import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from data.image_files import FieldError, mask_in_place, open_picture
from data.lisc import CLASSES, DataError, Field, Skipped
from data.masks import EIGHT, MAX_AREA, MIN_AREA, class_by_code, contradiction, instances, nuclei

PARTS = ("cell", "nucleus")


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
        Fields that cannot be used are left out and listed in `skipped`: unreadable ones, those without a cell, and, as no
        fault of theirs, those whose cells have no nucleus if that is what is asked for.
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

    def __iter__(self) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image, ids, boxes, labels, *_ = self.samples[index]
        cells = torch.arange(1, len(labels) + 1, dtype=ids.dtype)
        masks = (ids == cells[:, None, None]).to(torch.uint8)  # [N, H, W]
        pixels = image.permute(2, 0, 1).contiguous().float() / 255
        return pixels, {"boxes": boxes.clone(), "labels": labels.clone(), "masks": masks}


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
            pictures.append(open_picture(path))
        except FieldError as error:
            bad += error.skipped
    if bad:
        raise FieldError(*bad)
    image = np.array(pictures[0].convert("RGB"))
    mask = mask_in_place(pictures[1], field.mask, image.shape[:2])
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
    count = int(cells.max())
    fragments = ndimage.label(mask, EIGHT)[1] - count
    names = [field.label or class_by_code(mask[cells == k]) for k in range(1, count + 1)]
    unknown = sorted(set(names) - set(class_names))
    if unknown:
        reason = f"shows a {unknown[0]}, which is not among the classes {', '.join(class_names)}"
        raise FieldError(Skipped(field.image, reason))
    if count and np.bincount(cells.ravel())[1:].max() > MAX_AREA * cells.size:
        raise FieldError(Skipped(field.mask, "a cell as large as the image; is the mask inverted, or white all over?"))
    says_another = contradiction(field.label, mask, cells)
    if part == "nucleus":
        cells = nuclei(mask, cells)
    boxes, labels = [], []
    for name, place in zip(names, ndimage.find_objects(cells, len(names)), strict=True):
        if place is not None:  # a cell without nucleus has none
            rows, columns = place
            boxes.append([columns.start, rows.start, columns.stop, rows.stop])
            labels.append(class_names.index(name) + 1)
    if not boxes:
        raise FieldError(Skipped(field.mask, f"no {part} in this mask", is_fault=not names))
    numbers = np.cumsum(np.bincount(cells.ravel(), minlength=len(names) + 1)[1:] > 0)
    compact = np.uint8 if len(boxes) < 256 else np.int32
    ids = np.concatenate([[0], numbers]).astype(compact)[cells]  # 1..N without gaps
    return Sample(
        torch.from_numpy(image), torch.from_numpy(ids), torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.int64), fragments, says_another,
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
