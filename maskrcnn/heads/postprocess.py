"""From class logits and box deltas to detections: score threshold, NMS per class, the best hundred (He et al. 2017, sec. 3.1
"Inference").

Glossary: R RoIs of one image; K classes without background; D detections.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn import boxes as box_algebra
from maskrcnn.describe import described
from maskrcnn.heads.box import BoxPrediction
from maskrcnn.rpn.nms import batched_nms, nms


@described
class Detections(NamedTuple):
    """For each image, best first: boxes [D_i, 4] in pixels of the resized image, labels [D_i] in 1..K, scores [D_i]."""

    boxes: list[Tensor]
    labels: list[Tensor]
    scores: list[Tensor]


class BoxPostProcessor:
    """score_thresh: the lowest score to report; nms_thresh: IoU above which the lower-scoring of two boxes is suppressed;
    detections_per_img: the limit per image; min_size: smaller boxes, in pixels, are removed; class_agnostic_nms: boxes also
    suppress those of other classes, so that each object is reported once; reg_weights: see `boxes.encode`."""

    def __init__(
        self,
        score_thresh: float,
        nms_thresh: float,
        detections_per_img: int,
        min_size: float,
        class_agnostic_nms: bool,
        reg_weights: tuple[float, float, float, float],
    ) -> None:
        self.score_thresh, self.nms_thresh = score_thresh, nms_thresh
        self.detections_per_img = detections_per_img
        self.min_size = min_size
        self.class_agnostic_nms = class_agnostic_nms
        self.reg_weights = reg_weights

    @torch.no_grad()
    def __call__(self, prediction: BoxPrediction, proposals: list[Tensor], sizes: list[tuple[int, int]]) -> Detections:
        """proposals: [R_i, 4] for each image, in the order of `prediction`; sizes: (height, width) to clip to."""
        counts = [len(boxes) for boxes in proposals]
        logits, deltas = prediction.class_logits.split(counts), prediction.box_deltas.split(counts)
        images = [self._one_image(*image) for image in zip(logits, deltas, proposals, sizes, strict=True)]
        boxes, labels, scores = (list(values) for values in zip(*images, strict=True))
        return Detections(boxes, labels, scores)

    def _one_image(
        self, logits: Tensor, deltas: Tensor, proposals: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        scores = logits.softmax(dim=-1)  # [R, K + 1]
        # Each class above the threshold is a candidate, with its own deltas; background (0) never is.
        roi, label = torch.where(scores[:, 1:] > self.score_thresh)
        label = label + 1
        boxes = box_algebra.decode(deltas[roi, label], proposals[roi], self.reg_weights)
        boxes = box_algebra.clip_to_image(boxes, size)
        score = scores[roi, label]
        large = box_algebra.large_enough(boxes, self.min_size)
        boxes, label, score = boxes[large], label[large], score[large]
        groups = torch.zeros_like(label) if self.class_agnostic_nms else label
        keep = batched_nms(boxes, score, groups, self.nms_thresh, self.detections_per_img)
        return boxes[keep], label[keep], score[keep]


def class_agnostic_nms(result: Mapping[str, Tensor], iou_threshold: float = 0.5) -> dict[str, Tensor]:
    """NMS over all classes together on one image's results: each object keeps its best class only.

    result: what `MaskRCNN` returns for an image. The paper suppresses boxes of the same class only, so an object may be
    reported under several classes, each with its score. Average precision expects that; counting cells does not.
    """
    keep = nms(result["boxes"], result["scores"], iou_threshold)
    return {name: values[keep] for name, values in result.items()}
