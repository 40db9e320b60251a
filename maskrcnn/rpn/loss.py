"""What the RPN learns from: each anchor is object, background or neither; a balanced sample of them is drawn; two losses
(Ren et al. 2015, sec. 3.1.2, eq. 1; the sample, sec. 3.1.3).

Glossary: S anchors sampled in the batch, P of them positive. Anchors of all images are counted in one row of B * A.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn import boxes as box_algebra
from maskrcnn.describe import description
from maskrcnn.matching import BalancedSampler, match
from maskrcnn.rpn.anchors import Anchors
from maskrcnn.rpn.head import RPNPrediction


class RPNTargets(NamedTuple):
    """The anchors that learn: positive [P] and negative [S - P], indices into B * A, and the positives' deltas [P, 4]."""

    positive: Tensor
    negative: Tensor
    deltas: Tensor

    def __repr__(self) -> str:
        return description(self)


class RPNLosses(NamedTuple):
    """objectness, deltas: scalars."""

    objectness: Tensor
    deltas: Tensor

    def __repr__(self) -> str:
        return description(self)


class RPNTargetAssigner:
    """Matches anchors with ground truth and draws the sample. The thresholds are IoUs (0.7 and 0.3 in the paper)."""

    def __init__(self, positive_iou: float, negative_iou: float, sampler: BalancedSampler) -> None:
        self.positive_iou, self.negative_iou = positive_iou, negative_iou
        self.sampler = sampler

    @torch.no_grad()
    def __call__(self, anchors: Anchors, gt_boxes: list[Tensor]) -> RPNTargets:
        """gt_boxes: [N_i, 4] for each image."""
        positives, negatives, deltas = [], [], []
        for i, gt in enumerate(gt_boxes):
            matched = self.match(anchors, gt)
            positive, negative = self.sampler(matched)
            deltas.append(box_algebra.encode(gt[matched[positive]], anchors.boxes[positive]))
            positives.append(positive + i * len(anchors.boxes))
            negatives.append(negative + i * len(anchors.boxes))
        return RPNTargets(torch.cat(positives), torch.cat(negatives), torch.cat(deltas))

    def match(self, anchors: Anchors, gt_boxes: Tensor) -> Tensor:
        """The ground truth of every anchor of one image, int64 [A], with the marks of `matching.match`."""
        overlap = box_algebra.iou(gt_boxes, anchors.boxes)  # [N, A]
        return match(overlap, self.positive_iou, self.negative_iou, keep_best=True)


def rpn_loss(prediction: RPNPrediction, targets: RPNTargets, beta: float) -> RPNLosses:
    """Binary cross-entropy over the sample and smooth L1 (quadratic below `beta`) over its positives.

    Both are divided by the size of the sample. Without any anchor both are 0 and still attached to the graph.
    """
    sampled = torch.cat([targets.positive, targets.negative])  # [S]
    is_object = torch.zeros(len(sampled), device=sampled.device)
    is_object[: len(targets.positive)] = 1
    count = max(1, len(sampled))
    logits = prediction.objectness.flatten()[sampled]
    deltas = prediction.deltas.flatten(0, 1)[targets.positive]  # [P, 4]
    return RPNLosses(
        objectness=F.binary_cross_entropy_with_logits(logits, is_object, reduction="sum") / count,
        deltas=F.smooth_l1_loss(deltas, targets.deltas, beta=beta, reduction="sum") / count,
    )
