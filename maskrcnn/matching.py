"""Which candidate box is matched to which ground truth, and which candidates are sampled for the loss.

The RPN (Ren et al. 2015, sec. 3.1.2 and 3.1.3) and the RoI stage (He et al. 2017, sec. 3.1 "Training") do the same two
things with different thresholds: match every candidate to the ground-truth box that it overlaps most, then take a balanced
random sample.

Glossary: N ground-truth boxes, M candidates (anchors or proposals).
"""

import torch
from torch import Tensor

NEGATIVE = -1  # background: every IoU is below the negative threshold
IGNORED = -2  # between the two thresholds: adds no gradient


def match(iou: Tensor, fg_iou_thresh: float, bg_iou_thresh: float, allow_low_quality_matches: bool) -> Tensor:
    """Match every candidate to at most one ground-truth box.

    iou: [N, M]. A candidate whose best IoU is at least `fg_iou_thresh` is matched to that ground truth, below
    `bg_iou_thresh` it is NEGATIVE, in between IGNORED. With `allow_low_quality_matches` the candidates that overlap a
    ground truth most, ties included, are positive however low that IoU is (the RPN's rule i). Each is matched to the ground
    truth that it overlaps most itself, so of two objects that share their one best anchor, one gets none by this rule.
    Returns int64 [M]: an index into N, NEGATIVE or IGNORED.
    """
    if iou.shape[0] == 0:
        return iou.new_full((iou.shape[1],), NEGATIVE, dtype=torch.int64)
    best_iou, best_gt = iou.max(dim=0)  # [M]
    matched = best_gt.clone()
    matched[best_iou < fg_iou_thresh] = IGNORED
    matched[best_iou < bg_iou_thresh] = NEGATIVE
    if allow_low_quality_matches and iou.shape[1]:
        best_of_gt = iou.max(dim=1, keepdim=True).values  # [N, 1]
        is_best = ((iou == best_of_gt) & (best_of_gt > 0)).any(dim=0)  # [M]
        matched = torch.where(is_best, best_gt, matched)
    return matched


class BalancedSampler:
    """Samples `batch_size_per_image` candidates, at most `positive_fraction` of them positive, the rest negative.

    Sampling is without replacement, so an image with few candidates gives a smaller sample.
    """

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction

    def __call__(self, matched: Tensor) -> tuple[Tensor, Tensor]:
        """matched: int64 [M] from `match`. Returns the indices of the sampled (positive, negative) candidates, int64."""
        positive = torch.where(matched >= 0)[0]
        negative = torch.where(matched == NEGATIVE)[0]
        num_positive = min(len(positive), int(self.batch_size_per_image * self.positive_fraction))
        num_negative = min(len(negative), self.batch_size_per_image - num_positive)
        positive = positive[torch.randperm(len(positive), device=matched.device)[:num_positive]]
        negative = negative[torch.randperm(len(negative), device=matched.device)[:num_negative]]
        return positive, negative
