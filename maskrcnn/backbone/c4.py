"""The C4 backbone (He et al. 2016, appendix A; He et al. 2017, fig. 4 left): a ResNet that is cut after res4.

The image is seen by stem to res4 once. res5, the rest of the network, runs on every RoI: see heads/c4.py.
"""

from torch import Tensor, nn

from maskrcnn.backbone.fpn import Features
from maskrcnn.backbone.resnet import ResNet


class ResNetC4(nn.Module):
    """A backbone with one map: pixels [B, 3, H, W] -> Features, C4 [B, channels, H/16, W/16]. The interface is ResNetFPN's.

    resnet keeps its res5, under the name that published weights have it by; only RoIs go through it.
    """

    names = ("C4",)
    strides = (16,)
    roi_levels = 1

    def __init__(self, resnet: ResNet) -> None:
        super().__init__()
        self.channels = resnet.channels[2]
        self.resnet = resnet

    def forward(self, pixels: Tensor) -> Features:
        *_, c4 = self.resnet.with_c1(pixels, last_stage=4)
        return Features(self.names, (c4,), self.strides)
