"""What the presets of `Config` change of its defaults: the paper's models, those for smears, torchvision's."""

from typing import Any

Fields = dict[str, Any]

# Sec. 3.1, for both architectures.
PAPER_NUMBERS: Fields = {
    "min_size": 800,  # "Training"
    "anchor_aspect_ratios": (0.5, 1.0, 2.0),  # "Training": 5 scales and 3 aspect ratios, as FPN has
    "box_fg_iou_thresh": 0.5,  # "Training"
    "box_positive_fraction": 0.25,  # "Training": positives to negatives as 1:3
    "box_detections_per_img": 100,  # "Inference": the mask branch is applied to so many boxes
}

FPN_NUMBERS: Fields = {
    **PAPER_NUMBERS,
    "architecture": "fpn",
    "anchor_sizes": ((32,), (64,), (128,), (256,), (512,)),  # one scale per level (FPN 4.1)
    "box_batch_size_per_image": 512,  # (3.1, Training)
    "rpn_post_nms_top_n_test": 1000,  # (3.1, Inference)
}

C4_NUMBERS: Fields = {
    **PAPER_NUMBERS,
    "architecture": "c4",
    "anchor_sizes": ((32, 64, 128, 256, 512),),  # all scales on the one map
    "box_batch_size_per_image": 64,  # (3.1, Training; Detectron: 512)
    "rpn_pre_nms_top_n_train": 12000,  # of the one map, not per level of five (Detectron, as the code of RPN)
    "rpn_pre_nms_top_n_test": 6000,
    "rpn_post_nms_top_n_train": 2000,
    "rpn_post_nms_top_n_test": 300,  # (3.1, Inference; Detectron: 1000)
    "box_pooler_resolution": 14,  # (fig. 4 left: res5 makes 7 x 7 of it)
    "mask_pooler_resolution": 14,
    "size_divisible": 16,  # the stride of C4
}

PAPER_PRESETS: dict[str, Fields] = {
    "R50-C4": {**C4_NUMBERS, "backbone": "resnet50"},
    "R101-C4": {**C4_NUMBERS, "backbone": "resnet101"},
    "R50-FPN": {**FPN_NUMBERS, "backbone": "resnet50"},
    "R101-FPN": {**FPN_NUMBERS, "backbone": "resnet101"},
}

LISC_PRESET: Fields = {
    "min_size": 256,
    "max_size": 384,
    "size_divisible": 32,
    "antialias": True,
    "image_mean": (0.75, 0.67, 0.73),
    "image_std": (0.2, 0.2, 0.2),
    "norm": "groupnorm",
    "fpn_norm": True,
    "fpn_channels": 128,
    "frozen_stages": 0,
    "zero_init_residual": True,
    "anchor_sizes": ((16,), (32,), (64,), (128,), (256,)),
    "rpn_pre_nms_top_n_train": 500,
    "rpn_pre_nms_top_n_test": 500,
    "rpn_post_nms_top_n_train": 250,
    "rpn_post_nms_top_n_test": 300,
    "box_batch_size_per_image": 128,
    "box_easy_loss_thresh": 0.05,
    "mask_batch_size_per_image": 8,
    "mask_head_channels": 128,
    "mask_head_norm": True,
    "mask_roi_padding": 0.07,
    "masks_from_p1": True,
    "boxes_around_masks": True,
}

SMALL_PRESET: Fields = {
    **LISC_PRESET,
    "backbone": "resnet18",
    "zero_init_residual": False,
    "box_batch_size_per_image": 64,
    "box_easy_loss_thresh": 0.0,
    "mask_batch_size_per_image": 512,
    "box_head_dim": 512,
    "masks_from_p1": False,
    "class_agnostic_boxes": True,
    "class_agnostic_masks": True,
}

TORCHVISION_PRESET: Fields = {
    "size_divisible": 32,
    "mask_interpolation": "nearest",
    "norm_eps": 0.0,
    "anchor_offset": 0.0,
    "round_anchors": True,
    "roi_align_half_pixel": False,
}

TORCHVISION_V2_PRESET: Fields = {
    "norm": "batchnorm",
    "norm_eps": 1e-5,
    "fpn_norm": True,
    "rpn_num_convs": 2,
    "box_head_num_convs": 4,
    "mask_head_norm": True,
}
