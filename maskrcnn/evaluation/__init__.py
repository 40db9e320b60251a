"""How good the detections are (He et al. 2017, sec. 4: COCO's average precision)."""

from maskrcnn.evaluation.average_precision import APResult, AveragePrecision
from maskrcnn.evaluation.validate import validate

__all__ = ["APResult", "AveragePrecision", "validate"]
