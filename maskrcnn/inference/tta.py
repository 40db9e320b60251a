"""Prediction on one image, with or without test-time augmentation over the eight symmetries of the square.

Test-time augmentation takes eight times as long and is slightly more accurate.
"""

import torch
from torch import Tensor

from maskrcnn import boxes as box_algebra
from maskrcnn.heads import boxes_around
from maskrcnn.inference.device import autocast
from maskrcnn.model import MaskRCNN

SYMMETRIES = range(8)  # of the square (dihedral group D4): k % 4 quarter turns, for k >= 4 after a horizontal flip
SAME_OBJECT_IOU = 0.5  # boxes of different views that overlap by this much are one object


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


@torch.inference_mode()
def predict(model: MaskRCNN, image: Tensor, precision: str = "auto", tta: bool = False) -> dict[str, Tensor]:
    """One image [3, H, W] -> what `MaskRCNN` returns for it, on the model's device.

    precision: see `autocast`; tta: see `predict_tta`. The model must be in eval mode.
    """
    device = next(model.parameters()).device
    with autocast(device, precision):
        return predict_tta(model, image.to(device)) if tta else model([image.to(device)])[0]


@torch.inference_mode()
def predict_tta(model: MaskRCNN, image: Tensor, score_threshold: float = 0.05) -> dict[str, Tensor]:
    """One image [3, H, W] -> what `MaskRCNN` returns for it, averaged over eight views.

    Detections of different views whose boxes overlap are one object. Its mask is the mean mask of each view's best
    detection, its box their mean weighted by score (with Config.boxes_around_masks, the tightest box around that mask). Each
    object is reported once per class with its mean score over the eight views; a view without that class counts as 0.
    score_threshold: the lowest mean score to report.
    """
    views: dict[str, list[Tensor]] = {"boxes": [], "labels": [], "scores": [], "masks": [], "view": []}
    for symmetry in SYMMETRIES:
        prediction = model([transform(image, symmetry)])[0]
        views["boxes"].append(invert_boxes(prediction["boxes"], symmetry, *image.shape[-2:]))
        views["masks"].append(invert(prediction["masks"], symmetry))
        views["labels"].append(prediction["labels"])
        views["scores"].append(prediction["scores"])
        views["view"].append(torch.full_like(prediction["labels"], symmetry))
    joined = {name: torch.cat(values) for name, values in views.items()}
    objects = merge(joined, model.config.num_classes, score_threshold)
    if model.config.boxes_around_masks:
        objects["boxes"] = boxes_around(objects["masks"], objects["boxes"])
    return objects


def merge(detections: dict[str, Tensor], num_classes: int, score_threshold: float) -> dict[str, Tensor]:
    """The detections of all views -> objects, best first; see `predict_tta`. detections: those of `MaskRCNN`, and the view
    [D] that each comes from."""
    objects = []
    for group in group_by_overlap(detections["boxes"], detections["scores"]):
        of_object = {name: values[group] for name, values in detections.items()}
        scores = _mean_scores(of_object, num_classes)  # [K + 1]
        views = of_object["view"].tolist()
        best = [i for i, view in enumerate(views) if view not in views[:i]]  # of each view; the group is best first
        weight = of_object["scores"][best]
        box = (of_object["boxes"][best] * weight[:, None]).sum(dim=0) / weight.sum()
        mask = of_object["masks"][best].mean(dim=0)
        for label in torch.where(scores >= score_threshold)[0]:
            objects.append({"boxes": box, "labels": label, "scores": scores[label], "masks": mask})
    objects.sort(key=lambda item: -float(item["scores"]))
    names = [name for name in detections if name != "view"]
    return {name: torch.stack([item[name] for item in objects]) if objects else detections[name][:0] for name in names}


def group_by_overlap(boxes: Tensor, scores: Tensor) -> list[Tensor]:
    """Indices of the boxes [N, 4] of each object, best first: the best box left, with all left that overlap it."""
    overlaps = box_algebra.iou(boxes, boxes)
    left = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    groups = []
    for best in scores.argsort(descending=True).tolist():
        if left[best]:
            group = torch.nonzero(left & (overlaps[best] >= SAME_OBJECT_IOU)).flatten()
            left[group] = False
            groups.append(group[scores[group].argsort(descending=True)])
    return groups


def _mean_scores(of_object: dict[str, Tensor], num_classes: int) -> Tensor:
    """[K + 1]: the mean over the views of each view's best score for each class, 0 where it has none."""
    votes = torch.zeros(len(SYMMETRIES), num_classes + 1, device=of_object["scores"].device)
    index = of_object["view"] * (num_classes + 1) + of_object["labels"]
    votes.view(-1).scatter_reduce_(0, index, of_object["scores"], "amax")
    return votes.mean(dim=0)
