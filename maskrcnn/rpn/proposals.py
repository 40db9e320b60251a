"""From objectness and deltas to proposals: the best anchors of each level, moved by their deltas, clipped, filtered by NMS
(Ren et al. 2015, sec. 3.3 "Implementation details"; with FPN per level, Lin et al. 2017, sec. 4.1)."""

from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn import boxes as box_algebra
from maskrcnn.describe import described
from maskrcnn.rpn.anchors import Anchors
from maskrcnn.rpn.head import RPNPrediction
from maskrcnn.rpn.nms import batched_nms


@described
class Proposals(NamedTuple):
    """For each image, best first: boxes [P_i, 4] in pixels of the resized image, objectness [P_i] as a probability."""

    boxes: list[Tensor]
    objectness: list[Tensor]


class ProposalSelector:
    """pre_nms_top_n: boxes per level before NMS; post_nms_top_n: boxes per image after it; nms_thresh: IoU above which the
    lower-scoring of two boxes is suppressed; min_size: smaller boxes, in pixels, are removed."""

    def __init__(self, pre_nms_top_n: int, post_nms_top_n: int, nms_thresh: float, min_size: float) -> None:
        self.pre_nms_top_n, self.post_nms_top_n = pre_nms_top_n, post_nms_top_n
        self.nms_thresh = nms_thresh
        self.min_size = min_size

    @torch.no_grad()  # proposals carry no gradient: the second stage takes them as given (Ren et al. 2015, sec. 3.2)
    def __call__(self, prediction: RPNPrediction, anchors: Anchors, sizes: list[tuple[int, int]]) -> Proposals:
        """sizes: (height, width) of each image before padding, to which the boxes are clipped."""
        best = self._best_per_level(prediction.objectness, anchors.per_level)  # [B, T]
        level = torch.arange(len(anchors.per_level), device=best.device)
        level = level.repeat_interleave(torch.tensor(anchors.per_level, device=best.device))  # [A]
        selected = [
            self._select(
                prediction.objectness[i, index], prediction.deltas[i, index], anchors.boxes[index], level[index], s
            )
            for i, (index, s) in enumerate(zip(best, sizes, strict=True))
        ]
        return Proposals([boxes for boxes, _ in selected], [objectness for _, objectness in selected])

    def _best_per_level(self, objectness: Tensor, per_level: tuple[int, ...]) -> Tensor:
        """Indices [B, T] into the anchors of the `pre_nms_top_n` highest logits of each level."""
        best, start = [], 0
        for level in objectness.split(per_level, dim=1):
            best.append(level.topk(min(self.pre_nms_top_n, level.shape[1]), dim=1).indices + start)
            start += level.shape[1]
        return torch.cat(best, dim=1)

    def _select(
        self, objectness: Tensor, deltas: Tensor, anchors: Tensor, level: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        boxes = box_algebra.clip_to_image(box_algebra.decode(deltas, anchors), size)  # [T, 4]
        scores = objectness.sigmoid()  # [T]
        large = box_algebra.large_enough(boxes, self.min_size)
        boxes, scores, level = boxes[large], scores[large], level[large]
        keep = batched_nms(boxes, scores, level, self.nms_thresh, self.post_nms_top_n)
        return boxes[keep], scores[keep]
