"""The same numbers, faster on a CPU. Nobody has to read this folder to understand the paper.

Each kernel computes what a line of plain PyTorch computes, up to the rounding of sums in another order. What it saves,
measured on one CPU thread (forward and backward):

| kernel | in place of | measured on | with | without |
|---|---|---|---|---|
| sparse_pooling | gathering 4 pixels per sample and averaging | box head, 128 RoIs, 128 channels | 6 ms | 134 ms |
| | | ResNet-50-FPN, 720 x 576, 512 RoIs | 93 ms | 1436 ms |
| sparse_conv | `conv(x)` | RPN head, 256 channels, 720 x 576, 2 images | 580 ms | 1467 ms |
| | | RPN head of the small preset | 24 ms | 34 ms |
| matmul_conv | `F.conv2d` | res5 of ResNet-50, 2 images of 160 x 224, bfloat16 | 75 ms | 116 ms |
| group_norm | `nn.GroupNorm` | training step of the small preset, bfloat16 | 0.20 to 0.22 s | 0.23 to 0.24 s |

To do without: call `self.conv(feature)` in rpn/head.py, let backbone/norm.py build `nn.GroupNorm` and
backbone/resnet.py `nn.Conv2d`, and pool with a gather: tests/roi/test_align.py has RoIAlign in 25 lines, which this folder's
version is held against.
"""

from maskrcnn.kernels.group_norm import GroupNorm
from maskrcnn.kernels.matmul_conv import Conv2d
from maskrcnn.kernels.sparse_conv import sparse_gradient_conv
from maskrcnn.kernels.sparse_pooling import AxisWeights, merge_taps, sparse_pool

__all__ = ["AxisWeights", "Conv2d", "GroupNorm", "merge_taps", "sparse_gradient_conv", "sparse_pool"]
