"""Detections and cells of one image, as the metrics take them: with whole masks, or `Objects`, whose masks are cut to boxes.

A prediction has boxes [D, 4], labels [D], scores [D] and masks [D, 1, H, W] (above 0.5 is the object), a target boxes
[N, 4], labels [N] and masks [N, H, W] (above 0 is the object). Either may be `Objects` as well.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn.inference.objects import Objects
from maskrcnn.regions import Region, region_of

Instances = Objects | Mapping[str, Tensor]


def tensor(instances: Instances, name: str) -> Tensor:
    """Their boxes, labels or scores, on the CPU."""
    values: Tensor = getattr(instances, name) if isinstance(instances, Objects) else instances[name]
    return values.detach().cpu()


def labels_of(instances: Instances) -> NDArray[np.int64]:
    """Of either, in 1..K."""
    return np.asarray(tensor(instances, "labels").numpy())


def scores_of(prediction: Instances) -> NDArray[np.float32]:
    """Of the detections."""
    return np.asarray(tensor(prediction, "scores").numpy())


def crowd(target: Instances) -> NDArray[np.bool_]:
    """Which objects of a target are crowds: bool [N]."""
    if isinstance(target, Objects) or "iscrowd" not in target:
        return np.zeros(len(tensor(target, "labels")), bool)
    return np.asarray(target["iscrowd"].cpu().numpy()).astype(bool)


def predicted_regions(prediction: Instances) -> list[Region | None]:
    """The mask of each detection; None for an empty one."""
    return prediction.regions() if isinstance(prediction, Objects) else regions_of_masks(prediction["masks"][:, 0], 0.5)


def true_regions(target: Instances) -> list[Region | None]:
    """The mask of each object of a target; None for an empty one."""
    return target.regions() if isinstance(target, Objects) else regions_of_masks(target["masks"], 0)


def regions_of_masks(masks: Tensor, level: float) -> list[Region | None]:
    """The pixels above a level in each of masks [N, H, W]; None where there is none."""
    return [region_of((mask > level).cpu().numpy()) for mask in masks]
