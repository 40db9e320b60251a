"""How good the predictions are: COCO's average precision (He et al. 2017, sec. 4), metrics of cells, failures, a report."""

from maskrcnn.evaluation.average_precision import APResult, AveragePrecision
from maskrcnn.evaluation.validate import validate

__all__ = ["APResult", "AveragePrecision", "validate"]
