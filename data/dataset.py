"""Annotated smears in memory: every file is read and checked once, then served as image and target.

Targets follow torchvision's detection models. Coordinates are continuous: pixel i covers [i, i + 1).
"""

import dataclasses
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

from data.image_io import read_image_and_mask
from data.masks import (
    EIGHT_CONNECTED,
    MAX_AREA,
    MIN_AREA,
    class_conflict,
    class_from_greys,
    label_instances,
    label_nuclei,
)
from data.records import DataError, ImageRecord, RecordError, Skipped
from maskrcnn.config import LISC_CLASSES

COMPARTMENTS = ("whole-cell", "nucleus")


class Sample(NamedTuple):
    """An image and its annotation, stored compactly."""

    image: Tensor  # uint8 [H, W, 3]
    instance_map: Tensor  # [H, W], 0 is background, k the k-th cell; uint8, int32 for more than 255 cells
    boxes: Tensor  # float32 [N, 4]
    labels: Tensor  # int64 [N], 1..K
    fragments: int  # components of the mask that are too small to be a cell
    class_conflict: str = ""  # what the greys of the mask say, if not what the folder says


@dataclasses.dataclass
class SmearDataset(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Annotated images. Item i is (image, target):

    image    float32 [3, H, W] in 0..1
    target   boxes   float32 [N, 4], x1, y1, x2, y2 in pixels; x2 is the last column + 1
             labels  int64 [N] in 1..K, index into class_names plus one; 0 is background
             masks   uint8 [N, H, W]

    skipped: files that `read_dataset` left out.
    """

    records: list[ImageRecord]
    samples: list[Sample]
    class_names: tuple[str, ...]
    skipped: list[Skipped] = dataclasses.field(default_factory=list)

    def subset(self, indices: Sequence[int]) -> "SmearDataset":
        """Some of the images, not read again. `skipped` is empty there."""
        return SmearDataset([self.records[i] for i in indices], [self.samples[i] for i in indices], self.class_names)

    def downscaled(self, sizes: Sequence[tuple[int, int]]) -> "SmearDataset":
        """The same images, each reduced to its size (height, width) if it is larger, which saves time where every access
        would reduce it anyway. Boxes keep their fractions of a pixel."""
        smaller = [_downscale(sample, size) for sample, size in zip(self.samples, sizes, strict=True)]
        return SmearDataset(self.records, smaller, self.class_names)

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image, instance_map, boxes, labels, *_ = self.samples[index]
        numbers = torch.arange(1, len(labels) + 1, dtype=instance_map.dtype)
        masks = (instance_map == numbers[:, None, None]).to(torch.uint8)  # [N, H, W]
        pixels = image.permute(2, 0, 1).contiguous().float() / 255
        return pixels, {"boxes": boxes.clone(), "labels": labels.clone(), "masks": masks}


def read_dataset(
    records: Sequence[ImageRecord],
    class_names: Sequence[str] = LISC_CLASSES,
    min_area: float = MIN_AREA,
    progress: bool = True,
    compartment: str = "whole-cell",
) -> SmearDataset:
    """Read all files at once, so that training never waits for the disk.

    min_area: components of a mask below this fraction of the image are not cells. compartment: "whole-cell", or "nucleus"
    (see `label_nuclei`). Records that cannot be used are left out and listed in `skipped`: unreadable ones, those without
    a cell and, not as an error, those whose cells have no nucleus if nuclei are asked for.
    Raises DataError if no record can be used, ValueError for an unknown compartment.
    """
    if compartment not in COMPARTMENTS:
        raise ValueError(f"compartment {compartment!r} is not known; choose {' or '.join(COMPARTMENTS)}")
    dataset = SmearDataset([], [], tuple(class_names))
    for record in tqdm(records, "reading", unit="image", disable=None if progress else True, leave=False):
        try:
            sample = read_sample(record, class_names, min_area, compartment)
        except RecordError as error:
            dataset.skipped += error.skipped
            continue
        dataset.records.append(record)
        dataset.samples.append(sample)
    if records and not dataset.records:
        raise DataError("\n  ".join([f"none of {len(records)} images can be used:", *map(str, dataset.skipped)]))
    return dataset


def read_sample(
    record: ImageRecord,
    class_names: Sequence[str] = LISC_CLASSES,
    min_area: float = MIN_AREA,
    compartment: str = "whole-cell",
) -> Sample:
    """Read one record. Raises RecordError, also if its mask has no cell."""
    image, mask = read_image_and_mask(record)
    return make_sample(image, mask, record, class_names, min_area, compartment)


def make_sample(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    record: ImageRecord,
    class_names: Sequence[str] = LISC_CLASSES,
    min_area: float = MIN_AREA,
    compartment: str = "whole-cell",
) -> Sample:
    """From the pixels [H, W, 3] and mask greys [H, W] of an annotated record. Raises RecordError if there is no cell."""
    assert record.mask is not None
    cells = label_instances(mask, min_area)
    count = int(cells.max())
    fragments = ndimage.label(mask, EIGHT_CONNECTED)[1] - count
    names = [record.label or class_from_greys(mask[cells == k]) for k in range(1, count + 1)]
    _check_cells(cells, names, class_names, record)
    conflict = class_conflict(record.label, mask, cells)
    if compartment == "nucleus":
        cells = label_nuclei(mask, cells)
    boxes, labels = [], []
    for name, slices in zip(names, ndimage.find_objects(cells, len(names)), strict=True):
        if slices is not None:  # None for a cell without a nucleus
            rows, columns = slices
            boxes.append([columns.start, rows.start, columns.stop, rows.stop])
            labels.append(class_names.index(name) + 1)
    if not boxes:
        what = "cell" if compartment == "whole-cell" else compartment
        raise RecordError(Skipped(record.mask, f"no {what} in this mask", is_error=not names))
    instance_map = _renumber(cells, len(names), len(boxes))
    return Sample(
        image=torch.from_numpy(image),
        instance_map=torch.from_numpy(instance_map),
        boxes=torch.tensor(boxes, dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.int64),
        fragments=fragments,
        class_conflict=conflict,
    )


def _check_cells(
    cells: NDArray[np.int32], names: Sequence[str], class_names: Sequence[str], record: ImageRecord
) -> None:
    """Raise RecordError for a class that is not among class_names, and for a cell as large as the image."""
    assert record.mask is not None
    unknown = sorted(set(names) - set(class_names))
    if unknown:
        reason = f"shows a {unknown[0]}, which is not among the classes {', '.join(class_names)}"
        raise RecordError(Skipped(record.image, reason))
    if names and np.bincount(cells.ravel())[1:].max() > MAX_AREA * cells.size:
        reason = "a cell as large as the image; is the mask inverted, or white all over?"
        raise RecordError(Skipped(record.mask, reason))


def _renumber(cells: NDArray[np.int32], count: int, left: int) -> NDArray[np.uint8] | NDArray[np.int32]:
    """Numbers 1..left without gaps, in place of 1..count of which some may not occur."""
    occurs = np.bincount(cells.ravel(), minlength=count + 1)[1:] > 0
    numbers = np.concatenate([[0], np.cumsum(occurs)])
    renumbered: NDArray[np.uint8] | NDArray[np.int32] = numbers.astype(np.uint8 if left < 256 else np.int32)[cells]
    return renumbered


def _downscale(sample: Sample, size: tuple[int, int]) -> Sample:
    height, width = sample.instance_map.shape
    if height <= size[0] or width <= size[1]:
        return sample
    # Pillow, not images.resize: it averages 8-bit pixels in integers, and a data set is stored in 8 bits.
    image = Image.fromarray(sample.image.numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
    rows, columns = (  # the nearest pixel to the centre of each new one
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, (height, width), strict=True)
    )
    instance_map = sample.instance_map[rows[:, None], columns]
    boxes = sample.boxes * torch.tensor([size[1] / width, size[0] / height]).repeat(2)
    return sample._replace(image=torch.from_numpy(np.array(image)), instance_map=instance_map, boxes=boxes)
