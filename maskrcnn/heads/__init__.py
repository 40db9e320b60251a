"""What the second stage says of every RoI: its class, its box, its mask (He et al. 2017, sec. 3, L_cls, L_box, L_mask)."""

from maskrcnn.heads.box import BoxHead, BoxLosses, BoxPrediction, box_loss
from maskrcnn.heads.detections import Detections, Detector, named_once, objects_found
from maskrcnn.heads.mask import MaskHead, MaskPrediction, MaskTargets, mask_loss, mask_targets
from maskrcnn.heads.paste import paste_masks

__all__ = [
    "BoxHead",
    "BoxLosses",
    "BoxPrediction",
    "Detections",
    "Detector",
    "MaskHead",
    "MaskPrediction",
    "MaskTargets",
    "box_loss",
    "mask_loss",
    "mask_targets",
    "named_once",
    "objects_found",
    "paste_masks",
]
