"""The box head: classifies each RoI and refines its box (Girshick 2015; He et al. 2017, fig. 4 right).

Glossary: R RoIs of all images together; K classes without background, which is class 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskrcnn import boxes as box_algebra
from maskrcnn.describe import described


@described
class BoxPrediction(NamedTuple):
    """class_logits [R, K + 1]; box_deltas [R, K + 1, 4], one set per class (background's is unused) or one for all."""

    class_logits: Tensor
    box_deltas: Tensor


@described
class BoxLosses(NamedTuple):
    """classes, deltas: scalars."""

    classes: Tensor
    deltas: Tensor


# The smallest fraction of the RoIs that the class loss is divided by: where few are hard, most of them are mislabelled.
MIN_HARD = 1 / 8


class BoxHead(nn.Module):
    """Two fully connected layers, then class logits (softmax) and box deltas per class.

    roi_features [R, channels, resolution, resolution] -> BoxPrediction. dim: units of each hidden layer; num_classes: K.
    class_agnostic: all classes share one set of deltas (Dai et al. 2016, R-FCN, sec. 2). num_convs: of 3x3 convolutions,
    each with a norm, before one fully connected layer in place of two (Wu and He 2018, sec. 4.2); 0: the paper's head.
    """

    def __init__(
        self,
        channels: int,
        resolution: int,
        dim: int,
        num_classes: int,
        class_agnostic: bool = False,
        num_convs: int = 0,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(_conv_norm(channels, norm) for _ in range(num_convs)))
        self.fc1 = nn.Linear(channels * resolution * resolution, dim)
        self.fc2 = nn.Identity() if num_convs else nn.Linear(dim, dim)
        self.class_logits = nn.Linear(dim, num_classes + 1)
        self.box_deltas = nn.Linear(dim, 4 if class_agnostic else (num_classes + 1) * 4)

    def forward(self, roi_features: Tensor) -> BoxPrediction:
        x = self.convs(roi_features)
        x = F.relu(self.fc1(x.flatten(1)))  # [R, C * 7 * 7] -> [R, 1024]
        x = F.relu(self.fc2(x))
        # Back to float32: box decoding and the losses need the precision.
        logits = self.class_logits(x).float()  # [R, K + 1]
        deltas = self.box_deltas(x).float().unflatten(1, (-1, 4))  # [R, K + 1 or 1, 4]
        return BoxPrediction(logits, deltas.expand(-1, logits.shape[1], -1))


def _conv_norm(channels: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)  # which a norm makes redundant
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, norm(channels), nn.ReLU(inplace=True))


def box_loss(
    prediction: BoxPrediction,
    boxes: Tensor,
    labels: Tensor,
    gt_boxes: Tensor,
    weights: tuple[float, float, float, float],
    beta: float,
    easy_loss_thresh: float = 0.0,
) -> BoxLosses:
    """Cross-entropy over the RoIs; smooth L1 over the positive ones, on the deltas of the true class (Girshick 2015, eq. 1).

    boxes [R, 4]: the RoIs; labels [R], 0 is background; gt_boxes [R, 4]: their matched objects, read where labels > 0.
    weights: see `boxes.encode`; beta: where smooth L1 turns from quadratic to linear. Both losses are divided by R, and are
    0 where there is no RoI. easy_loss_thresh, above 0: the cross-entropy is summed over the RoIs that have more than that,
    and divided by their number, but by MIN_HARD * R at least. Most RoIs are background that is soon easy, and the mean over
    all of them says little about classes that are still confused (Shrivastava et al. 2016 keep a fixed number of RoIs).
    """
    count = max(1, len(labels))
    positive = torch.where(labels > 0)[0]
    target = box_algebra.encode(gt_boxes[positive], boxes[positive], weights)  # [P, 4]
    deltas = prediction.box_deltas[positive, labels[positive]]  # [P, 4]
    cross_entropy = F.cross_entropy(prediction.class_logits, labels, reduction="none")  # [R]
    hard = cross_entropy[cross_entropy > easy_loss_thresh] if easy_loss_thresh > 0 else cross_entropy
    return BoxLosses(
        classes=hard.sum() / max(len(hard), MIN_HARD * count),
        deltas=F.smooth_l1_loss(deltas, target, beta=beta, reduction="sum") / count,
    )
