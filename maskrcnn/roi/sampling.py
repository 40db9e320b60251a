"""Which proposals the heads are trained on, and with which labels (He et al. 2017, sec. 3.1 "Training").

Glossary: P proposals, N ground-truth objects, R sampled RoIs of an image, at most a quarter of them positive.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn import boxes as box_algebra
from maskrcnn.describe import described
from maskrcnn.matching import BalancedSampler, match


@described
class RoIs(NamedTuple):
    """For each image, positives first: boxes [R_i, 4]; labels [R_i], 0 is background; matched [R_i], the index of the
    ground-truth object, meaningless where the label is 0."""

    boxes: list[Tensor]
    labels: list[Tensor]
    matched: list[Tensor]

    def positives(self, most: int | None = None) -> "RoIs":
        """The positive RoIs, which the mask head is trained on (sec. 3.1, "L_mask is defined only on positive RoIs"); at
        most so many of each image. They come in random order, so the first ones are a random sample."""
        keep = [(labels > 0).nonzero()[:most, 0] for labels in self.labels]
        return RoIs(*([value[k] for value, k in zip(field, keep, strict=True)] for field in self))

    def matched_boxes(self, gt_boxes: list[Tensor]) -> Tensor:
        """The ground-truth box that each RoI is matched to, [R, 4]. gt_boxes: [N_i, 4] for each image.

        In an image without objects all RoIs are background; each is given its own box, which no loss reads.
        """
        pairs = zip(self.boxes, self.matched, gt_boxes, strict=True)
        return torch.cat([gt[matched] if len(gt) else boxes for boxes, matched, gt in pairs])


class RoISampler:
    """fg_iou_thresh: a proposal is positive from this IoU with ground truth on (0.5 in the paper)."""

    def __init__(self, fg_iou_thresh: float, sampler: BalancedSampler) -> None:
        self.fg_iou_thresh = fg_iou_thresh
        self.sampler = sampler

    @torch.no_grad()
    def __call__(self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]) -> RoIs:
        """For each image: proposals [P_i, 4]; gt_boxes [N_i, 4]; gt_labels [N_i] in 1..K.

        Ground truth is added to the proposals, so that there are positives from the first step on.
        """
        sampled = [
            self._sample(torch.cat([boxes, gt]), gt, labels)
            for boxes, gt, labels in zip(proposals, gt_boxes, gt_labels, strict=True)
        ]
        boxes, labels, matched = (list(field) for field in zip(*sampled, strict=True))
        return RoIs(boxes, labels, matched)

    def _sample(self, candidates: Tensor, gt: Tensor, gt_labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        matched = match(
            box_algebra.iou(gt, candidates), self.fg_iou_thresh, self.fg_iou_thresh, allow_low_quality_matches=False
        )
        positive, negative = self.sampler(matched)
        sampled = torch.cat([positive, negative])
        labels = torch.cat([gt_labels[matched[positive]], torch.zeros_like(negative)])
        return candidates[sampled], labels, matched[sampled].clamp(min=0)
