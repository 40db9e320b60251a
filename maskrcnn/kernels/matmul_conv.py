"""Convolutions as a matrix product, for maps with far fewer pixels than channels.

There a convolution's weights are larger than its maps, and on a CPU PyTorch spends most of the time on arranging the weights
anew in each call.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """nn.Conv2d: the same parameters, the same values and gradients. [N, in, H, W] -> [N, out, H', W']."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pixels = len(x) * (x.shape[-2] // stride) * (x.shape[-1] // stride)
        same_size = self.padding == (kernel // 2, kernel // 2) and self.kernel_size == (kernel, kernel) and kernel % 2
        plain = same_size and self.padding_mode == "zeros" and self.groups == 1 and self.dilation == (1, 1)
        if x.is_cuda or x.dim() != 4 or not plain or self.stride != (stride, stride) or 2 * pixels >= self.out_channels:
            return super().forward(x)
        rows = _neighbourhoods(x.permute(0, 2, 3, 1), kernel, stride)  # [N, H', W', kernel * kernel * in]
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)  # [out, kernel * kernel * in], a view in channels_last
        return F.linear(rows, weight, self.bias).permute(0, 3, 1, 2)


def _neighbourhoods(x: Tensor, kernel: int, stride: int) -> Tensor:
    """The pixels under the kernel at each position, side by side: [N, H, W, C] -> [N, H', W', kernel * kernel * C]."""
    height, width = x.shape[1:3]
    margin = kernel // 2
    x = F.pad(x, (0, 0, margin, margin, margin, margin))
    shifts = [(i, j) for i in range(kernel) for j in range(kernel)]
    return torch.cat([x[:, i : i + height : stride, j : j + width : stride] for i, j in shifts], dim=-1)
