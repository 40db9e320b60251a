"""The objects of one image, of any size and number: their masks are cut to their boxes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn.images import Size
from maskrcnn.regions import Patch, Region, intersection
from maskrcnn.rpn.nms import nms

SAME_OBJECT = 0.5  # IoU of boxes, and fraction of the smaller of two masks that lies in the other one


@dataclass(frozen=True, eq=False)
class Objects:
    """D objects, best first: what `MaskRCNN` returns for an image, stored compactly."""

    size: Size  # (height, width) of the image
    boxes: Tensor  # float [D, 4], in pixels of the image
    labels: Tensor  # int64 [D], 1..K
    scores: Tensor  # float [D]
    patches: Sequence[Patch]  # of the D masks
    limited: bool = False  # whether a limit of the model's on their number was reached, so that some may be missing

    @classmethod
    def of_result(cls, result: Mapping[str, Tensor]) -> "Objects":
        """result: boxes [D, 4], labels [D], scores [D], masks [D, 1, H, W], as `MaskRCNN` returns them."""
        masks = result["masks"][:, 0].cpu().numpy()
        boxes, labels, scores = (result[name].cpu() for name in ("boxes", "labels", "scores"))
        height, width = masks.shape[1:]
        return cls((height, width), boxes, labels, scores, [_cut(mask) for mask in masks])

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, which: Tensor | Sequence[int] | Sequence[bool]) -> "Objects":
        """Some of the objects: their indices, or a bool for each."""
        index = torch.as_tensor(which)
        index = torch.nonzero(index).flatten() if index.dtype == torch.bool else index.long()
        patches = [self.patches[i] for i in index.tolist()]
        return replace(
            self, boxes=self.boxes[index], labels=self.labels[index], scores=self.scores[index], patches=patches
        )

    def by_score(self) -> "Objects":
        """The same objects, best first."""
        return self.select(self.scores.argsort(descending=True, stable=True))

    def regions(self, threshold: float = 0.5) -> list[Region | None]:
        """The mask of each object above the threshold; None where it is nowhere above it."""
        return [patch.region(threshold) for patch in self.patches]

    def result(self) -> dict[str, Tensor]:
        """As `MaskRCNN` returns it, with masks [D, 1, H, W], which take as much memory as D images."""
        masks = torch.zeros(len(self), 1, *self.size)
        for mask, patch in zip(masks, self.patches, strict=True):
            mask[0][patch.slices] = torch.from_numpy(patch.values)
        return {"boxes": self.boxes, "labels": self.labels, "scores": self.scores, "masks": masks}

    def moved(self, down: int, right: int, size: Size) -> "Objects":
        """The same objects in an image of another size, of which this one is the part at (down, right)."""
        shift = self.boxes.new_tensor([right, down, right, down])
        return replace(
            self, size=size, boxes=self.boxes + shift, patches=[patch.moved(down, right) for patch in self.patches]
        )


def _cut(mask: NDArray[np.float32]) -> Patch:
    """Of a mask [H, W] what is not 0."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return Patch(0, 0, mask[:0, :0])
    return Patch(int(rows[0]), int(columns[0]), mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy())


def joined(parts: Sequence[Objects], size: Size) -> Objects:
    """All objects of several parts of an image of this size, one part after the other."""
    boxes = torch.cat([torch.zeros(0, 4), *(part.boxes for part in parts)])
    labels = torch.cat([torch.zeros(0, dtype=torch.int64), *(part.labels for part in parts)])
    scores = torch.cat([torch.zeros(0), *(part.scores for part in parts)])
    patches = [patch for part in parts for patch in part.patches]
    return Objects(size, boxes, labels, scores, patches, any(part.limited for part in parts))


def confident_objects(objects: Objects, score_threshold: float, keep_nested: bool = False) -> Objects:
    """The objects to count, see `confident`."""
    return objects.select(confident(objects, score_threshold, keep_nested))


def confident(objects: Objects, score_threshold: float, keep_nested: bool = False) -> list[int]:
    """Indices of the objects with a score of score_threshold or more and a mask that is above 0.5 somewhere, each once.

    The paper suppresses boxes of the same class only, so an object may be reported under several classes, each with its
    score; here the best one suppresses the others, by the IoU of boxes. Then, unless keep_nested, a mask suppresses those of
    lower scores that share more than half of the smaller one's pixels with it: outlines of cells do not cross, so a nucleus
    or half of a cell inside another mask is no second cell, although the IoU of their boxes is small.
    """
    above = torch.nonzero(objects.scores >= score_threshold).flatten()
    once = above[nms(objects.boxes[above], objects.scores[above], SAME_OBJECT)].tolist()
    found = {i: region for i in once if (region := objects.patches[i].region())}
    return list(found) if keep_nested else _not_nested(found)


def _not_nested(regions: Mapping[int, Region]) -> list[int]:
    """Those of some masks, best first, that do not share most of the smaller one's pixels with a better one."""
    boxes = np.array([region.box for region in regions.values()]).reshape(-1, 4)
    areas = [int(region.mask.sum()) for region in regions.values()]
    masks = list(regions.values())
    is_kept = np.zeros(len(masks), bool)
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        left, top, right, bottom = boxes.T
        near = np.flatnonzero(is_kept & (left < x2) & (x1 < right) & (top < y2) & (y1 < bottom)).tolist()
        is_kept[i] = all(intersection(masks[i], masks[k]) <= SAME_OBJECT * min(areas[i], areas[k]) for k in near)
    return [index for index, kept in zip(regions, is_kept, strict=True) if kept]


def equivalent_diameters(objects: Objects) -> list[float]:
    """Of discs with the areas of the masks above 0.5, in pixels of the image."""
    return [math.sqrt(4 * int(region.mask.sum()) / math.pi) if region else 0.0 for region in objects.regions()]


def label_map(objects: Objects, threshold: float = 0.5) -> NDArray[np.int32]:
    """[H, W]: 0 is background, d + 1 the object with the highest probability above the threshold. Unlike masks, the objects
    of a label map do not overlap."""
    labels = np.zeros(objects.size, np.int32)
    best = np.full(objects.size, threshold, np.float32)
    for number, patch in enumerate(objects.patches, start=1):
        is_best = patch.values > best[patch.slices]
        labels[patch.slices][is_best] = number
        best[patch.slices][is_best] = patch.values[is_best]
    return labels
