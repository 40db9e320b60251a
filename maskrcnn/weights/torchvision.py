"""torchvision's weights in this project's names: Mask R-CNN with FPN, the first version and the second, and ResNet
classifiers, old files and new. Every name is translated by the table below, never by position.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from maskrcnn.config import Config
from maskrcnn.weights.coco import COCO_CLASSES, COCO_NAMES

# Applied one after the other, each to the whole name.
RENAMING = (
    (r"^(conv1|bn1|layer\d)\.", r"backbone.body.\1."),  # a classifier is a bare ResNet
    (r"^backbone\.body\.conv1\.", "backbone.resnet.stem.conv."),
    (r"^backbone\.body\.bn1\.", "backbone.resnet.stem.norm."),
    *((rf"^backbone\.body\.layer{n}\.", f"backbone.resnet.res{n + 1}.") for n in range(1, 5)),
    (r"^(backbone\.resnet\.res\d\.\d+)\.bn(\d)\.", r"\1.norm\2."),
    (r"^(backbone\.resnet\.res\d\.\d+)\.downsample\.", r"\1.shortcut."),
    (r"^backbone\.fpn\.inner_blocks\.(\d)\.(?:([01])\.)?(\w+)$", r"backbone.fpn.lateral.\1.\2.\3"),
    (r"^backbone\.fpn\.layer_blocks\.(\d)\.(?:([01])\.)?(\w+)$", r"backbone.fpn.output.\1.\2.\3"),
    (r"^(backbone\.fpn\.(?:lateral|output)\.\d)\.\.", r"\1.0."),  # in old files a convolution has no number of its own
    (r"^rpn\.head\.conv\.(?:0\.0\.)?(\w+)$", r"rpn_head.conv.\1"),
    (r"^rpn\.head\.conv\.1\.0\.", "rpn_head.more_convs.0."),
    (r"^rpn\.head\.cls_logits\.", "rpn_head.objectness."),
    (r"^rpn\.head\.bbox_pred\.", "rpn_head.deltas."),
    (r"^roi_heads\.box_head\.([0-3])\.", r"box_head.convs.\1."),
    (r"^roi_heads\.box_head\.(?:fc6|5)\.", "box_head.fc1."),
    (r"^roi_heads\.box_head\.fc7\.", "box_head.fc2."),
    (r"^roi_heads\.box_predictor\.cls_score\.", "box_head.class_logits."),
    (r"^roi_heads\.box_predictor\.bbox_pred\.", "box_head.box_deltas."),
    *((rf"^roi_heads\.mask_head\.(?:mask_fcn{n + 1}|{n}\.0)\.", f"mask_head.convs.{n}.") for n in range(4)),
    (r"^roi_heads\.mask_head\.([0-3])\.1\.", r"mask_head.norms.\1."),
    (r"^roi_heads\.mask_predictor\.conv5_mask\.", "mask_head.deconv."),
    (r"^roi_heads\.mask_predictor\.mask_fcn_logits\.", "mask_head.mask_logits."),
)
CLASSIFIERS = {(2, False): "resnet18", (6, False): "resnet34", (6, True): "resnet50", (23, True): "resnet101"}
COUNTER = ".num_batches_tracked"  # of nn.BatchNorm2d, which a frozen one does not have
WITH_UNUSED = max(COCO_NAMES) + 1  # torchvision's number of classes for COCO: background, and every number up to 90


def translate(name: str, value: Tensor) -> tuple[str, Tensor]:
    """torchvision's name and its value -> ours. Names that are ours already stay as they are."""
    new_name = name
    for pattern, replacement in RENAMING:
        new_name = re.sub(pattern, replacement, new_name)
    if new_name != name and new_name.startswith("mask_head.mask_logits."):
        value = value[1:]  # torchvision predicts a mask of background too, which no loss and no detection reads
    return new_name, value


def is_torchvision(state: Mapping[str, object]) -> bool:
    """Whether the names are those of torchvision's detector."""
    return any(name.startswith(("backbone.body.", "roi_heads.box_predictor.")) for name in state)


def detector_config(state: Mapping[str, Tensor]) -> tuple[str, Config] | None:
    """The name of torchvision's model and its Config, from a state dict in our names; None without all the parts of one."""
    last = "box_head.class_logits.bias"
    backbone = backbone_of(state)
    if last not in state or "mask_head.mask_logits.bias" not in state or backbone is None:
        return None
    num_classes = len(state[last])
    if "box_head.convs.0.0.weight" in state:
        return f"torchvision's maskrcnn_{backbone}_fpn_v2", Config.torchvision_v2(num_classes, backbone=backbone)
    # The published model has an eps of 0 in its frozen norms; one trained from random weights has usual ones, of 1e-5.
    eps = 1e-5 if any(name.endswith(COUNTER) for name in state) else 0.0
    return f"torchvision's maskrcnn_{backbone}_fpn", Config.torchvision(num_classes, backbone=backbone, norm_eps=eps)


def backbone_of(state: Mapping[str, object]) -> str | None:
    """The ResNet of a state dict in our names, by its blocks."""
    blocks = {match[1] for name in state if (match := re.match(r"backbone\.resnet\.res4\.(\d+)\.", name))}
    return CLASSIFIERS.get((len(blocks), "backbone.resnet.res4.0.conv3.weight" in state))


def without_unused_classes(state: Mapping[str, Tensor], config: Config) -> tuple[dict[str, Tensor], Config]:
    """A model of COCO's 91 outputs with those that are a class, and their names; any other model as it is."""
    if config.num_classes + 1 != WITH_UNUSED:
        return dict(state), config
    kept = torch.tensor([0, *COCO_NAMES])
    rows = {
        "box_head.class_logits": kept,
        "box_head.box_deltas": (4 * kept[:, None] + torch.arange(4)).flatten(),
        "mask_head.mask_logits": kept[1:] - 1,
    }
    layers = {name: name.rpartition(".")[0] for name in state}
    chosen = {name: value[rows[layers[name]]] if layers[name] in rows else value for name, value in state.items()}
    return chosen, replace(config, class_names=COCO_CLASSES)
