"""Reading and writing weights: this project's own checkpoints, and those of other programs by name."""

from maskrcnn.weights.checkpoint import save_checkpoint
from maskrcnn.weights.detectron2 import read_detectron2
from maskrcnn.weights.published import LoadReport, load
from maskrcnn.weights.sources import Weights, load_checkpoint, preset_for, read_weights, source_of, trained_on
from maskrcnn.weights.torchvision import translate

__all__ = [
    "LoadReport",
    "Weights",
    "load",
    "load_checkpoint",
    "preset_for",
    "read_detectron2",
    "read_weights",
    "save_checkpoint",
    "source_of",
    "trained_on",
    "translate",
]
