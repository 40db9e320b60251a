"""What is in each RoI: class, box and mask, and how detections are made of them (He et al. 2017, sec. 3 and 3.1)."""

from maskrcnn.heads.box import BoxHead, BoxLosses, BoxPrediction, box_loss
from maskrcnn.heads.c4 import C4BoxHead, C4MaskHead
from maskrcnn.heads.mask import MaskHead, MaskPrediction, MaskTargets, mask_loss, mask_targets
from maskrcnn.heads.mask_variants import MLPMaskHead, SoftmaxMaskHead, softmax_mask_loss
from maskrcnn.heads.paste import boxes_around, paste_masks, paste_patches, restore
from maskrcnn.heads.postprocess import BoxPostProcessor, Detections, class_agnostic_nms

__all__ = [
    "BoxHead",
    "BoxLosses",
    "BoxPostProcessor",
    "BoxPrediction",
    "C4BoxHead",
    "C4MaskHead",
    "Detections",
    "MLPMaskHead",
    "MaskHead",
    "MaskPrediction",
    "MaskTargets",
    "SoftmaxMaskHead",
    "box_loss",
    "boxes_around",
    "class_agnostic_nms",
    "mask_loss",
    "mask_targets",
    "paste_masks",
    "paste_patches",
    "restore",
    "softmax_mask_loss",
]
