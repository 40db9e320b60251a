"""Test-time augmentation over the eight symmetries of the square: eight times slower, slightly more accurate."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from maskrcnn import boxes as box_algebra
from maskrcnn.images import Size, image_size
from maskrcnn.inference.objects import SAME_OBJECT, Objects, joined
from maskrcnn.regions import Patch, mean

SYMMETRIES = range(8)  # of the square (dihedral group D4): k % 4 quarter turns, for k >= 4 after a horizontal flip


def transform(image: Tensor, symmetry: int) -> Tensor:
    """[..., H, W], flipped and rotated."""
    return torch.rot90(image.flip(-1) if symmetry >= 4 else image, symmetry % 4, (-2, -1))


def invert(image: Tensor, symmetry: int) -> Tensor:
    """The inverse of `transform`."""
    rotated = torch.rot90(image, -(symmetry % 4), (-2, -1))
    return rotated.flip(-1) if symmetry >= 4 else rotated


def invert_boxes(boxes: Tensor, symmetry: int, height: int, width: int) -> Tensor:
    """Boxes [N, 4] in the transformed image -> in the original one of height x width."""
    h, w = (width, height) if symmetry % 2 else (height, width)  # of the image that the boxes are in
    for _ in range(symmetry % 4):  # a clockwise quarter turn takes (x, y) to (h - y, x)
        boxes, h, w = box_algebra.flip_horizontally(box_algebra.transpose(boxes), h), w, h
    return box_algebra.flip_horizontally(boxes, w) if symmetry >= 4 else boxes


def invert_objects(objects: Objects, symmetry: int) -> Objects:
    """Objects of the transformed image -> of the original one."""
    height, width = objects.size[::-1] if symmetry % 2 else objects.size
    boxes = invert_boxes(objects.boxes, symmetry, height, width)
    patches = [_invert_patch(patch, symmetry, (height, width)) for patch in objects.patches]
    return Objects((height, width), boxes, objects.labels, objects.scores, patches, objects.limited)


def _invert_patch(patch: Patch, symmetry: int, size: Size) -> Patch:
    (top, bottom), (left, right) = ((part.start, part.stop) for part in patch.slices)
    window = invert_boxes(torch.tensor([[left, top, right, bottom]]), symmetry, *size)[0].tolist()
    return Patch(window[1], window[0], invert(torch.from_numpy(patch.values), symmetry).contiguous().numpy())


@torch.inference_mode()
def detect_tta(
    detect: Callable[[Tensor], Objects],
    image: Tensor,
    num_classes: int,
    boxes_around_masks: bool,
    score_threshold: float = 0.05,
) -> Objects:
    """The objects of an image [3, H, W], averaged over eight views of it.

    detect: what finds them in one view. Detections of different views whose boxes overlap are one object. Its mask is the
    mean mask of each view's best detection, its box their mean weighted by score or, with boxes_around_masks, the tightest
    box around that mask. Each object is reported once per class with its mean score over the eight views; a view without
    that class counts as 0. score_threshold: the lowest mean score to report.
    """
    views = [invert_objects(detect(transform(image, symmetry)), symmetry) for symmetry in SYMMETRIES]
    return merge(views, image_size(image), num_classes, score_threshold, boxes_around_masks)


def merge(
    views: Sequence[Objects], size: Size, num_classes: int, score_threshold: float, boxes_around_masks: bool = False
) -> Objects:
    """The detections of all views -> objects, best first; see `detect_tta`."""
    pooled = joined(views, size)
    boxes, labels, scores, patches = pooled.boxes, pooled.labels, pooled.scores, pooled.patches
    view = [number for number, objects in enumerate(views) for _ in range(len(objects))]
    found = list[tuple[Tensor, int, float, Patch]]()
    for group in group_by_overlap(boxes, scores):
        members = group.tolist()
        best = [i for k, i in enumerate(members) if view[i] not in [view[j] for j in members[:k]]]  # of each view
        weight = scores[best]
        patch = mean([patches[i] for i in best])
        region = patch.region() if boxes_around_masks else None
        mean_box = (boxes[best] * weight[:, None]).sum(dim=0) / weight.sum()
        box = boxes.new_tensor(region.box) if region else mean_box
        mean_scores = _mean_scores(torch.tensor([view[i] for i in members]), labels[group], scores[group], num_classes)
        found += [(box, label, float(mean_scores[label]), patch) for label in range(1, num_classes + 1)]
    found = sorted((each for each in found if each[2] >= score_threshold), key=lambda each: -each[2])
    return Objects(
        size,
        torch.stack([box for box, *_ in found]) if found else boxes[:0],
        torch.tensor([label for _, label, _, _ in found], dtype=torch.int64),
        torch.tensor([score for _, _, score, _ in found], dtype=scores.dtype),
        [patch for *_, patch in found],
        pooled.limited,
    )


def group_by_overlap(boxes: Tensor, scores: Tensor) -> list[Tensor]:
    """Indices of the boxes [N, 4] of each object, best first: the best box left, with all left that overlap it."""
    overlaps = box_algebra.iou(boxes, boxes)
    left = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    groups = []
    for best in scores.argsort(descending=True).tolist():
        if left[best]:
            group = torch.nonzero(left & (overlaps[best] >= SAME_OBJECT)).flatten()
            left[group] = False
            groups.append(group[scores[group].argsort(descending=True)])
    return groups


def _mean_scores(view: Tensor, labels: Tensor, scores: Tensor, num_classes: int) -> Tensor:
    """[K + 1]: the mean over the views of each view's best score for each class, 0 where it has none."""
    votes = torch.zeros(len(SYMMETRIES), num_classes + 1)
    votes.view(-1).scatter_reduce_(0, view * (num_classes + 1) + labels, scores, "amax")
    return votes.mean(dim=0)
