"""Validation during training: the losses, and the average precision of boxes and masks, in one pass over the images."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from maskrcnn.evaluation.average_precision import APResult, AveragePrecision
from maskrcnn.inference.device import autocast
from maskrcnn.model import MaskRCNN

# Keys of a result -> their titles.
METRICS = {"mask": "mask", "box": "box", "mask_class_agnostic": "class-agnostic mask"}


@torch.inference_mode()
def validate(
    model: MaskRCNN,
    samples: Iterable[tuple[Tensor, Mapping[str, Tensor]]],
    precision: str = "auto",
    scales: Iterable[float | None] = itertools.repeat(None),
) -> dict[str, Any]:
    """samples: (image, target) as `MaskRCNN` takes them; precision: see `autocast`; scales: of each image, see
    `MaskRCNN.stages`.

    Returns plain values: "val", the mean of each loss over images; "box" and "mask", AP, AP50, AP75 and the AP of each
    class; "mask_class_agnostic", the same with all classes as one. The model is left in the mode it was in, and the state
    of random numbers as it was. Raises ValueError without a sample.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    box = AveragePrecision(model.config.class_names, "box")
    mask = AveragePrecision(model.config.class_names, "mask")
    losses: list[dict[str, float]] = []
    # The losses sample RoIs and anchors at random: with the same random numbers every time, epochs are comparable.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        for (image, target), scale in zip(samples, scales, strict=False):
            image, target = image.to(device), {name: value.to(device) for name, value in target.items()}
            with autocast(device, precision):
                losses.append({name: float(loss) for name, loss in model.losses([image], [target], scale).items()})
                prediction = model([image], scale=scale)[0]
            box.update(prediction, target)
            mask.update(prediction, target)
    model.train(was_training)
    if not losses:
        raise ValueError("no images to validate on")
    return {
        "val": {name: sum(of_image[name] for of_image in losses) / len(losses) for name in losses[0]},
        "box": _plain(box.compute()),
        "mask": _plain(mask.compute()),
        "mask_class_agnostic": _plain(mask.compute(class_agnostic=True)),
    }


def _plain(result: APResult) -> dict[str, Any]:
    return {"ap": result.ap, "ap50": result.ap50, "ap75": result.ap75, "per_class": dict(result.per_class)}


def selection_metric(measured: Mapping[str, Any]) -> float:
    """Metric for choosing best.pt: the mean of per-class and class-agnostic mask AP (per-class AP alone is noisy for rare
    classes). measured: the result of `validate`."""
    return float(measured["mask"]["ap"] + measured["mask_class_agnostic"]["ap"]) / 2
