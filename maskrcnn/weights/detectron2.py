"""detectron2's Mask R-CNN in this project's names: files of its model zoo (model_final_*.pkl) and of its training (.pth).

What differs from here, and what is done about it (configs/ and detectron2/ of facebookresearch/detectron2):

- Pixels are BGR in 0..255, minus a mean: the stem's input channels are reversed, mean and deviation are divided by 255.
- Background is the last class, and has no box deltas: its row of the logits becomes the first, its deltas are zeros.
- At a location, anchors are in the order of sizes and then of aspect ratios; here of aspect ratios and then of sizes.
- The MSRA backbones have the stride in the 1x1. A file does not say so, but torchvision's, which have it in the 3x3, are
  trained on RGB with another mean; of other backbones, replace Config.stride_in_1x1.
- Images are padded to multiples of 32 with an FPN and not at all with C4; here to multiples of the coarsest map's stride,
  which leaves the anchors where detectron2 has them.
"""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskrcnn.config import Config
from maskrcnn.model import MaskRCNN
from maskrcnn.weights.checkpoint import check_finite, read_checkpoint, unwrapped
from maskrcnn.weights.coco import COCO_CLASSES
from maskrcnn.weights.pickled_arrays import read_pickled_arrays
from maskrcnn.weights.torchvision import backbone_of

TRUNK = r"^(?:backbone\.bottom_up|backbone|roi_heads)\."  # of the ResNet; with C4 its last stage is among the heads
# The first pattern that fits is replaced.
RENAMING = (
    (rf"{TRUNK}stem\.conv1\.norm\.", "backbone.resnet.stem.norm."),
    (rf"{TRUNK}stem\.conv1\.", "backbone.resnet.stem.conv."),
    (rf"{TRUNK}(res[2-5]\.\d+)\.shortcut\.norm\.", r"backbone.resnet.\1.shortcut.1."),
    (rf"{TRUNK}(res[2-5]\.\d+)\.shortcut\.", r"backbone.resnet.\1.shortcut.0."),
    (rf"{TRUNK}(res[2-5]\.\d+)\.conv([123])\.norm\.", r"backbone.resnet.\1.norm\2."),
    (rf"{TRUNK}(res[2-5]\.\d+)\.conv([123])\.", r"backbone.resnet.\1.conv\2."),
    *((rf"^backbone\.fpn_lateral{n + 2}\.(weight|bias)$", rf"backbone.fpn.lateral.{n}.0.\1") for n in range(4)),
    *((rf"^backbone\.fpn_output{n + 2}\.(weight|bias)$", rf"backbone.fpn.output.{n}.0.\1") for n in range(4)),
    (r"^proposal_generator\.rpn_head\.conv\.(weight|bias)$", r"rpn_head.conv.\1"),
    (r"^proposal_generator\.rpn_head\.objectness_logits\.", "rpn_head.objectness."),
    (r"^proposal_generator\.rpn_head\.anchor_deltas\.", "rpn_head.deltas."),
    (r"^roi_heads\.box_head\.fc([12])\.", r"box_head.fc\1."),
    (r"^roi_heads\.box_predictor\.cls_score\.", "box_head.class_logits."),
    (r"^roi_heads\.box_predictor\.bbox_pred\.", "box_head.box_deltas."),
    *((rf"^roi_heads\.mask_head\.mask_fcn{n}\.(weight|bias)$", rf"mask_head.convs.{n - 1}.\1") for n in range(1, 9)),
    (r"^roi_heads\.mask_head\.deconv\.", "mask_head.deconv."),
    (r"^roi_heads\.mask_head\.predictor\.", "mask_head.mask_logits."),
)
# Read for the Config, and so not left over.
SETTINGS = r"^pixel_(mean|std)$|^proposal_generator\.anchor_generator\.cell_anchors\.\d$"
# Of parts that Mask R-CNN detects without: a counter of BatchNorm, persons' keypoints, Panoptic FPN's branch for stuff.
WITHOUT_COUNTERPART = r"\.num_batches_tracked$|^roi_heads\.keypoint_head\.|^sem_seg_head\."

RGB_MEAN = (123.675, 116.28, 103.53)  # ImageNet's, of 0..255
FPN_ANCHORS = ((32,), (64,), (128,), (256,), (512,))
C4_ANCHORS = ((32, 64, 128, 256, 512),)
ASPECT_RATIOS = (0.5, 1.0, 2.0)

# configs/Base-RCNN-FPN.yaml, Base-RCNN-C4.yaml and detectron2/config/defaults.py, where they differ from Config's defaults.
COMMON: dict[str, Any] = {
    "antialias": True,  # Pillow's bilinear resizing averages when it reduces
    "anchor_offset": 0.0,
    "pooler_sampling_ratio": 0,
    "smooth_l1_beta": 0.0,
}
FPN: dict[str, Any] = {**COMMON, "rpn_post_nms_top_n_train": 1000}
C4: dict[str, Any] = {
    **COMMON,
    "architecture": "c4",
    "size_divisible": 16,
    "rpn_pre_nms_top_n_train": 12000,
    "rpn_pre_nms_top_n_test": 6000,
    "box_pooler_resolution": 14,
}
REMEDY = "the Mask R-CNN models with a ResNet and FPN or C4 can be read"


