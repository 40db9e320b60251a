"""From class logits and box deltas to detections: threshold, per-class NMS, the best hundred (He et al. 2017, sec. 3.1
"Inference").

Glossary: R RoIs of one image; K classes without background; D detections.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn import boxes as box_algebra
from maskrcnn.describe import description
from maskrcnn.heads.box import BoxPrediction
from maskrcnn.rpn.nms import batched_nms, nms


class Detections(NamedTuple):
    """For each image, best first: boxes [D_i, 4] in its resized pixels, labels [D_i] in 1..K, scores [D_i] in 0..1."""

    boxes: list[Tensor]
    labels: list[Tensor]
    scores: list[Tensor]

    def __repr__(self) -> str:
        return description(self)


class Detector:
    """score_threshold: the lowest score to report; nms_threshold: IoU above which the weaker of two boxes goes;
    max_detections an image; min_size: pixels below which a box is dropped; class_agnostic_nms: boxes suppress those of
    other classes too, so that one cell is reported once; weights: see `boxes.encode`."""

    def __init__(
        self,
        score_threshold: float,
        nms_threshold: float,
        max_detections: int,
        min_size: float,
        class_agnostic_nms: bool,
        weights: tuple[float, float, float, float],
    ) -> None:
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.max_detections = max_detections
        self.min_size = min_size
        self.class_agnostic_nms = class_agnostic_nms
        self.weights = weights

    @torch.no_grad()
    def __call__(self, prediction: BoxPrediction, proposals: list[Tensor], sizes: list[tuple[int, int]]) -> Detections:
        """proposals: [R_i, 4] for each image, in the order of `prediction`; sizes: (height, width) to clip to."""
        counts = [len(boxes) for boxes in proposals]
        logits, deltas = prediction.class_logits.split(counts), prediction.box_deltas.split(counts)
        images = [self._detect(*image) for image in zip(logits, deltas, proposals, sizes, strict=True)]
        boxes, labels, scores = (list(field) for field in zip(*images, strict=True))
        return Detections(boxes, labels, scores)

    def _detect(
        self, logits: Tensor, deltas: Tensor, proposals: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        scores = logits.softmax(dim=-1)  # [R, K + 1]
        # Every class above the threshold is a candidate of its own, with that class's deltas; background never is.
        roi, label = torch.where(scores[:, 1:] > self.score_threshold)
        label = label + 1
        boxes = box_algebra.clip(box_algebra.decode(deltas[roi, label], proposals[roi], self.weights), size)
        score = scores[roi, label]
        large = box_algebra.is_larger_than(boxes, self.min_size)
        boxes, label, score = boxes[large], label[large], score[large]
        groups = torch.zeros_like(label) if self.class_agnostic_nms else label
        keep = batched_nms(boxes, score, groups, self.nms_threshold, self.max_detections)
        return boxes[keep], label[keep], score[keep]


def named_once(result: Mapping[str, Tensor], iou_threshold: float = 0.5) -> dict[str, Tensor]:
    """Without the weaker of two detections of one object, whatever their classes.

    result: what `MaskRCNN` returns for one image, best first. The paper suppresses boxes of the same class only, so that an
    object may be reported under several names, each with its own score. Average precision takes that as it is; whoever
    counts cells wants each of them once.
    """
    keep = nms(result["boxes"], result["scores"], iou_threshold)
    return {name: values[keep] for name, values in result.items()}


def objects_found(result: Mapping[str, Tensor], min_score: float) -> dict[str, Tensor]:
    """What there is in an image, for whoever counts: each object once (`named_once`), with a score of min_score or more, and
    with a mask that is above 0.5 somewhere: without one it could not be outlined or measured."""
    once = named_once(result)
    keep = (once["scores"] >= min_score) & (once["masks"] > 0.5).flatten(1).any(dim=1)
    return {name: values[keep] for name, values in once.items()}
