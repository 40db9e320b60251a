"""Predictions in the forms that others read: tables, label maps, COCO's JSON, outlines for QuPath and ImageJ, a data set."""

from maskrcnn.inference.export.coco import PREDICTIONS, rle_encode
from maskrcnn.inference.export.folder import check_writable
from maskrcnn.inference.export.pictures import Found, color_splash
from maskrcnn.inference.export.writer import Options, PredictionWriter

__all__ = [
    "PREDICTIONS",
    "Found",
    "Options",
    "PredictionWriter",
    "check_writable",
    "color_splash",
    "rle_encode",
]
