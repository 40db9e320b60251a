"""The RPN head: a 3x3 convolution, then for every anchor one objectness and four deltas (Ren et al. 2015, fig. 3 left)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn.describe import describe


class RPNPrediction(NamedTuple):
    """objectness [B, A], logits of "an object"; deltas [B, A, 4], from the anchor to the object. A as in Anchors."""

    objectness: Tensor
    deltas: Tensor

    def __repr__(self) -> str:
        return describe(self)


class RPNHead(nn.Module):
    """One head, shared by all levels. channels of the feature maps, per_cell anchors on each of their cells."""

    def __init__(self, channels: int, per_cell: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, per_cell, 1)
        self.deltas = nn.Conv2d(channels, per_cell * 4, 1)
        for layer in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> RPNPrediction:
        """maps: [B, C, H_l, W_l] for each level."""
        objectness, deltas = [], []
        for feature in maps:
            hidden = F.relu(self.conv(feature))
            objectness.append(_flatten(self.objectness(hidden), 1))
            deltas.append(_flatten(self.deltas(hidden), 4))
        # What follows computes pixels and losses, so it leaves autocast's lower precision here.
        return RPNPrediction(torch.cat(objectness, dim=1)[..., 0].float(), torch.cat(deltas, dim=1).float())


def _flatten(x: Tensor, values: int) -> Tensor:
    """[B, A_cell * values, H, W] -> [B, H * W * A_cell, values], the order of the anchors."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)
