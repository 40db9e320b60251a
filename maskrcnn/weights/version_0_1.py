"""Configs of version 0.1.0 under today's names, so that its checkpoints still load. The weights have kept their names."""

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "size_divisor": "size_divisible",
    "mask_resize": "mask_interpolation",
    "anchor_ratios": "anchor_aspect_ratios",
    "anchor_rounded": "round_anchors",
    "rpn_positive_iou": "rpn_fg_iou_thresh",
    "rpn_negative_iou": "rpn_bg_iou_thresh",
    "rpn_batch": "rpn_batch_size_per_image",
    "rpn_nms_threshold": "rpn_nms_thresh",
    "rpn_min_size": "rpn_min_box_size",
    "roi_aligned": "roi_align_half_pixel",
    "roi_sampling_ratio": "pooler_sampling_ratio",
    "roi_canonical_size": "canonical_box_size",
    "roi_positive_iou": "box_fg_iou_thresh",
    "roi_batch": "box_batch_size_per_image",
    "roi_positive_fraction": "box_positive_fraction",
    "box_roi_size": "box_pooler_resolution",
    "mask_roi_size": "mask_pooler_resolution",
    "box_head_width": "box_head_dim",
    "box_weights": "bbox_reg_weights",
    "mask_head_width": "mask_head_channels",
    "mask_head_depth": "mask_head_num_convs",
    "mask_margin": "mask_roi_padding",
    "score_threshold": "box_score_thresh",
    "detection_nms_threshold": "box_nms_thresh",
    "detections_per_image": "box_detections_per_img",
    "detection_min_size": "detection_min_box_size",
}
# Pairs of values for training and inference, which are two fields today.
SPLIT = {
    "rpn_pre_nms": ("rpn_pre_nms_top_n_train", "rpn_pre_nms_top_n_test"),
    "rpn_post_nms": ("rpn_post_nms_top_n_train", "rpn_post_nms_top_n_test"),
}


def current_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a Config, those of 0.1.0 renamed; names that are not of 0.1.0 stay as they are."""
    renamed: dict[str, Any] = {}
    for name, value in config.items():
        if name in SPLIT:
            renamed |= dict(zip(SPLIT[name], value, strict=True))
        else:
            renamed[RENAMED.get(name, name)] = value
    return renamed
