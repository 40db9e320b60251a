"""For torchvision: the weights under its names, the values that its classes are built with, and a module that does so.

Three files: NAME.pth, a state dict; NAME.json; and NAME.py, whose `load()` builds the model from the other two. This project
does not need torchvision to write them.
"""

import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskrcnn.config import Config
from maskrcnn.export.torchvision_module import MODULE
from maskrcnn.model import MaskRCNN
from maskrcnn.rpn import AnchorGenerator

# What torchvision's classes take as an argument, in the model's weights, or in an attribute.
EXPRESSED = """
    class_names min_size max_size image_mean image_std size_divisible backbone norm norm_eps norm_groups fpn_channels
    fpn_norm anchor_sizes anchor_aspect_ratios anchor_offset round_anchors rpn_num_convs rpn_pre_nms_top_n_train
    rpn_pre_nms_top_n_test rpn_post_nms_top_n_train rpn_post_nms_top_n_test rpn_nms_thresh rpn_min_box_size
    rpn_fg_iou_thresh rpn_bg_iou_thresh rpn_batch_size_per_image rpn_positive_fraction pooler_sampling_ratio
    canonical_box_size box_fg_iou_thresh box_batch_size_per_image box_positive_fraction box_pooler_resolution
    box_head_dim box_head_num_convs bbox_reg_weights mask_pooler_resolution mask_head_channels mask_head_num_convs
    mask_head_norm class_agnostic_boxes class_agnostic_masks box_score_thresh box_nms_thresh box_detections_per_img
"""
# What only training reads, and torchvision does in its own way.
OF_TRAINING = """
    mask_interpolation frozen_stages zero_init_residual mask_batch_size_per_image box_easy_loss_thresh smooth_l1_beta
"""
# Of all other fields, the one value that torchvision's classes have, where it is not the default.
FIXED = {"roi_align_half_pixel": False}
# Arguments of torchvision's MaskRCNN that are fields of Config.
ARGUMENTS = """
    min_size max_size image_mean image_std size_divisible rpn_pre_nms_top_n_train rpn_pre_nms_top_n_test
    rpn_post_nms_top_n_train rpn_post_nms_top_n_test rpn_nms_thresh rpn_fg_iou_thresh rpn_bg_iou_thresh
    rpn_batch_size_per_image rpn_positive_fraction box_score_thresh box_nms_thresh box_detections_per_img box_fg_iou_thresh
    box_batch_size_per_image box_positive_fraction bbox_reg_weights
"""

# Our names -> torchvision's; the first pattern that fits. For the hidden layers of the box head see below.
RENAMING: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"backbone\.resnet\.stem\.conv\.", "backbone.body.conv1."),
    (r"backbone\.resnet\.stem\.norm\.", "backbone.body.bn1."),
    (r"backbone\.resnet\.res(\d)\.(\d+)\.", lambda m: f"backbone.body.layer{int(m[1]) - 1}.{m[2]}."),
    (r"backbone\.fpn\.lateral\.", "backbone.fpn.inner_blocks."),
    (r"backbone\.fpn\.output\.", "backbone.fpn.layer_blocks."),
    (r"rpn_head\.conv\.", "rpn.head.conv.0.0."),
    (r"rpn_head\.more_convs\.(\d+)\.", lambda m: f"rpn.head.conv.{int(m[1]) + 1}.0."),
    (r"rpn_head\.objectness\.", "rpn.head.cls_logits."),
    (r"rpn_head\.deltas\.", "rpn.head.bbox_pred."),
    (r"box_head\.convs\.", "roi_heads.box_head."),
    (r"box_head\.class_logits\.", "roi_heads.box_predictor.cls_score."),
    (r"box_head\.box_deltas\.", "roi_heads.box_predictor.bbox_pred."),
    (r"mask_head\.convs\.(\d+)\.", r"roi_heads.mask_head.\1.0."),
    (r"mask_head\.norms\.(\d+)\.", r"roi_heads.mask_head.\1.1."),
    (r"mask_head\.deconv\.", "roi_heads.mask_predictor.conv5_mask."),
    (r"mask_head\.mask_logits\.", "roi_heads.mask_predictor.mask_fcn_logits."),
)
WITHIN_A_BLOCK = ((r"\.norm(\d)\.", r".bn\1."), (r"\.shortcut\.", ".downsample."))


