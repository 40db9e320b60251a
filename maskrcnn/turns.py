"""Test-time augmentation: detection in all eight ways that an image can lie, and what they agree on. Slower, and a little
better than one way."""

import torch
from torch import Tensor

from maskrcnn.boxes import iou
from maskrcnn.model import MaskRCNN
from maskrcnn.precision import autocast

WAYS = 8  # four quarter turns, mirrored or not
SAME_IOU = 0.5  # boxes of two ways that overlap so much are one object


def lay(image: Tensor, way: int) -> Tensor:
    """[..., H, W] turned by way % 4 quarters, mirrored before if way is 4 or more."""
    return torch.rot90(image.flip(-1) if way >= 4 else image, way % 4, (-2, -1))


def lay_back(image: Tensor, way: int) -> Tensor:
    """The inverse of `lay`."""
    turned = torch.rot90(image, -(way % 4), (-2, -1))
    return turned.flip(-1) if way >= 4 else turned


def lay_back_boxes(boxes: Tensor, way: int, height: int, width: int) -> Tensor:
    """Boxes [N, 4] in the image that `lay` made from one of height x width -> in that one."""
    h, w = (width, height) if way % 2 else (height, width)  # of the image that the boxes are in
    for _ in range(way % 4):  # a quarter turn back, clockwise: (x, y) -> (h - y, x)
        x1, y1, x2, y2 = boxes.unbind(1)
        boxes, h, w = torch.stack([h - y2, x1, h - y1, x2], dim=1), w, h
    if way >= 4:
        x1, y1, x2, y2 = boxes.unbind(1)
        boxes = torch.stack([w - x2, y1, w - x1, y2], dim=1)
    return boxes


@torch.inference_mode()
def detect(model: MaskRCNN, image: Tensor, precision: str, turns: bool) -> dict[str, Tensor]:
    """One image [3, H, W], in the way it lies or (turns) in all eight -> what `MaskRCNN` returns for it, on its device.

    precision: as `autocast` takes it. The model must be in eval mode.
    """
    device = next(model.parameters()).device
    with autocast(device, precision):
        return detect_all_ways(model, image.to(device)) if turns else model([image.to(device)])[0]


@torch.inference_mode()
def detect_all_ways(model: MaskRCNN, image: Tensor, min_score: float = 0.1) -> dict[str, Tensor]:
    """One image [3, H, W] -> what `MaskRCNN` returns for it, agreed on by eight ways to lay it.

    Detections of different ways whose boxes overlap are one object: its mask is the mean of theirs, its box the mean
    weighted by score, its class the one with the highest sum of scores, and its score the mean of that class's over all
    ways, a way that does not see it, or takes it for another, counting as 0. min_score: of a single way's detections.
    """
    found: dict[str, list[Tensor]] = {"boxes": [], "labels": [], "scores": [], "masks": [], "way": []}
    for way in range(WAYS):
        prediction = model([lay(image, way)])[0]
        keep = prediction["scores"] >= min_score
        found["boxes"].append(lay_back_boxes(prediction["boxes"][keep], way, *image.shape[-2:]))
        found["masks"].append(lay_back(prediction["masks"][keep], way))
        found["labels"].append(prediction["labels"][keep])
        found["scores"].append(prediction["scores"][keep])
        found["way"].append(torch.full_like(prediction["labels"][keep], way))
    return _agree({name: torch.cat(values) for name, values in found.items()}, len(model.config.class_names))


def _agree(found: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
    boxes, scores = found["boxes"], found["scores"]
    overlaps = iou(boxes, boxes)
    left = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    objects = []
    for best in scores.argsort(descending=True).tolist():
        if not left[best]:
            continue
        group = torch.nonzero(left & (overlaps[best] >= SAME_IOU)).flatten()
        left[group] = False
        group = group[scores[group].argsort(descending=True)]
        ways = found["way"][group]
        first = [i for i, way in enumerate(ways.tolist()) if way not in ways[:i].tolist()]  # the best of each way
        group = group[first]
        weight = scores[group]
        votes = torch.zeros(classes + 1, device=scores.device).index_add_(0, found["labels"][group], weight)
        objects.append({
            "boxes": (boxes[group] * weight[:, None]).sum(dim=0) / weight.sum(),
            "labels": votes.argmax(),
            "scores": votes.max() / WAYS,
            "masks": found["masks"][group].mean(dim=0),
        })  # fmt: skip
    objects.sort(key=lambda one: -float(one["scores"]))
    return {
        name: torch.stack([one[name] for one in objects]) if objects else found[name] for name in found if name != "way"
    }
