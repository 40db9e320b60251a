"""Reading and writing weights: this project's own checkpoints, and published ones by name."""

from maskrcnn.weights.checkpoint import load_checkpoint, save_checkpoint, trained_on
from maskrcnn.weights.published import LoadReport, load, translate

__all__ = ["LoadReport", "load", "load_checkpoint", "save_checkpoint", "trained_on", "translate"]