def read_detectron2(source: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[Config, dict[str, Tensor], list[str]]:
    """The Config, the weights in this project's names, and the names in the source that have no counterpart here.

    source: a .pkl file, a .pth file of torch.save, or what is in one: names with tensors or arrays, or a dict that has them
    as its entry "model". COCO's 80 classes get their names, any others "1", "2", ... Reading runs no code. Raises
    ValueError, naming the file, if it cannot be read or is of another architecture.
    """
    where = "the state dict" if isinstance(source, Mapping) else str(source)
    theirs = _weights(where, _read(source))
    ours, unused = {}, []
    for name, value in theirs.items():
        new_name = translate(name)
        if new_name is not None:
            ours[new_name] = value
        elif re.search(WITHOUT_COUNTERPART, name):
            unused.append(name)
        elif not re.search(SETTINGS, name):
            raise ValueError(f"{where}: {name} belongs to no Mask R-CNN of this project; {REMEDY}")
    config = _config(where, ours, theirs)
    try:
        state = {name: _convert(name, value, config, is_rgb(theirs)) for name, value in ours.items()}
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"{where}: its heads or its stem have other shapes than a Mask R-CNN's; {REMEDY}") from error
    check_shapes(where, state, config)
    return config, state, unused


def is_detectron2(state: Mapping[str, Any]) -> bool:
    """Whether the names are those of detectron2's detectors."""
    has_stem = any(name.startswith(("backbone.bottom_up.stem.", "backbone.stem.")) for name in state)
    return has_stem and any(name.startswith(("proposal_generator.", "roi_heads.box_predictor.")) for name in state)


def translate(name: str) -> str | None:
    """detectron2's name -> ours; None for one that is not of a weight of Mask R-CNN."""
    if name.endswith(".num_batches_tracked"):
        return None
    for pattern, replacement in RENAMING:
        if re.search(pattern, name):
            return re.sub(pattern, replacement, name)
    return None


