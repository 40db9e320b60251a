"""Non-maximum suppression: of boxes that overlap too much, keep the one of the highest score (Ren et al. 2015, sec. 3.3).

The rule is greedy and sequential: go down the boxes by score, keep a box unless one kept before overlaps it. Done box by
box it is slow; done for all pairs at once it needs N^2 memory. So it goes block by block: within a block the rule is
solved for all its boxes at once, then those kept strike out their overlaps among everything that follows.

Glossary: N boxes, by descending score; "struck out": overlapped too much by a kept box.
"""

import torch
from torch import Tensor

BLOCK = 256  # boxes solved at once: a BLOCK x N matrix of overlaps should stay near the processor


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, max_kept: int | None = None) -> Tensor:
    """The indices that torchvision.ops.nms returns, in the same order: by descending score, ties by index.

    boxes [N, 4]; scores [N]; a box goes when its IoU with a better one is above iou_threshold. With max_kept only the
    first so many are looked for. Returns int64 [kept]. Raises ValueError for other shapes.
    """
    if boxes.dim() != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(f"boxes {list(boxes.shape)} and scores {list(scores.shape)}; expected [N, 4] and [N]")
    order = torch.argsort(scores, descending=True, stable=True)
    left = boxes[order]
    kept: list[Tensor] = []
    count = 0
    while len(order) and (max_kept is None or count < max_kept):
        keep = _greedy(_overlaps(left[:BLOCK], left[:BLOCK], iou_threshold))
        winners = left[:BLOCK][keep]
        kept.append(order[:BLOCK][keep])
        count += len(winners)
        alive = ~_overlaps(winners, left[BLOCK:], iou_threshold).any(dim=0)
        left, order = left[BLOCK:][alive], order[BLOCK:][alive]
    return torch.cat(kept)[:max_kept] if kept else order


def batched_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, max_kept: int | None = None
) -> Tensor:
    """`nms` within each group (a class, a level): boxes of different groups do not suppress each other.

    groups: int64 [N]. Returns the indices kept, of all groups together, by descending score. Each group is done on its
    own: shifting groups apart and doing them in one go would cost their coordinates precision.
    """
    kept = []
    for group in groups.unique():
        members = torch.where(groups == group)[0]
        kept.append(members[nms(boxes[members], scores[members], iou_threshold, max_kept)])
    if not kept:
        return groups.new_empty(0)
    # Ascending indices first, so that the stable sort leaves ties in the order in which they were given.
    indices = torch.cat(kept).sort().values
    return indices[torch.argsort(scores[indices], descending=True, stable=True)][:max_kept]


def _overlaps(a: Tensor, b: Tensor, iou_threshold: float) -> Tensor:
    """Which pairs have an IoU above the threshold, bool [N, M]. The same arithmetic in the same order as torchvision's,
    so that pairs exactly at the threshold fall on the same side."""
    width = (torch.minimum(a[:, None, 2], b[None, :, 2]) - torch.maximum(a[:, None, 0], b[None, :, 0])).clamp_(min=0)
    height = (torch.minimum(a[:, None, 3], b[None, :, 3]) - torch.maximum(a[:, None, 1], b[None, :, 1])).clamp_(min=0)
    intersection = width.mul_(height)
    area_a, area_b = ((x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b))
    union = (area_a[:, None] + area_b[None, :]).sub_(intersection)
    return intersection.div_(union) > iou_threshold  # 0 / 0, two empty boxes, is not


def _greedy(overlaps: Tensor) -> Tensor:
    """Which boxes of a block the greedy rule keeps, bool [N], given which pairs overlap, bool [N, N].

    "Kept unless a kept one before overlaps it" refers to itself only backwards, so repeating it from any start settles
    from the first box on, one more box at least each time; in practice in as many rounds as the longest chain.
    """
    strikes = overlaps.triu(diagonal=1)  # [i, j]: i, being better, strikes j out if i is kept
    keep = ~strikes.any(dim=0)
    while True:
        struck = (strikes & keep[:, None]).any(dim=0)
        if torch.equal(keep, ~struck):
            return keep
        keep = ~struck
