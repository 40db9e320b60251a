"""Which prediction learns from which ground truth, and which ones are drawn to learn at all.

The RPN (Ren et al. 2015, sec. 3.1.2 and 3.1.3) and the RoI stage (He et al. 2017, sec. 3.1 "Training") do the same two
things with other thresholds: match every candidate box to the ground-truth box that it overlaps most, then draw a
balanced sample.

Glossary: N ground-truth boxes, M candidates (anchors or proposals).
"""

import torch
from torch import Tensor

NEGATIVE = -1  # overlaps no ground truth enough: background
IGNORED = -2  # between the two thresholds: neither, adds no gradient


def match(iou: Tensor, positive_iou: float, negative_iou: float, keep_best: bool) -> Tensor:
    """Match every candidate to at most one ground-truth box.

    iou: [N, M]. A candidate whose best IoU is at least `positive_iou` is matched to that ground truth, below
    `negative_iou` it is NEGATIVE, in between IGNORED. With `keep_best` every ground truth also keeps the candidates that
    overlap it most, ties included, however low that overlap is (the RPN's rule i): no object is left without an anchor.
    Such a candidate is still matched to its own best ground truth. Returns int64 [M]: an index into N, or a mark above.
    """
    if iou.shape[0] == 0:
        return iou.new_full((iou.shape[1],), NEGATIVE, dtype=torch.int64)
    best_iou, best_gt = iou.max(dim=0)  # [M]
    matched = best_gt.clone()
    matched[best_iou < positive_iou] = IGNORED
    matched[best_iou < negative_iou] = NEGATIVE
    if keep_best and iou.shape[1]:
        best_of_gt = iou.max(dim=1, keepdim=True).values  # [N, 1]
        is_best = ((iou == best_of_gt) & (best_of_gt > 0)).any(dim=0)  # [M]
        matched = torch.where(is_best, best_gt, matched)
    return matched


class BalancedSampler:
    """Draws `count` candidates, at most `positive_fraction` of them positive, and tops up with negatives.

    Drawing is without replacement, so an image with few candidates gives a smaller sample.
    """

    def __init__(self, count: int, positive_fraction: float) -> None:
        self.count = count
        self.positive_fraction = positive_fraction

    def __call__(self, matched: Tensor) -> tuple[Tensor, Tensor]:
        """matched: int64 [M] from `match`. Returns the indices of the (positive, negative) ones drawn, int64."""
        positive = torch.where(matched >= 0)[0]
        negative = torch.where(matched == NEGATIVE)[0]
        num_positive = min(len(positive), int(self.count * self.positive_fraction))
        num_negative = min(len(negative), self.count - num_positive)
        positive = positive[torch.randperm(len(positive), device=matched.device)[:num_positive]]
        negative = negative[torch.randperm(len(negative), device=matched.device)[:num_negative]]
        return positive, negative
