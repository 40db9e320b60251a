"""The text of the module that is written beside the weights for torchvision: it runs where this project is not installed."""

MODULE = '''"""A Mask R-CNN for torchvision (0.14 or newer). The .json and the .pth of the same name belong to this file.

load() returns the model in evaluation mode, as torchvision's: a list of images [3, H, W] in 0..1 -> a list of dicts with
boxes, labels, scores and masks. Label k is the k-th of class_names in the .json.
"""

import json
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torchvision.models import resnet
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign


def load():
    """The model with its weights."""
    here = Path(__file__)
    model = build(json.loads(here.with_suffix(".json").read_text(encoding="utf-8")))
    model.load_state_dict(torch.load(here.with_suffix(".pth"), map_location="cpu", weights_only=True))
    return model.eval()


def build(d):
    """The model of a description, with random weights."""
    norm = norm_layer(**d["norm"])
    channels, num_classes = d["fpn"]["channels"], len(d["class_names"]) + 1  # with background
    anchors = AnchorGenerator(d["anchors"]["sizes"], [d["anchors"]["aspect_ratios"]] * len(d["anchors"]["sizes"]))
    anchors.cell_anchors = [torch.tensor(level) for level in d["anchors"]["of_a_location"]]
    box, mask, side = d["box_head"], d["mask_head"], d["box_roi_pool"]["output_size"]
    if box["num_convs"]:
        box_head = FastRCNNConvFCHead((channels, side, side), [channels] * box["num_convs"], [box["dim"]], norm)
    else:
        box_head = TwoMLPHead(channels * side**2, box["dim"])
    levels = ["0", "1", "2", "3"]
    model = MaskRCNN(
        fpn_backbone(d["backbone"], channels, norm, norm if d["fpn"]["norm"] else None),
        rpn_anchor_generator=anchors,
        rpn_head=RPNHead(channels, anchors.num_anchors_per_location()[0], d["rpn_num_convs"]),
        box_roi_pool=MultiScaleRoIAlign(levels, **d["box_roi_pool"]),
        box_head=box_head,
        box_predictor=FastRCNNPredictor(box["dim"], num_classes),
        mask_roi_pool=MultiScaleRoIAlign(levels, **d["mask_roi_pool"]),
        mask_head=MaskRCNNHeads(channels, [mask["channels"]] * mask["num_convs"], 1, norm if mask["norm"] else None),
        mask_predictor=MaskRCNNPredictor(mask["channels"], mask["channels"], num_classes),
        **d["arguments"],
    )
    model.rpn.min_size = d["rpn_min_size"]
    return model


def fpn_backbone(name, channels, norm, fpn_norm):
    body = getattr(resnet, name)(weights=None, norm_layer=norm)
    inputs = [body.inplanes // 8 * 2**i for i in range(4)]
    return BackboneWithFPN(body, {f"layer{i + 1}": str(i) for i in range(4)}, inputs, channels, norm_layer=fpn_norm)


def norm_layer(kind, eps, groups):
    if kind == "groupnorm":
        return lambda channels: nn.GroupNorm(min(groups, channels), channels, eps)
    return partial({"frozen_batchnorm": FrozenBatchNorm2d, "batchnorm": nn.BatchNorm2d}[kind], eps=eps)
'''
