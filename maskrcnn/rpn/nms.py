"""Non-maximum suppression: of boxes that overlap too much, keep the best (Ren et al. 2015, sec. 3.3).

The rule is greedy: go through the boxes by falling score, keep each one that no kept box overlaps by more than the
threshold. Box by box this is a loop; here it is done block by block, in the order of the scores:

    1. take the next block of undecided boxes; decide which of them are kept, among themselves;
    2. suppress every undecided box that a kept one of the block overlaps; go back to 1.

No box kept earlier overlaps an undecided one, so step 1 need not look back, and the result is the greedy one.

Glossary: N boxes, sorted; undecided [M], positions in 0..N-1; group, the class or pyramid level of a box: boxes suppress
only boxes of the same group.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn.boxes import intersection_and_union

# Larger blocks compare more pairs than needed, smaller ones take more rounds: measured.
BLOCK = 256
# Pairs compared at once: their intermediate results fit the cache of a CPU core, or fill a GPU.
PAIRS_ON_CPU, PAIRS_ON_GPU = 2**17, 2**24


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, max_kept: int | None = None) -> Tensor:
    """Indices of the boxes that are kept, best first: int64 [N'], the same as torchvision.ops.nms returns on the CPU.

    boxes: [N, 4] as (x1, y1, x2, y2); scores: [N]. A box is suppressed if its IoU with a kept one is above iou_threshold,
    not if it is equal. Equal scores keep their order. max_kept: stop after so many. ValueError: shapes that do not agree.
    """
    _check(boxes, scores)
    by_score = scores.sort(descending=True, stable=True).indices
    kept = _greedy(_Boxes.sorted_by(by_score, boxes), iou_threshold, max_kept)
    return by_score[kept]


def batched_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, max_kept: int | None = None
) -> Tensor:
    """NMS within each group: int64 [N'], the boxes that are kept in any group, best first, at most max_kept in all.

    boxes: [N, 4]; scores: [N]; groups: [N], integers. Boxes are compared at their own coordinates: the usual trick of
    shifting each group by an offset of its own loses the last bits of the coordinates. ValueError: see `nms`.
    """
    _check(boxes, scores)
    if groups.shape != scores.shape:
        raise ValueError(f"one group is needed for each score {list(scores.shape)}, got {list(groups.shape)}")
    by_score = scores.sort(descending=True, stable=True).indices
    by_group = groups[by_score].sort(stable=True).indices  # group after group, each by falling score
    kept = _greedy(_Boxes.sorted_by(by_score[by_group], boxes, groups), iou_threshold)
    rank = by_group[kept].sort().values  # back to falling score over all groups
    return by_score[rank][:max_kept]


class _Boxes(NamedTuple):
    corners: Tensor  # [4, N]: one row per coordinate, as `intersection_and_union` wants them
    group: Tensor | None  # [N], rising

    @classmethod
    def sorted_by(cls, order: Tensor, boxes: Tensor, groups: Tensor | None = None) -> "_Boxes":
        corners = boxes.detach().t().contiguous().index_select(1, order)
        return cls(corners, None if groups is None else groups[order])

    def at(self, index: Tensor) -> "_Boxes":
        # index_select takes a third of the time of [] for few boxes: measured.
        group = None if self.group is None else self.group.index_select(0, index)
        return _Boxes(self.corners.index_select(1, index), group)


def _greedy(boxes: _Boxes, threshold: float, max_kept: int | None = None) -> Tensor:
    """The positions of the boxes that are kept, rising. boxes: group after group, each by falling score."""
    threshold = _round_down(threshold, boxes.corners.dtype)
    undecided = torch.arange(boxes.corners.shape[1], device=boxes.corners.device)  # [M]
    kept, n_kept = [undecided[:0]], 0
    while len(undecided) > 0 and (max_kept is None or n_kept < max_kept):
        block, undecided = undecided[:BLOCK], undecided[BLOCK:]
        block = block[_kept_within(boxes.at(block), threshold)]
        kept.append(block)
        n_kept += len(block)
        reach = len(undecided)
        if boxes.group is not None:  # boxes of later groups are not compared
            reach = int(torch.searchsorted(boxes.group[undecided], boxes.group[block[-1]], right=True))
        if reach > 0:
            free = _not_suppressed(boxes, block, undecided[:reach], threshold)
            undecided = torch.cat([undecided[:reach][free], undecided[reach:]])
    return torch.cat(kept)[:max_kept]


def _kept_within(boxes: _Boxes, threshold: float) -> Tensor:
    """Greedy NMS of one block, bool [n].

    Start with all of them kept; let the kept ones suppress the others, until nothing changes. The first box is right from
    the start, and each round settles at least one more, so the end is the greedy result.
    """
    suppresses = _overlaps(boxes, boxes, threshold).tril_(-1)  # [n, n], 1 where the column would suppress the row
    kept = suppresses.new_ones(len(suppresses))
    while True:
        new = (suppresses @ kept).eq_(0)
        if torch.equal(new, kept):
            return kept.bool()
        kept = new


def _not_suppressed(boxes: _Boxes, best: Tensor, others: Tensor, threshold: float) -> Tensor:
    """Which of M others none of the n best suppresses, bool [M]. best, others: positions; neither is empty."""
    width = max(1, (PAIRS_ON_GPU if best.is_cuda else PAIRS_ON_CPU) // len(best))
    kept = boxes.at(best)
    return torch.cat([_overlaps(kept, boxes.at(part), threshold).amax(dim=0) for part in others.split(width)]) == 0


def _overlaps(a: _Boxes, b: _Boxes, threshold: float) -> Tensor:
    """1 where the IoU is above the threshold and the group the same, else 0, for every pair: [n, m].

    In the dtype of the boxes: on a CPU a comparison into bool and its reduction cost as much as all the arithmetic before.
    """
    intersection, union = intersection_and_union(a.corners.t(), b.corners.t())  # [n, m] each
    above = intersection.div_(union).gt_(threshold)  # two empty boxes give 0 / 0, which is not above
    if a.group is not None and b.group is not None:
        above.mul_(a.group[:, None] == b.group)
    return above


def _round_down(threshold: float, dtype: torch.dtype) -> float:
    """The largest number of this dtype that is not above the threshold: rounded up, 0.3 would exceed an IoU of 3 / 10."""
    rounded = torch.tensor(threshold, dtype=dtype)
    return float(rounded if float(rounded) <= threshold else torch.nextafter(rounded, rounded.new_tensor(-math.inf)))


def _check(boxes: Tensor, scores: Tensor) -> None:
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be [N, 4], got {list(boxes.shape)}")
    if not boxes.is_floating_point():
        raise ValueError(f"boxes must be floating-point numbers, got {boxes.dtype}")
    if scores.shape != boxes.shape[:1]:
        raise ValueError(f"one score is needed for each of {len(boxes)} boxes, got {list(scores.shape)}")
