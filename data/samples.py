"""One annotated image in memory: its pixels, the mask, box and label of each cell."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from data.image_io import Annotated
from data.mask_kinds import CODES
from data.mask_values import MaskValues
from data.masks import Cell, cells_of_mask
from data.records import ImageRecord, RecordError, Skipped
from maskrcnn.config import LISC_CLASSES
from maskrcnn.images import Size
from maskrcnn.regions import Region, downscale_region

MAX_AREA = 0.8  # fraction of the image: no cell is so large, so the mask is inverted or white all over
# A component of a mask is a stray fragment of the annotation, as in LISC's lymphocytes 3, 9 and 10, if it is tiny beside the
# cells of its image, and also beside those of its class in the data set.
FRAGMENT = 0.05  # of the smaller one of the typical areas
MIN_FRAGMENT = 0.005  # of the typical area in the data set, whatever is in the image


class Sample(NamedTuple):
    """An image and its annotation, stored compactly."""

    image: Tensor  # uint8 [H, W, 3]
    regions: list[Region]  # of the N cells
    boxes: Tensor  # float32 [N, 4]
    labels: Tensor  # int64 [N], 1..K
    fragments: int = 0  # parts of the mask that are too small to be a cell, left out
    vanished: int = 0  # regions of which no pixel is left at this size, left out
    class_conflict: str = ""  # what the greys of the mask say, if not what the folder says
    file_size: Size | None = None  # height and width of its file, if the image is reduced
    fingerprint: str = ""  # a hash of the pixels of its file, the same wherever that is and whatever the scale

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def annotation(self) -> str:
        """A hash of the labels and masks."""
        digest = hashlib.sha256(repr((self.size, self.labels.tolist())).encode())
        for region in self.regions:
            digest.update(repr((region.box, np.packbits(region.mask).tobytes())).encode())
        return digest.hexdigest()[:16]

    @property
    def scale(self) -> float:
        """Of the size of its file."""
        return self.size[0] / (self.file_size or self.size)[0]


def make_sample(
    annotated: Annotated,
    record: ImageRecord,
    class_names: Sequence[str] = LISC_CLASSES,
    compartment: str = "whole-cell",
    pixels: bool = True,
) -> Sample:
    """pixels: see `read_dataset`. Raises RecordError for a class that is not among class_names, for a cell as large as the
    image, and if no cell has the compartment."""
    image, cells = annotated.image, annotated.cells
    names = [cell.label or "" for cell in cells]
    unknown = sorted(set(names) - set(class_names))
    if unknown:
        reason = f"shows a {unknown[0]}, which is not among the classes {', '.join(class_names)}"
        raise RecordError(Skipped(record.image, reason))
    if max((int(cell.region.mask.sum()) for cell in cells), default=0) > MAX_AREA * image[..., 0].size:
        reason = "a cell as large as the image; is the annotation inverted, or the background of the mask not 0?"
        raise RecordError(Skipped(record.annotation, reason))
    regions = [_nucleus(cell) if compartment == "nucleus" else cell.region for cell in cells]
    kept = [(region, class_names.index(name) + 1) for region, name in zip(regions, names, strict=True) if region]
    if cells and not kept:
        raise RecordError(Skipped(record.annotation, f"no {compartment} in this mask", is_error=False))
    return Sample(
        image=torch.from_numpy(image) if pixels else torch.zeros(1, dtype=torch.uint8).expand(image.shape),
        regions=[region for region, _ in kept],
        boxes=torch.tensor([region.box for region, _ in kept], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([label for _, label in kept], dtype=torch.int64),
        class_conflict=class_conflict(cells, class_names),
        fingerprint=hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()[:16],
    )


def _nucleus(cell: Cell) -> Region | None:
    """That of a fragment is a fragment, too."""
    return cell.nucleus and cell.nucleus._replace(is_component=cell.region.is_component)


def cells_of_codes(mask: NDArray[np.uint8]) -> list[Cell]:
    """The cells of a mask [H, W] of LISC's grey codes, as synthetic smears have it."""
    return cells_of_mask(MaskValues(mask.astype(np.int64), "greys"), CODES, False, LISC_CLASSES).cells


def class_conflict(cells: Sequence[Cell], class_names: Sequence[str]) -> str:
    """A message if the greys of a cell are exactly those of another class of the data set than its mask's folder says;
    else ""."""
    greys = {cell.grey_label for cell in cells if cell.grey_label and cell.grey_label in class_names}
    others = sorted(greys - {cell.label for cell in cells})
    return f"the greys of its mask are those of a cell of another class ({', '.join(others)})" if others else ""


def without_fragments(samples: Sequence[Sample]) -> list[Sample]:
    """The samples without the connected components of masks that are too small to be a cell, which they count."""
    areas = [np.array([region.mask.sum() for region in sample.regions]) / sample.scale**2 for sample in samples]
    labels = [sample.labels.numpy() for sample in samples]
    of_dataset = typical_areas(np.concatenate([np.zeros(0), *areas]), np.concatenate([np.zeros(0, int), *labels]))
    cleaned = []
    for sample, area, label in zip(samples, areas, labels, strict=True):
        of_class = np.array([of_dataset[k] for k in label.tolist()])
        of_image = typical_area(area) if len(area) else 0.0
        limit = np.maximum(MIN_FRAGMENT * of_class, FRAGMENT * np.minimum(of_image, of_class))
        is_component = np.array([region.is_component for region in sample.regions], bool)
        keep = np.flatnonzero((area >= limit) | ~is_component)
        cleaned.append(_only(sample, keep)._replace(fragments=len(area) - len(keep)))
    return cleaned


def _only(sample: Sample, kept: NDArray[np.int64]) -> Sample:
    """The sample with some of its regions."""
    indices = torch.from_numpy(kept)
    regions = [sample.regions[i] for i in kept]
    return sample._replace(regions=regions, boxes=sample.boxes[indices], labels=sample.labels[indices])


def typical_areas(areas: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[int, float]:
    """The typical area of the cells of each label. Platelets are no fragments of leukocytes."""
    return {label: typical_area(areas[labels == label]) for label in np.unique(labels).tolist()}


def typical_area(areas: NDArray[np.float64]) -> float:
    """The area that half of all covered pixels belong to a larger or equal part than: many fragments hardly change it."""
    falling = np.sort(areas)[::-1]
    return float(falling[np.searchsorted(np.cumsum(falling), falling.sum() / 2)])


def within(sample: Sample, max_side: int | None) -> Sample:
    """A sample whose shorter side is at most max_side."""
    scale = (max_side or np.inf) / min(sample.size)
    return downscale(sample, (round(sample.size[0] * scale), round(sample.size[1] * scale))) if scale < 1 else sample


def downscale(sample: Sample, size: Size) -> Sample:
    """A sample reduced to (height, width) if it is larger both ways."""
    height, width = sample.size
    if height <= size[0] or width <= size[1]:
        return sample
    # Pillow, not images.resize: it averages 8-bit pixels in integers, and a data set is stored in 8 bits.
    image = Image.fromarray(sample.image.numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
    rows, columns = (  # the nearest pixel to the centre of each new one
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, (height, width), strict=True)
    )
    factors = torch.tensor([size[1] / width, size[0] / height]).repeat(2)
    regions = [downscale_region(region, rows, columns) for region in sample.regions]
    left = _only(sample, np.flatnonzero([region is not None for region in regions]))
    return left._replace(
        image=torch.from_numpy(np.array(image)),
        regions=[region for region in regions if region],
        boxes=left.boxes * factors,
        vanished=sample.vanished + len(regions) - len(left.regions),
        file_size=sample.file_size or sample.size,
    )
