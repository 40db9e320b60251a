"""Detections matched to objects and ranked by score, as COCO's code does it: from IoUs to precision and recall.

Glossary: D detections and N objects of one image, or D detections of I images; T IoU thresholds.
"""

from typing import NamedTuple

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)

# Areas in square pixels, (smallest, largest), both included, as in COCO.
AreaRange = tuple[float, float]


class ImageOverlaps(NamedTuple):
    """What is kept of one image: all that matching needs, but no masks."""

    iou: np.ndarray  # [D, N]
    scores: np.ndarray  # [D]
    labels: np.ndarray  # [D]
    areas: np.ndarray  # [D]
    gt_labels: np.ndarray  # [N]
    gt_areas: np.ndarray  # [N]
    crowd: np.ndarray  # bool [N]

    def select_class(self, label: int | None, max_detections: int) -> "ImageOverlaps":
        """One class only (None: all classes as one), the best max_detections detections by falling score."""
        if label is None:  # as in COCO's code, detections with equal scores are then ordered by class
            pred, gt = (np.argsort(labels, kind="stable") for labels in (self.labels, self.gt_labels))
        else:
            pred, gt = np.flatnonzero(self.labels == label), np.flatnonzero(self.gt_labels == label)
        pred = pred[np.argsort(-self.scores[pred], kind="stable")][:max_detections]
        return ImageOverlaps(
            self.iou[np.ix_(pred, gt)],
            *(values[pred] for values in (self.scores, self.labels, self.areas)),
            *(values[gt] for values in (self.gt_labels, self.gt_areas, self.crowd)),
        )


class MatchedImage(NamedTuple):
    """The detections of one image and class, by falling score, after matching."""

    matched: np.ndarray  # bool [T, D]: the detection matches an object
    counted: np.ndarray  # bool [T, D]: it is a true or a false positive; False: neither
    scores: np.ndarray  # [D]
    num_objects: int  # to be found


class Ranked(NamedTuple):
    """The D detections of one class on all I images, by falling score; those of equal scores in the order of the images."""

    true: np.ndarray  # bool [T, D]: a true positive
    counted: np.ndarray  # bool [T, D]: a true or a false positive
    image: np.ndarray  # [B]: of each block, which are the detections of one image that have the same score
    start: np.ndarray  # [B]: the first detection of each block
    length: np.ndarray  # [B]
    num_objects: np.ndarray  # [I]: to be found

    @classmethod
    def of_images(cls, images: list[MatchedImage]) -> "Ranked":
        """All detections of images, sorted."""
        num_objects = np.array([image.num_objects for image in images], int)
        if not images:
            nothing, none = np.zeros((len(THRESHOLDS), 0), bool), np.zeros(0, int)
            return cls(nothing, nothing, none, none, none, num_objects)
        matched, counted = (
            np.concatenate(parts, axis=1) for parts in zip(*(image[:2] for image in images), strict=True)
        )
        scores = np.concatenate([image.scores for image in images])
        of_image = np.repeat(np.arange(len(images)), [len(image.scores) for image in images])
        order = np.argsort(-scores, kind="stable")
        scores, of_image = scores[order], of_image[order]
        differs = (scores[1:] != scores[:-1]) | (of_image[1:] != of_image[:-1])
        start = np.flatnonzero(np.append(True, differs))[: len(order)]
        length = np.diff(start, append=len(order))
        return cls((matched & counted)[:, order], counted[:, order], of_image[start], start, length, num_objects)

    def precision_and_recall(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Precision [T, 101] and the highest recall [T] if each image counts so often, [I]; at least one has an object."""
        order, num_objects = self._repeated(times), times @ self.num_objects
        true, counted = self.true[:, order], self.counted[:, order].cumsum(axis=1)
        curves, recalls = np.zeros((len(THRESHOLDS), len(RECALLS))), np.zeros(len(THRESHOLDS))
        for t in range(len(THRESHOLDS)):
            # Going down the detections precision falls at every false positive, so its envelope needs true ones only.
            places = np.flatnonzero(true[t])
            found = np.arange(1, len(places) + 1)
            precision, recall = found / counted[t, places], found / num_objects
            envelope = np.maximum.accumulate(precision[::-1])[::-1]  # the best precision at this recall or more
            reached = np.searchsorted(recall, RECALLS, side="left")
            curves[t] = np.append(envelope, 0)[reached]  # beyond the highest recall, precision is 0
            recalls[t] = recall.max(initial=0)
        return curves, recalls

    def _repeated(self, times: np.ndarray) -> np.ndarray:
        """The detections, each block as often as its image counts."""
        blocks = np.repeat(np.arange(len(self.start)), times[self.image])
        length = self.length[blocks]
        within = np.arange(length.sum()) - np.repeat(length.cumsum() - length, length)  # the place in the block
        return np.repeat(self.start[blocks], length) + within


def match_image(image: ImageOverlaps, areas: AreaRange) -> MatchedImage:
    """Greedy matching at every threshold: each detection, best first, takes the free object that it overlaps most."""
    num_detections, num_objects = image.iou.shape
    matched = np.zeros((len(THRESHOLDS), num_detections), bool)
    in_range = (image.areas >= areas[0]) & (image.areas <= areas[1])
    counted = np.broadcast_to(in_range, matched.shape).copy()  # for detections that match nothing
    ignored = image.crowd | (image.gt_areas < areas[0]) | (image.gt_areas > areas[1])  # [N]: need not be found
    if not num_objects:
        return MatchedImage(matched, counted, image.scores, 0)
    min_iou = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]  # [T, 1]
    free = np.ones((len(THRESHOLDS), num_objects), bool)
    rows = np.arange(len(THRESHOLDS))
    for d in np.flatnonzero((image.iou >= THRESHOLDS[0]).any(axis=1)):  # the others match nothing
        iou = image.iou[d]
        possible = free & (iou >= min_iou)  # [T, N]
        preferred = possible & ~ignored
        # An ignored object is matched only if no other is possible.
        candidates = np.where(preferred.any(axis=1, keepdims=True), preferred, possible)
        overlap = np.where(candidates, iou, -1.0)
        best = num_objects - 1 - overlap[:, ::-1].argmax(axis=1)  # of equal IoUs the last one, as in COCO's loop
        matched[:, d] = candidates[rows, best]
        counted[:, d] = np.where(matched[:, d], ~ignored[best], counted[:, d])
        free[rows, best] &= ~matched[:, d] | image.crowd[best]
    return MatchedImage(matched, counted, image.scores, int((~ignored).sum()))
