"""From pixels to features: ResNet and the Feature Pyramid Network (He et al. 2017, sec. 3 "Network architecture")."""

from maskrcnn.backbone.c4 import ResNetC4
from maskrcnn.backbone.fpn import FPN, Features, FinestLevel, ResNetFPN
from maskrcnn.backbone.norm import FrozenBatchNorm2d, norm_layer
from maskrcnn.backbone.resnet import ResNet

__all__ = ["FPN", "Features", "FinestLevel", "FrozenBatchNorm2d", "ResNet", "ResNetC4", "ResNetFPN", "norm_layer"]
