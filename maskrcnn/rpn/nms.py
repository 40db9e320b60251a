"""Non-maximum suppression: of boxes that overlap too much, keep the best (Ren et al. 2015, sec. 3.3).

The rule is greedy: go through the boxes by falling score, keep each one that no kept box overlaps by more than the
threshold. Said one box at a time it is a loop; here it is done by blocks of neighbours in the order of the scores:

    1. take the next block of boxes that are still waiting; decide which of them are kept, among themselves;
    2. strike out every waiting box that a kept one of the block overlaps; go back to 1.

Nothing kept earlier overlaps a box that still waits, so step 1 need not look back, and the result is the greedy one.

Glossary: N boxes, sorted; waiting [M], positions in 0..N-1 of boxes not yet decided; group, the class or pyramid level
of a box: boxes suppress only boxes of their own group.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Larger blocks compare more pairs than they need to, smaller ones take more rounds: measured.
BLOCK = 256
# Pairs compared at once: their intermediate results stay in the cache of a CPU core, and fill a GPU.
PAIRS_ON_CPU, PAIRS_ON_GPU = 2**17, 2**24


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, max_kept: int | None = None) -> Tensor:
    """Indices of the boxes that are kept, best first: int64 [N'], the same as torchvision.ops.nms returns on the CPU.

    boxes: [N, 4] as (x1, y1, x2, y2); scores: [N]. A box goes if its IoU with a kept one is above iou_threshold, not if
    it is equal. Equal scores keep their order. max_kept: stop after so many. ValueError: shapes that do not agree.
    """
    _check(boxes, scores)
    by_score = scores.sort(descending=True, stable=True).indices
    kept = _greedy(_Boxes.sorted_by(by_score, boxes), iou_threshold, max_kept)
    return by_score[kept]


def batched_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, max_kept: int | None = None
) -> Tensor:
    """NMS within each group: int64 [N'], the boxes that are kept in any group, best first, at most max_kept in all.

    boxes: [N, 4]; scores: [N]; groups: [N], integers. Boxes are compared where they are: moving every group to a place
    of its own, so that one plain NMS does it, loses the last bits of the coordinates. ValueError: see `nms`.
    """
    _check(boxes, scores)
    if groups.shape != scores.shape:
        raise ValueError(f"one group is needed for each score {list(scores.shape)}, got {list(groups.shape)}")
    by_score = scores.sort(descending=True, stable=True).indices
    by_group = groups[by_score].sort(stable=True).indices  # a group's boxes are neighbours, and by falling score
    kept = _greedy(_Boxes.sorted_by(by_score[by_group], boxes, groups), iou_threshold)
    rank = by_group[kept].sort().values  # back to falling score over all groups
    return by_score[rank][:max_kept]


class _Boxes(NamedTuple):
    """A coordinate is a row, so that the arithmetic runs along memory."""

    corners: Tensor  # [4, N]
    area: Tensor  # [N]
    group: Tensor | None  # [N], rising

    @classmethod
    def sorted_by(cls, order: Tensor, boxes: Tensor, groups: Tensor | None = None) -> "_Boxes":
        corners = boxes.detach().t().contiguous().index_select(1, order)
        area = (corners[2] - corners[0]) * (corners[3] - corners[1])
        return cls(corners, area, None if groups is None else groups[order])

    def at(self, index: Tensor) -> "_Boxes":
        # For few boxes, indexing with brackets would cost three times as much: measured.
        group = None if self.group is None else self.group.index_select(0, index)
        return _Boxes(self.corners.index_select(1, index), self.area.index_select(0, index), group)


def _greedy(boxes: _Boxes, threshold: float, max_kept: int | None = None) -> Tensor:
    """The positions of the boxes that are kept, rising. boxes: of each group by falling score, group after group."""
    threshold = _just_below(threshold, boxes.area.dtype)
    waiting = torch.arange(len(boxes.area), device=boxes.area.device)  # [M]
    kept, n_kept = [waiting[:0]], 0
    while len(waiting) > 0 and (max_kept is None or n_kept < max_kept):
        block, waiting = waiting[:BLOCK], waiting[BLOCK:]
        block = block[_kept_within(boxes.at(block), threshold)]
        kept.append(block)
        n_kept += len(block)
        reach = len(waiting)
        if boxes.group is not None:  # boxes of later groups are not looked at
            reach = int(torch.searchsorted(boxes.group[waiting], boxes.group[block[-1]], right=True))
        if reach > 0:
            free = _not_overlapped(boxes, block, waiting[:reach], threshold)
            waiting = torch.cat([waiting[:reach][free], waiting[reach:]])
    return torch.cat(kept)[:max_kept]


def _kept_within(boxes: _Boxes, threshold: float) -> Tensor:
    """Greedy NMS of one block, bool [n].

    Start with all of them kept, and let the kept ones strike out the others, again and again. The first box is right
    from the start, and each round sets at least one more right for good. So what no longer changes is the answer.
    """
    overlap = _overlap(boxes, boxes, threshold).tril_(-1)  # [n, n], 1 where the column would strike out the row
    kept = torch.ones_like(boxes.area)
    while True:
        again = (overlap @ kept).eq_(0)
        if torch.equal(again, kept):
            return kept.bool()
        kept = again


def _not_overlapped(boxes: _Boxes, best: Tensor, others: Tensor, threshold: float) -> Tensor:
    """Which of M others none of the n best strikes out, bool [M]. best, others: positions; neither is empty."""
    width = max(1, (PAIRS_ON_GPU if best.is_cuda else PAIRS_ON_CPU) // len(best))
    kept = boxes.at(best)
    return torch.cat([_overlap(kept, boxes.at(part), threshold).amax(dim=0) for part in others.split(width)]) == 0


def _overlap(a: _Boxes, b: _Boxes, threshold: float) -> Tensor:
    """1 where the IoU is above the threshold and the group the same, else 0, for every pair: [n, m].

    In the dtype of the boxes: on a CPU, comparing into bool and reducing it cost as much as all the arithmetic before.
    """
    left_top = torch.maximum(a.corners[:2, :, None], b.corners[:2, None])  # [2, n, m]
    size = torch.minimum(a.corners[2:, :, None], b.corners[2:, None]).sub_(left_top).clamp_(min=0)  # [2, n, m]
    intersection = size[0].mul_(size[1])  # [n, m]
    union = torch.add(a.area[:, None], b.area, out=size[1]).sub_(intersection)
    above = intersection.div_(union).gt_(threshold)  # two empty boxes give 0 / 0, which is not above
    if a.group is not None and b.group is not None:
        above.mul_(a.group[:, None] == b.group)
    return above


def _just_below(threshold: float, dtype: torch.dtype) -> float:
    """The largest number of this dtype that is not above the threshold.

    torch would round the threshold to the dtype of the IoU: 0.3 goes up, and an IoU of 3 / 10 would no longer be above.
    """
    rounded = torch.tensor(threshold, dtype=dtype)
    return float(rounded if float(rounded) <= threshold else torch.nextafter(rounded, rounded.new_tensor(-math.inf)))


def _check(boxes: Tensor, scores: Tensor) -> None:
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be [N, 4], got {list(boxes.shape)}")
    if not boxes.is_floating_point():
        raise ValueError(f"boxes must be floating-point numbers, got {boxes.dtype}")
    if scores.shape != boxes.shape[:1]:
        raise ValueError(f"one score is needed for each of {len(boxes)} boxes, got {list(scores.shape)}")
