"""Mask R-CNN (He et al. 2017) from scratch in PyTorch; every stage of the paper is a module of its own.

>>> import torch
>>> from maskrcnn import Config, MaskRCNN
>>> model = MaskRCNN(Config.lisc()).eval()
>>> for name, output in model.stages([torch.rand(3, 240, 320)]):
...     print(name, output)
"""

from maskrcnn.config import Config
from maskrcnn.describe import describe
from maskrcnn.model import MaskRCNN

__version__ = "0.2.0"

__all__ = ["Config", "MaskRCNN", "__version__", "describe"]
