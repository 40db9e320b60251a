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
def detect_all_ways(model: MaskRCNN, image: Tensor, min_score: float = 0.05) -> dict[str, Tensor]:
    """One image [3, H, W] -> what `MaskRCNN` returns for it, agreed on by eight ways to lay it.

    Detections of different ways whose boxes overlap are one object. Its mask is the mean of those of the surest detection
    of each way, its box their mean weighted by score. As the model does, it reports the object under every name for which
    there is a score: the mean over all ways, a way that does not know it by this name counting as 0. min_score: of what is
    reported.
    """
    found: dict[str, list[Tensor]] = {"boxes": [], "labels": [], "scores": [], "masks": [], "way": []}
    for way in range(WAYS):
        prediction = model([lay(image, way)])[0]
        found["boxes"].append(lay_back_boxes(prediction["boxes"], way, *image.shape[-2:]))
        found["masks"].append(lay_back(prediction["masks"], way))
        found["labels"].append(prediction["labels"])
        found["scores"].append(prediction["scores"])
        found["way"].append(torch.full_like(prediction["labels"], way))
    everything = {name: torch.cat(values) for name, values in found.items()}
    return _agree(everything, len(model.config.class_names), min_score)


def _agree(found: dict[str, Tensor], classes: int, min_score: float) -> dict[str, Tensor]:
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
        votes = torch.zeros(WAYS, classes + 1, device=scores.device)
        place = ways * (classes + 1) + found["labels"][group]
        votes.view(-1).scatter_reduce_(0, place, scores[group], "amax")  # a way may find it twice by one name
        first = [i for i, way in enumerate(ways.tolist()) if way not in ways[:i].tolist()]  # the surest of each way
        group = group[first]
        weight = scores[group]
        box = (boxes[group] * weight[:, None]).sum(dim=0) / weight.sum()
        mask = found["masks"][group].mean(dim=0)
        mean = votes.mean(dim=0)
        for label in torch.where(mean >= min_score)[0]:
            objects.append({"boxes": box, "labels": label, "scores": mean[label], "masks": mask})
    objects.sort(key=lambda one: -float(one["scores"]))
    names = [name for name in found if name != "way"]
    return {name: torch.stack([one[name] for one in objects]) if objects else found[name][:0] for name in names}
