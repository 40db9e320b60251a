"""Weights wherever they come from: this project's checkpoints and runs, torchvision's files or their short names, and the
files of other programs. Reading never runs code.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from maskrcnn.config import Config
from maskrcnn.model import MaskRCNN
from maskrcnn.weights.checkpoint import build, check_finite, is_own, read_checkpoint, unwrapped
from maskrcnn.weights.coco import COCO_CLASSES
from maskrcnn.weights.detectron2 import is_detectron2, read_detectron2
from maskrcnn.weights.download import PUBLISHED, published_file
from maskrcnn.weights.matterport import is_detector, read_keras_resnet50, read_matterport
from maskrcnn.weights.torchvision import (
    COUNTER,
    backbone_of,
    detector_config,
    is_torchvision,
    translate,
    without_unused_classes,
)
from maskrcnn.weights.version_0_1 import current_names

KERAS = (".h5", ".hdf5")
OWN = "a model of this project"
REMEDY = (
    "give a checkpoint of train.py, a Mask R-CNN of torchvision, detectron2 or Matterport, or a ResNet of torchvision"
)
Source = str | os.PathLike[str] | Mapping[str, Any]


class Weights(NamedTuple):
    """state: tensors in this project's names. kind: what they are the weights of, for messages. config: the fields of their
    model's Config, if it is a detector. class_names: without background; () if they are not known. extra: the other entries
    of a checkpoint of this project."""

    state: dict[str, Tensor]
    kind: str
    config: Mapping[str, Any] | None = None
    class_names: tuple[str, ...] = ()
    extra: Mapping[str, Any] = MappingProxyType({})


def source_of(text: str) -> str | Path:
    """The value of an option: one of PUBLISHED, or a path (./coco is the file of that name)."""
    return text if text in PUBLISHED else Path(text)


def read_weights(source: Source, target: Config | None = None) -> Weights:
    """source: a path, one of PUBLISHED, or the content of a checkpoint; target: of the model that they are for. Raises
    ValueError, naming the file, if it cannot be read or holds no weights."""
    if isinstance(source, Mapping):
        return _of_checkpoint("the state dict", source, target)
    if isinstance(source, str) and source in PUBLISHED:
        backbone = (target or Config()).backbone
        return _of_checkpoint(source, read_checkpoint(published_file(source, backbone)), target)
    path = Path(source)
    if path.suffix in KERAS and path.is_file():
        return _of_keras(path, target)
    if path.suffix == ".pkl" and path.is_file():
        return _of_detectron2(path)
    return _of_checkpoint(str(path), read_checkpoint(path), target)


def load_checkpoint(source: Source) -> tuple[MaskRCNN, dict[str, Any]]:
    """The model in a checkpoint, built from the config in the file, or from the shapes of the weights in files of other
    programs; and the other entries of a checkpoint of this project.

    source: a checkpoint, a run folder, whose best checkpoint is loaded, or one of PUBLISHED that detects. Raises ValueError,
    naming the file, if it cannot be read or is of no detector.
    """
    where = "the state dict" if isinstance(source, Mapping) else str(source)
    weights = read_weights(source)
    if weights.config is None:
        raise ValueError(
            f"{where}: not a checkpoint of train.py, which has the entries config and model, nor of torchvision's "
            f"Mask R-CNN; it is {weights.kind} and cannot detect"
        )
    what = "a checkpoint of another version of this model" if weights.kind == OWN else f"not quite {weights.kind}"
    return build(where, {"config": weights.config, "model": weights.state}, what), dict(weights.extra)


def trained_on(source: Source) -> list[str]:
    """Fingerprints of the images that a checkpoint of train.py was trained on; [] if it does not record them."""
    if isinstance(source, str | os.PathLike) and (source in PUBLISHED or Path(source).suffix in (*KERAS, ".pkl")):
        return []
    return list(read_weights(source).extra.get("trained_on", ()))


def preset_for(source: Source) -> tuple[str, Config | None]:
    """Which of train.py's presets makes a model that the weights fit ("weights": none of them), and, if they are of a
    detector, its own config. Raises ValueError as `read_weights`."""
    if isinstance(source, str) and source == "imagenet":
        return "torchvision", None
    if isinstance(source, str | os.PathLike) and Path(source).suffix in KERAS and not is_detector(Path(source)):
        return "torchvision", None
    weights = read_weights(source)
    if weights.config is None:
        return "torchvision", None  # a classifier, with the statistics of its BatchNorm
    try:
        config = Config.from_dict(current_names(weights.config))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{source}: a checkpoint of another version of this model ({error})") from error
    if weights.kind != OWN:
        return "weights", config
    by_norm = {"frozen_batchnorm": "torchvision", "batchnorm": "torchvision_v2"}
    return by_norm.get(config.norm, "small" if config.backbone == "resnet18" else "lisc"), config


def _of_checkpoint(where: str, checkpoint: Mapping[str, Any], target: Config | None) -> Weights:
    if is_own(checkpoint):
        extra = {name: value for name, value in checkpoint.items() if name not in ("config", "model")}
        config = checkpoint["config"]
        return Weights(dict(checkpoint["model"]), OWN, config, tuple(config.get("class_names", ())), extra)
    found = unwrapped(checkpoint)
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        has = f"its entries are {', '.join(map(str, list(found)[:3]))}, ..." if found else "it is empty"
        raise ValueError(f"{where}: holds no weights ({has}); {REMEDY}")
    check_finite(where, tensors)
    if is_detectron2(tensors):
        return _of_detectron2(found)
    state = dict(translate(name, value) for name, value in tensors.items())
    if is_torchvision(tensors) and (detector := detector_config(state)):
        kind, config = detector
        if target is None or target.num_classes != config.num_classes:
            state, config = without_unused_classes(state, config)
        if config.norm == "frozen_batchnorm":
            state = {name: value for name, value in state.items() if not name.endswith(COUNTER)}
        return Weights(state, kind, config.to_dict(), _known_names(config))
    return Weights(state, _kind(state, tensors))


def _kind(state: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    """What weights are of that are not those of a whole detector. tensors: with the names of the file."""
    backbone = backbone_of(state)
    if is_torchvision(tensors):
        has_mask_head = any(name.startswith("mask_head.") for name in state)
        return (
            "a part of torchvision's Mask R-CNN" if has_mask_head else "torchvision's Faster R-CNN, without a mask head"
        )
    return f"torchvision's {backbone}" if backbone and "fc.weight" in state else "weights without a config"


def _of_detectron2(source: Source) -> Weights:
    config, state, _ = read_detectron2(source)
    kind = f"detectron2's Mask R-CNN ({config.backbone}, {config.architecture})"
    return Weights(state, kind, config.to_dict(), _known_names(config))


def _of_keras(path: Path, target: Config | None) -> Weights:
    """Matterport's Mask R-CNN, or the ResNet-50 of Keras, changed to suit the target's normalisation."""
    if is_detector(path):
        config, state = read_matterport(path)
        return Weights(state, f"Matterport's Mask R-CNN ({config.backbone})", config.to_dict(), _known_names(config))
    if target is None:
        return Weights({}, "Keras' ResNet-50")  # no detector, and for one it is not known how to read it
    if not target.stride_in_1x1:
        raise ValueError(f"{path}: Keras' ResNet-50 has its stride in the 1x1; add --override stride_in_1x1=true")
    return Weights(read_keras_resnet50(path, target.norm_eps, target.image_mean, target.image_std), "Keras' ResNet-50")


def _known_names(config: Config) -> tuple[str, ...]:
    """Of the classes, if they are COCO's: others have numbers for names."""
    return config.class_names if config.class_names == COCO_CLASSES else ()