def _read(source: str | os.PathLike[str] | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    path = Path(source)
    return read_pickled_arrays(path) if path.suffix == ".pkl" else read_checkpoint(path)


def _weights(where: str, content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights by detectron2's names. Raises ValueError if there are none, or if they are of other programs."""
    found = unwrapped(content)
    if "blobs" in found or "conv1_w" in found:
        raise ValueError(f"{where}: has the names of Caffe2, as Detectron's files and backbones of ImageNet; {REMEDY}")
    if not is_detectron2(found):
        has = ", ".join(list(found)[:3])
        raise ValueError(f"{where}: not a detector of detectron2 (it has {has or 'nothing'}, ...); {REMEDY}")
    weights = {}
    for name, value in found.items():
        try:
            weights[name] = torch.as_tensor(value).float()
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{where}: {name} is a {type(value).__name__}, not an array of numbers") from error
    check_finite(where, weights)
    return weights


def _config(where: str, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Config:
    """What the shapes tell. ours: the weights in our names, not yet converted."""
    shapes = {name: list(value.shape) for name, value in ours.items()}
    is_fpn = "backbone.fpn.lateral.0.0.weight" in shapes
    try:
        num_classes = shapes["box_head.class_logits.weight"][0] - 1
        values: dict[str, Any] = {
            **(_fpn_sizes(shapes) if is_fpn else C4),
            "class_names": COCO_CLASSES if num_classes == 80 else tuple(str(k + 1) for k in range(num_classes)),
            "backbone": backbone_of(shapes),
            "stride_in_1x1": not is_rgb(theirs),
            "mask_head_channels": shapes["mask_head.deconv.weight"][1],
            "class_agnostic_boxes": num_classes > 1 and shapes["box_head.box_deltas.weight"][0] == 4,
            "class_agnostic_masks": num_classes > 1 and shapes["mask_head.mask_logits.weight"][0] == 1,
        }
        values |= _normalisation(theirs) | _anchors(theirs, FPN_ANCHORS if is_fpn else C4_ANCHORS)
        if values["backbone"] is None:
            raise ValueError(f"a backbone that is no ResNet of this project; {REMEDY}")
        return Config.from_dict(values)
    except KeyError as error:
        raise ValueError(f"{where}: lacks {error} of a Mask R-CNN; {REMEDY}") from error
    except (IndexError, TypeError, ArithmeticError) as error:  # a scalar, or no channel, where there should be some
        raise ValueError(f"{where}: its heads have other shapes than a Mask R-CNN's; {REMEDY}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _fpn_sizes(shapes: Mapping[str, list[int]]) -> dict[str, Any]:
    channels = shapes["backbone.fpn.output.0.0.weight"][0]
    hidden, inputs = shapes["box_head.fc1.weight"]
    return {
        **FPN,
        "fpn_channels": channels,
        "box_head_dim": hidden,
        "box_pooler_resolution": math.isqrt(inputs // channels),
        "mask_head_num_convs": sum(bool(re.match(r"mask_head\.convs\.\d\.weight", name)) for name in shapes),
    }


def is_rgb(theirs: Mapping[str, Tensor]) -> bool:
    """Whether the model was trained on RGB and not on detectron2's usual BGR, by the order of ImageNet's mean."""
    mean = theirs.get("pixel_mean")
    return mean is not None and mean.numel() == 3 and torch.allclose(mean.flatten(), torch.tensor(RGB_MEAN), atol=1e-2)


def _normalisation(theirs: Mapping[str, Tensor]) -> dict[str, Any]:
    """image_mean and image_std in RGB and 0..1, of the file, or detectron2's defaults where it has none."""
    mean = theirs.get("pixel_mean", torch.tensor(RGB_MEAN).flip(0)).flatten()
    std = theirs.get("pixel_std", torch.ones(3)).flatten()
    if len(mean) != 3 or len(std) != 3:
        raise ValueError("pixel_mean and pixel_std must have 3 values")
    if not is_rgb(theirs):
        mean, std = mean.flip(0), std.flip(0)
    return {"image_mean": _numbers(mean / 255), "image_std": _numbers(std / 255)}


def _anchors(theirs: Mapping[str, Tensor], default_sizes: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    """anchor_sizes and anchor_aspect_ratios: of the file's base anchors, which newer files lack, or the defaults."""
    prefix = "proposal_generator.anchor_generator.cell_anchors."
    levels = [theirs[name] for name in sorted(theirs) if name.startswith(prefix)]
    per_location = len(theirs["proposal_generator.rpn_head.objectness_logits.bias"])
    if not levels:
        if len(default_sizes[0]) * len(ASPECT_RATIOS) != per_location:
            raise ValueError(f"it has {per_location} anchors per location and does not say which; {REMEDY}")
        return {"anchor_sizes": default_sizes, "anchor_aspect_ratios": ASPECT_RATIOS}
    if len(levels) != len(default_sizes) or any(level.shape != (per_location, 4) for level in levels):
        raise ValueError(f"its anchors do not fit an RPN with {per_location} per location on {len(default_sizes)} maps")
    width, height = (torch.stack(levels)[..., 2:] - torch.stack(levels)[..., :2]).unbind(-1)  # [L, A_location] each
    side, ratio = (width * height).sqrt(), height / width
    num_ratios = int((side[0] / side[0, 0] - 1).abs().lt(1e-3).sum())  # the first anchors are those of the first size
    sides = side[:, ::num_ratios]  # [L, sizes]
    fits = per_location == sides.shape[1] * num_ratios
    if not fits or not torch.allclose(ratio, ratio[0, :num_ratios].repeat(sides.shape[1]).expand_as(ratio), rtol=1e-3):
        raise ValueError("its anchors are not all aspect ratios of all sizes")
    return {
        "anchor_sizes": tuple(_numbers(level) for level in sides),
        "anchor_aspect_ratios": _numbers(ratio[0, :num_ratios]),
    }


def _numbers(values: Tensor) -> tuple[float, ...]:
    """Without the noise of float32."""
    return tuple(float(f"{value:.6g}") for value in values.tolist())


def _convert(name: str, value: Tensor, config: Config, rgb: bool) -> Tensor:
    """A weight by our name with its rows and channels in our order."""
    layer = name.rpartition(".")[0]
    if layer == "backbone.resnet.stem.conv":
        return value if rgb else value.flip(1)
    if layer == "box_head.class_logits":
        return value.roll(1, 0)  # background, the last, becomes the first
    if layer == "box_head.box_deltas" and not config.class_agnostic_boxes:
        return torch.cat([value.new_zeros(4, *value.shape[1:]), value])
    if layer in ("rpn_head.objectness", "rpn_head.deltas"):
        sizes, ratios = len(config.anchor_sizes[0]), len(config.anchor_aspect_ratios)
        return value.unflatten(0, (sizes, ratios, -1)).transpose(0, 1).flatten(0, 2)
    return value


def check_shapes(where: str, state: Mapping[str, Tensor], config: Config) -> None:
    """Raise ValueError, naming the weights, unless `state` has all of the model's, in their shapes, and no others."""
    with torch.device("meta"):  # shapes alone: no memory, and no random numbers
        expected = {name: list(value.shape) for name, value in MaskRCNN(config).state_dict().items()}
    found = {name: list(value.shape) for name, value in state.items()}
    for what, names in {"lacks": expected.keys() - found.keys(), "has besides": found.keys() - expected.keys()}.items():
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(f"{where}: {what} {', '.join(sorted(names)[:3])}{more}; {REMEDY}")
    for name, shape in expected.items():
        if found[name] != shape:
            raise ValueError(f"{where}: {name} has the shape {found[name]}, and {shape} is expected; {REMEDY}")
