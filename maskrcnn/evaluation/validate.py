"""One pass over a labelled data set: the losses, and the average precision of boxes and masks."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from maskrcnn.evaluation.average_precision import APResult, AveragePrecision
from maskrcnn.model import MaskRCNN
from maskrcnn.precision import autocast

MEASURES = {"mask": "mask", "box": "box", "mask_any_class": "any-class mask"}  # keys of a result, and what to call them


@torch.inference_mode()
def validate(
    model: MaskRCNN, samples: Iterable[tuple[Tensor, Mapping[str, Tensor]]], precision: str = "auto"
) -> dict[str, Any]:
    """samples: (image, target) as `MaskRCNN` takes them. The model is left in the mode it was in.

    Returns plain values: "val", the mean of each loss over images; "box" and "mask", the AP, AP50 and AP75 with classes and
    the AP of each class; "mask_any_class", the same as if all classes were one.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    box = AveragePrecision(model.config.class_names, "box")
    mask = AveragePrecision(model.config.class_names, "mask")
    losses: list[dict[str, float]] = []
    # Sampling in the losses draws at random: the same draw each time makes epochs comparable and leaves training alone.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        for image, target in samples:
            image, target = image.to(device), {name: value.to(device) for name, value in target.items()}
            with autocast(device, precision):
                losses.append({k: float(v) for k, v in model.losses([image], [target]).items()})
                prediction = model([image])[0]
            box.update(prediction, target)
            mask.update(prediction, target)
    model.train(was_training)
    if not losses:
        raise ValueError("no images to validate on")
    return {
        "val": {name: sum(line[name] for line in losses) / len(losses) for name in losses[0]},
        "box": _plain(box.compute()),
        "mask": _plain(mask.compute()),
        "mask_any_class": _plain(mask.compute(class_agnostic=True)),
    }


def _plain(result: APResult) -> dict[str, Any]:
    return {"ap": result.ap, "ap50": result.ap50, "ap75": result.ap75, "per_class": dict(result.per_class)}


def score(measured: Mapping[str, Any]) -> float:
    """By what checkpoints are compared: the mean of mask AP with classes, which a few cells of a rare class throw about,
    and without. measured: of `validate`."""
    return float(measured["mask"]["ap"] + measured["mask_any_class"]["ap"]) / 2
