"""How good the detections are: COCO's average precision (He et al. 2017, sec. 4), cells found and named, failures."""

from maskrcnn.evaluation.average_precision import APResult, AveragePrecision
from maskrcnn.evaluation.validate import validate

__all__ = ["APResult", "AveragePrecision", "validate"]
