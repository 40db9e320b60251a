"""Annotated smears in memory: every file is read and checked once, then served as image and target.

Targets follow torchvision's detection models. Coordinates are continuous: pixel i covers [i, i + 1).
"""

import dataclasses
import os
import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from data.image_io import read_annotated
from data.mask_kinds import MaskMeaning, kind_of_dataset
from data.mask_values import read_mask_values
from data.records import DataError, ImageRecord, RecordError, Skipped
from data.samples import Sample, downscale, make_sample, within, without_fragments
from maskrcnn.config import LISC_CLASSES
from maskrcnn.images import Size
from maskrcnn.inference.image_io import readable
from maskrcnn.regions import paste_regions

COMPARTMENTS = ("whole-cell", "nucleus")
MASKS_TO_LOOK_AT = 60  # to decide what the masks of a data set mean
_Read = tuple[Sample, list[str], list[str]]  # with the kinds of its masks, and remarks
READERS = min(4, os.cpu_count() or 1)  # threads
SHOWN = 5  # files that are left out for one reason


@dataclasses.dataclass
class SmearDataset(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Annotated images. Item i is (image, target):

    image    float32 [3, H, W] in 0..1
    target   boxes   float32 [N, 4], x1, y1, x2, y2 in pixels; x2 is the last column + 1
             labels  int64 [N] in 1..K, index into class_names plus one; 0 is background
             masks   uint8 [N, H, W]

    skipped: files that `read_dataset` left out. remarks: what it mended in files. mask_kinds: how many masks are of which
    kind.
    """

    records: list[ImageRecord]
    samples: list[Sample]
    class_names: tuple[str, ...]
    skipped: list[Skipped] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)
    mask_kinds: Counter[str] = dataclasses.field(default_factory=Counter)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by value, also for a worker process: shared one by one, tensors of many images use up file handles."""
        fields = tuple(getattr(self, field.name) for field in dataclasses.fields(self))
        return _unpickle, (pickle.dumps(fields),)

    def subset(self, indices: Sequence[int]) -> "SmearDataset":
        """Some of the images, not read again. `skipped` and `remarks` are empty there."""
        return SmearDataset([self.records[i] for i in indices], [self.samples[i] for i in indices], self.class_names)

    def downscaled(self, sizes: Sequence[Size]) -> "SmearDataset":
        """The same images, each reduced to its size (height, width) if it is larger, which saves time where every access
        would reduce it anyway. Boxes keep their fractions of a pixel."""
        smaller = [downscale(sample, size) for sample, size in zip(self.samples, sizes, strict=True)]
        return SmearDataset(self.records, smaller, self.class_names)

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        sample = self.samples[index]
        masks = torch.from_numpy(paste_regions(sample.regions, sample.size))  # [N, H, W]
        pixels = sample.image.permute(2, 0, 1).contiguous().float() / 255
        return pixels, {"boxes": sample.boxes.clone(), "labels": sample.labels.clone(), "masks": masks}


def _unpickle(pickled: bytes) -> SmearDataset:
    return SmearDataset(*pickle.loads(pickled))


def read_dataset(
    records: Sequence[ImageRecord],
    class_names: Sequence[str] = LISC_CLASSES,
    progress: bool = True,
    compartment: str = "whole-cell",
    meaning: MaskMeaning | None = None,
    max_side: int | None = None,
    keep_empty: bool = True,
    pixels: bool = True,
) -> SmearDataset:
    """Read all files at once, so that training never waits for the disk.

    compartment: "whole-cell", or "nucleus" (the pixels that masks mark as such). meaning: of the masks' numbers; None: it is
    decided from some of the masks. max_side: larger images are reduced so that their shorter side is that. keep_empty:
    whether an image without a cell is one to train on; in LISC an empty mask is a slip. pixels: whether to keep those of the
    images, which else are black. Records that cannot be used are in `skipped`; without the compartment not as an error.
    Raises DataError if no record can be used, ValueError for an unknown compartment.
    """
    if compartment not in COMPARTMENTS:
        raise ValueError(f"compartment {compartment!r} is not known; choose {' or '.join(COMPARTMENTS)}")
    dataset = SmearDataset([], [], tuple(class_names))
    meaning = meaning or MaskMeaning(look_at_masks(records), tuple(class_names))

    def read(record: ImageRecord) -> _Read | RecordError:
        try:
            annotated = read_annotated(record, meaning, keep_empty)
            sample = make_sample(annotated, record, class_names, compartment, pixels)
        except RecordError as error:
            return error
        return within(sample, max_side), annotated.kinds, annotated.remarks

    _add(dataset, records, _in_threads(read, records, progress))
    _drop_fragments(dataset)
    if records and not dataset.records:
        raise DataError("\n  ".join([f"none of {len(records)} images can be used:", *listed(dataset.skipped)]))
    return dataset


def _add(dataset: SmearDataset, records: Sequence[ImageRecord], found: Iterable[_Read | RecordError]) -> None:
    """Add what was read of the records, what was left out, and remarks."""
    remarks: list[tuple[str, ImageRecord]] = []
    for record, each in zip(records, found, strict=True):
        if isinstance(each, RecordError):
            dataset.skipped += each.skipped
            continue
        sample, kinds, remarked = each
        dataset.records.append(record)
        dataset.samples.append(sample)
        dataset.mask_kinds.update(kinds)
        remarks += [(remark, record) for remark in dict.fromkeys(remarked)]
    dataset.remarks = _once_each(remarks)


def _in_threads(
    read: Callable[[ImageRecord], _Read | RecordError], records: Sequence[ImageRecord], progress: bool
) -> Iterator[_Read | RecordError]:
    """What `read` returns for each record, in order. Decoding and array operations let other threads run; each of these has
    one image at full size in memory."""
    with ThreadPoolExecutor(READERS) as pool:
        yield from tqdm(
            pool.map(read, records),
            "reading",
            len(records),
            unit="image",
            disable=None if progress else True,
            leave=False,
        )


def _drop_fragments(dataset: SmearDataset) -> None:
    """Leave out the parts of masks that are too small to be a cell, and images of which nothing is left: they show cells,
    and would be trained on as if they showed none."""
    records, samples = dataset.records, without_fragments(dataset.samples)
    dataset.records, dataset.samples = [], []
    for record, sample in zip(records, samples, strict=True):
        if sample.regions or not (sample.fragments or sample.vanished):
            dataset.records.append(record)
            dataset.samples.append(sample)
            continue
        if sample.vanished:
            height, width = sample.size
            reason = f"no cell of it is left in an image of {width} x {height} pixels; cut the image into smaller ones"
        else:
            reason = "every part of it is too small to be a cell; is it the annotation of this image?"
        dataset.skipped.append(Skipped(record.annotation, reason, is_error=not sample.vanished))


def listed(skipped: Iterable[Skipped]) -> list[str]:
    """A line for each file that is left out, but of many with the same reason only for the first ones. Reasons are the same
    if they differ in numbers and in names of files alone."""
    alike: dict[str, list[Skipped]] = {}
    for item in skipped:
        alike.setdefault(re.sub(r"\S*[\d./\\]\S*", "", item.reason), []).append(item)
    lines = []
    for items in alike.values():
        lines += [str(item) for item in items[:SHOWN]]
        lines += [f"... and {len(items) - SHOWN} more like these"] if len(items) > SHOWN else []
    return lines


def _once_each(remarks: Sequence[tuple[str, ImageRecord]]) -> list[str]:
    """Each remark once, with the first of the files that it is about, and their number."""
    counts = Counter(remark for remark, _ in remarks)
    first = dict(reversed(remarks))
    others = {remark: f" (and {count - 1} more)" if count > 1 else "" for remark, count in counts.items()}
    return [readable(f"{first[remark].annotation}{others[remark]}: {remark}") for remark in counts]


def look_at_masks(records: Sequence[ImageRecord]) -> str:
    """The kind of a data set's masks, from some of them that are spread evenly over it."""
    files = [file for record in records for file in record.masks]
    chosen = np.unique(np.linspace(0, max(len(files) - 1, 0), min(MASKS_TO_LOOK_AT, len(files))).astype(int))
    found = []
    for i in chosen:
        try:
            found.append(read_mask_values(files[i].path))
        except RecordError:
            continue  # it is named when its record is read
    return kind_of_dataset(found)
