"""Which proposals the heads learn from, and as what (He et al. 2017, sec. 3.1 "Training").

Glossary: P proposals, N ground-truth objects, R sampled RoIs of an image, at most a quarter of them positive.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn import boxes as box_algebra
from maskrcnn.describe import description
from maskrcnn.matching import BalancedSampler, match


class RoIs(NamedTuple):
    """For each image, positives first: boxes [R_i, 4]; labels [R_i], 0 is background; matched [R_i], the index of the
    ground-truth object, meaningless where the label is 0."""

    boxes: list[Tensor]
    labels: list[Tensor]
    matched: list[Tensor]

    def __repr__(self) -> str:
        return description(self)

    def positives(self) -> "RoIs":
        """Only the RoIs of objects: what the mask head learns from (sec. 3.1, "L_mask is defined only on positive RoIs")."""
        keep = [labels > 0 for labels in self.labels]
        return RoIs(*([value[k] for value, k in zip(field, keep, strict=True)] for field in self))

    def matched_boxes(self, gt_boxes: list[Tensor]) -> Tensor:
        """The box of the object that each RoI is matched to, [R, 4]. gt_boxes: [N_i, 4] for each image.

        An image without objects has no such box; its RoIs, all background, stand for themselves.
        """
        pairs = zip(self.boxes, self.matched, gt_boxes, strict=True)
        return torch.cat([gt[matched] if len(gt) else boxes for boxes, matched, gt in pairs])


class RoISampler:
    """positive_iou: the IoU with ground truth from which a proposal is an object (0.5 in the paper)."""

    def __init__(self, positive_iou: float, sampler: BalancedSampler) -> None:
        self.positive_iou = positive_iou
        self.sampler = sampler

    @torch.no_grad()
    def __call__(self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]) -> RoIs:
        """For each image: proposals [P_i, 4]; gt_boxes [N_i, 4]; gt_labels [N_i] in 1..K.

        Ground truth joins the proposals, so that the heads see objects from the first step on.
        """
        sampled = [
            self._sample(torch.cat([boxes, gt]), gt, labels)
            for boxes, gt, labels in zip(proposals, gt_boxes, gt_labels, strict=True)
        ]
        boxes, labels, matched = (list(field) for field in zip(*sampled, strict=True))
        return RoIs(boxes, labels, matched)

    def _sample(self, candidates: Tensor, gt: Tensor, gt_labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        matched = match(box_algebra.iou(gt, candidates), self.positive_iou, self.positive_iou, keep_best=False)
        positive, negative = self.sampler(matched)
        sampled = torch.cat([positive, negative])
        labels = torch.cat([gt_labels[matched[positive]], torch.zeros_like(negative)])
        return candidates[sampled], labels, matched[sampled].clamp(min=0)