def export_torchvision(model: MaskRCNN, path: Path) -> list[Path]:
    """Write the three files, path being that of the state dict; return their paths. Raises ValueError, naming every field
    of the config that torchvision's classes cannot express."""
    if missing := without_counterpart(model.config):
        listed = ", ".join(f"{name}={getattr(model.config, name)!r}" for name in missing)
        raise ValueError(
            f"torchvision's Mask R-CNN has no counterpart of {listed}; a model of train.py --preset torchvision or "
            "torchvision_v2 has one, and --to safetensors writes any model"
        )
    torch.save(state_of(model), path)
    described, module = path.with_suffix(".json"), path.with_suffix(".py")
    described.write_text(json.dumps(description(model), indent=2) + "\n", encoding="utf-8")
    module.write_text(MODULE, encoding="utf-8")
    return [path, described, module]


def without_counterpart(c: Config) -> list[str]:
    """The fields of the config whose values torchvision's classes cannot express."""
    known = {*EXPRESSED.split(), *OF_TRAINING.split()}
    others = [field for field in fields(c) if field.name not in known]
    missing = [f.name for f in others if getattr(c, f.name) != FIXED.get(f.name, f.default)]
    if c.backbone in ("resnet18", "resnet34") and "stride_in_1x1" in missing:
        missing.remove("stride_in_1x1")  # their blocks have no 1x1
    if c.rpn_conv_channels == c.fpn_channels and "rpn_conv_channels" in missing:
        missing.remove("rpn_conv_channels")
    if c.anchor_offset and c.size_divisible % 64:  # the actual stride of P6 depends on the size of the image then
        missing += ["anchor_offset", "size_divisible"]
    return missing


def state_of(model: MaskRCNN) -> dict[str, Tensor]:
    """The weights under torchvision's names."""
    c = model.config
    state = {}
    for name, value in model.state_dict().items():
        if c.class_agnostic_boxes and name.startswith("box_head.box_deltas."):
            value = value.repeat(c.num_classes + 1, *[1] * (value.dim() - 1))  # the same for each class
        if name.startswith("mask_head.mask_logits."):
            of_classes = value.repeat(c.num_classes, *[1] * (value.dim() - 1)) if c.class_agnostic_masks else value
            value = torch.cat([torch.zeros_like(value[:1]), of_classes])  # a mask of background, which is not read
        state[torchvision_name(name, c.box_head_num_convs)] = value.contiguous()
    return state


def torchvision_name(name: str, box_head_num_convs: int) -> str:
    """Our name of a parameter -> torchvision's."""
    # torchvision's box head with convolutions is a Sequential: they, Flatten, the hidden layer, ReLU.
    hidden = f"roi_heads.box_head.{box_head_num_convs + 1}." if box_head_num_convs else "roi_heads.box_head.fc6."
    of_box_head = ((r"box_head\.fc1\.", hidden), (r"box_head\.fc2\.", "roi_heads.box_head.fc7."))
    for pattern, replacement in (*RENAMING, *of_box_head):
        new_name, found = re.subn(f"^{pattern}", replacement, name)
        if found:
            for inner, inner_replacement in WITHIN_A_BLOCK if "body.layer" in new_name else ():
                new_name = re.sub(inner, inner_replacement, new_name)
            return new_name
    raise ValueError(f"{name} has no counterpart in torchvision's Mask R-CNN")


def description(model: MaskRCNN) -> dict[str, Any]:
    """What NAME.json holds: the values that NAME.py builds the model with."""
    c = model.config
    pool = {"sampling_ratio": c.pooler_sampling_ratio, "canonical_scale": c.canonical_box_size}
    return {
        "class_names": c.class_names,
        "backbone": c.backbone,
        "norm": {"kind": c.norm, "eps": c.norm_eps, "groups": c.norm_groups},
        "fpn": {"channels": c.fpn_channels, "norm": c.fpn_norm},
        "anchors": {"sizes": c.anchor_sizes, "aspect_ratios": c.anchor_aspect_ratios, "of_a_location": _anchors(model)},
        "rpn_num_convs": c.rpn_num_convs,
        "rpn_min_size": c.rpn_min_box_size,
        "box_head": {"num_convs": c.box_head_num_convs, "dim": c.box_head_dim},
        "mask_head": {"num_convs": c.mask_head_num_convs, "channels": c.mask_head_channels, "norm": c.mask_head_norm},
        "box_roi_pool": {"output_size": c.box_pooler_resolution, **pool},
        "mask_roi_pool": {"output_size": c.mask_pooler_resolution, **pool},
        "arguments": {name: getattr(c, name) for name in ARGUMENTS.split()},
    }


def _anchors(model: MaskRCNN) -> list[list[list[float]]]:
    """The anchors of the first location of each level: torchvision's own would be rounded, and centred on the corner."""
    generator: AnchorGenerator = model.anchors
    strides = model.backbone.strides
    levels = zip(generator.sizes, strides, strict=True)
    return [(generator.base_anchors(sizes) + generator.offset * stride).tolist() for sizes, stride in levels]
