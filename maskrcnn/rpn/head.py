"""The RPN head: a 3x3 convolution, then one objectness and four deltas per anchor (Ren et al. 2015, fig. 3 left).

Ren et al. have two outputs for objectness and a softmax over them. Only their difference matters, and the softmax is its
sigmoid, so one output and a sigmoid are the same model with fewer numbers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn.describe import described
from maskrcnn.kernels import sparse_gradient_conv


@described
class RPNPrediction(NamedTuple):
    """objectness [B, A], logits of "an object"; deltas [B, A, 4], from the anchor to the object. A as in Anchors."""

    objectness: Tensor
    deltas: Tensor


class RPNHead(nn.Module):
    """One head, shared by all levels. channels of the feature maps; num_anchors_per_location: see AnchorGenerator.

    hidden_channels, num_convs: of the 3x3 convolutions; the paper has one. hidden_channels 0: as many as the maps have.
    """

    def __init__(
        self, channels: int, num_anchors_per_location: int, hidden_channels: int = 0, num_convs: int = 1
    ) -> None:
        super().__init__()
        hidden_channels = hidden_channels or channels
        self.conv = nn.Conv2d(channels, hidden_channels, 3, padding=1)
        rest = range(1, num_convs)
        self.more_convs = nn.ModuleList(nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1) for _ in rest)
        self.objectness = nn.Conv2d(hidden_channels, num_anchors_per_location, 1)
        self.deltas = nn.Conv2d(hidden_channels, num_anchors_per_location * 4, 1)
        for layer in (self.conv, *self.more_convs, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Sequence[Tensor]) -> RPNPrediction:
        """maps: [B, C, H_l, W_l] for each level."""
        objectness, deltas = [], []
        for feature in maps:
            hidden = F.relu(sparse_gradient_conv(self.conv, feature), inplace=True)  # self.conv(feature), see kernels/
            for conv in self.more_convs:
                hidden = F.relu(conv(hidden), inplace=True)
            objectness.append(_flatten(self.objectness(hidden), 1))  # [B, A_l, 1]
            deltas.append(_flatten(self.deltas(hidden), 4))  # [B, A_l, 4]
        # Back to float32: box decoding and the losses need the precision.
        return RPNPrediction(torch.cat(objectness, dim=1)[..., 0].float(), torch.cat(deltas, dim=1).float())


def _flatten(x: Tensor, values: int) -> Tensor:
    """[B, A_location * values, H, W] -> [B, H * W * A_location, values], the order of the anchors."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)
