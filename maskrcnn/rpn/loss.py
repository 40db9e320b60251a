"""The RPN's targets and losses: label each anchor as object, background or ignored, sample a balanced batch of them, compute
two losses (Ren et al. 2015, sec. 3.1.2, eq. 1; sampling: sec. 3.1.3).

Glossary: S anchors sampled in the batch, P of them positive. Anchors of all images are indexed together, in 0..B * A - 1.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn import boxes as box_algebra
from maskrcnn.describe import described
from maskrcnn.matching import BalancedSampler, match
from maskrcnn.rpn.anchors import Anchors
from maskrcnn.rpn.head import RPNPrediction


@described
class RPNTargets(NamedTuple):
    """The sampled anchors: positive [P], negative [S - P], indices into B * A; deltas [P, 4], targets of the positives."""

    positive: Tensor
    negative: Tensor
    deltas: Tensor


@described
class RPNLosses(NamedTuple):
    """objectness, deltas: scalars."""

    objectness: Tensor
    deltas: Tensor


class RPNTargetAssigner:
    """Matches anchors to ground truth and samples them. The thresholds are IoUs (0.7 and 0.3 in the paper)."""

    def __init__(self, fg_iou_thresh: float, bg_iou_thresh: float, sampler: BalancedSampler) -> None:
        self.fg_iou_thresh, self.bg_iou_thresh = fg_iou_thresh, bg_iou_thresh
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
        """The ground truth of every anchor of one image: int64 [A], see `matching.match`."""
        iou = box_algebra.iou(gt_boxes, anchors.boxes)  # [N, A]
        return match(iou, self.fg_iou_thresh, self.bg_iou_thresh, allow_low_quality_matches=True)


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
