"""The box head: what is in each RoI, and where exactly (Girshick 2015; He et al. 2017, fig. 4 right).

Glossary: R RoIs of all images together; K classes without background, which is class 0.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn import boxes as box_algebra
from maskrcnn.describe import description


class BoxPrediction(NamedTuple):
    """class_logits [R, K + 1]; box_deltas [R, K + 1, 4], one set a class (background's without meaning) or one for all."""

    class_logits: Tensor
    box_deltas: Tensor

    def __repr__(self) -> str:
        return description(self)


class BoxLosses(NamedTuple):
    """classes, deltas: scalars."""

    classes: Tensor
    deltas: Tensor

    def __repr__(self) -> str:
        return description(self)


class BoxHead(nn.Module):
    """Two fully connected layers, then a softmax's logits and per-class deltas.

    roi_features [R, channels, size, size] -> BoxPrediction. width: the units of the hidden layers; num_classes: K.
    class_agnostic: one set of deltas is learnt for all classes, from the examples of all (Dai et al. 2016, R-FCN, sec. 2).
    """

    def __init__(self, channels: int, size: int, width: int, num_classes: int, class_agnostic: bool = False) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels * size * size, width)
        self.fc2 = nn.Linear(width, width)
        self.class_logits = nn.Linear(width, num_classes + 1)
        self.box_deltas = nn.Linear(width, 4 if class_agnostic else (num_classes + 1) * 4)

    def forward(self, roi_features: Tensor) -> BoxPrediction:
        x = F.relu(self.fc1(roi_features.flatten(1)))  # [R, C * 7 * 7] -> [R, 1024]
        x = F.relu(self.fc2(x))
        # What follows computes pixels and losses, so it leaves autocast's lower precision here.
        logits = self.class_logits(x).float()  # [R, K + 1]
        deltas = self.box_deltas(x).float().unflatten(1, (-1, 4))  # [R, K + 1 or 1, 4]
        return BoxPrediction(logits, deltas.expand(-1, logits.shape[1], -1))


def box_loss(
    prediction: BoxPrediction,
    boxes: Tensor,
    labels: Tensor,
    gt_boxes: Tensor,
    weights: tuple[float, float, float, float],
    beta: float,
) -> BoxLosses:
    """Cross-entropy over all RoIs; smooth L1 on the true class's deltas over the positive ones (Girshick 2015, eq. 1).

    boxes [R, 4]: the RoIs; labels [R], 0 is background; gt_boxes [R, 4]: the matched objects, read where labels > 0.
    weights: see `boxes.encode`; beta: where smooth L1 turns from quadratic to linear. Both are divided by R, 0 for no RoI.
    """
    count = max(1, len(labels))
    positive = torch.where(labels > 0)[0]
    target = box_algebra.encode(gt_boxes[positive], boxes[positive], weights)  # [P, 4]
    deltas = prediction.box_deltas[positive, labels[positive]]  # [P, 4]
    return BoxLosses(
        classes=F.cross_entropy(prediction.class_logits, labels, reduction="sum") / count,
        deltas=F.smooth_l1_loss(deltas, target, beta=beta, reduction="sum") / count,
    )
