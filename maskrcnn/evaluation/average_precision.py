"""Average precision as COCO defines it (Lin et al. 2014), the metric of the paper (He et al. 2017, sec. 4).

A detection is a true positive if its IoU with an object of its class is at least t and no detection with a higher score
has taken that object. Going down all detections of all images by score, precision and recall trace a curve. AP is the area
under its envelope, read at 101 recalls, averaged over t = 0.50, 0.55 .. 0.95 and over the classes in the ground truth.

Glossary: D detections and N objects of one image; T IoU thresholds; K classes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from maskrcnn.evaluation.iou import box_areas, box_iou, mask_areas, mask_iou

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
CLASS_AGNOSTIC = "class_agnostic"  # stands for a class name in results that treat all classes as one

# Areas in square pixels, (smallest, largest), both included, as in COCO.
AreaRange = tuple[float, float]
ALL_AREAS: AreaRange = (0.0, float("inf"))
COCO_AREAS: dict[str, AreaRange] = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, float("inf"))}


class APResult(NamedTuple):
    """All in 0..1; nan if there is no object at all. Classes without an object are left out of the dicts and means."""

    ap: float
    ap50: float
    ap75: float
    ar: float  # the recall that all detections together reach, averaged over thresholds and classes
    per_class: dict[str, float]  # AP
    per_class_ap50: dict[str, float]
    per_class_ar: dict[str, float]
    curves: dict[str, np.ndarray]  # class -> precision [T, 101] at the recalls 0, 0.01 .. 1

    def __str__(self) -> str:
        head = f"AP {self.ap:.3f}  AP50 {self.ap50:.3f}  AP75 {self.ap75:.3f}  AR {self.ar:.3f}"
        rows = [
            f"  {name:<14} AP {ap:.3f}  AP50 {self.per_class_ap50[name]:.3f}" for name, ap in self.per_class.items()
        ]
        return "\n".join([head, *rows])


class _Image(NamedTuple):
    """What is kept of one image: all that matching needs, but no masks."""

    iou: np.ndarray  # [D, N]
    scores: np.ndarray  # [D]
    labels: np.ndarray  # [D]
    areas: np.ndarray  # [D]
    gt_labels: np.ndarray  # [N]
    gt_areas: np.ndarray  # [N]
    crowd: np.ndarray  # bool [N]

    def select_class(self, label: int | None, max_detections: int) -> "_Image":
        """One class only (None: all classes as one), the best max_detections detections by falling score."""
        if label is None:  # as in COCO's code, detections with equal scores are then ordered by class
            pred, gt = (np.argsort(labels, kind="stable") for labels in (self.labels, self.gt_labels))
        else:
            pred, gt = np.flatnonzero(self.labels == label), np.flatnonzero(self.gt_labels == label)
        pred = pred[np.argsort(-self.scores[pred], kind="stable")][:max_detections]
        return _Image(
            self.iou[np.ix_(pred, gt)],
            *(values[pred] for values in (self.scores, self.labels, self.areas)),
            *(values[gt] for values in (self.gt_labels, self.gt_areas, self.crowd)),
        )


class _MatchedImage(NamedTuple):
    """The detections of one image and class, by falling score, after matching."""

    matched: np.ndarray  # bool [T, D]: the detection matches an object
    counted: np.ndarray  # bool [T, D]: it is a true or a false positive; False: neither
    scores: np.ndarray  # [D]
    num_objects: int  # to be found


class AveragePrecision:
    """Collects IoUs and scores image by image, then computes the average precision over all images.

    class_names: of labels 1..K; kind: "box" or "mask", what the IoU is computed from; max_detections: how many detections
    count per image and class, the best first. Raises ValueError for another kind.
    """

    def __init__(self, class_names: Sequence[str], kind: str, max_detections: int = 100) -> None:
        if kind not in ("box", "mask"):
            raise ValueError(f"kind {kind!r} is not known; choose box or mask")
        self.class_names = tuple(class_names)
        self.kind = kind
        self.max_detections = max_detections
        self._images: list[_Image] = []
        # Matching does not depend on which images are counted, so a bootstrap matches once: (label, areas) -> images.
        self._matched: dict[tuple[int | None, AreaRange], list[_MatchedImage]] = {}

    def update(self, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """Add one image.

        prediction: boxes [D, 4], labels [D], scores [D], masks [D, 1, H, W] (above 0.5 is the object). target: boxes
        [N, 4], labels [N], masks [N, H, W], and optionally iscrowd [N]: any number of detections may match a crowd, and
        are then neither true nor false positives.
        """
        gt_labels = target["labels"].cpu().numpy()
        crowd = target["iscrowd"].cpu().numpy().astype(bool) if "iscrowd" in target else np.zeros(len(gt_labels), bool)
        if self.kind == "box":
            iou = box_iou(prediction["boxes"], target["boxes"], crowd)
            areas, gt_areas = box_areas(prediction["boxes"]), box_areas(target["boxes"])
        else:
            iou = mask_iou(prediction["masks"], target["masks"], crowd)
            areas, gt_areas = mask_areas(prediction["masks"], 0.5), mask_areas(target["masks"], 0)
        scores, labels = prediction["scores"].cpu().numpy(), prediction["labels"].cpu().numpy()
        self._images.append(_Image(iou, scores, labels, areas, gt_labels, gt_areas, crowd))
        self._matched.clear()

    def __len__(self) -> int:
        """The number of images so far."""
        return len(self._images)

    def area_terciles(self) -> dict[str, AreaRange]:
        """Area ranges with a third of the objects each: cells are of similar size, so COCO's ranges hardly divide them."""
        areas = np.concatenate([image.gt_areas for image in self._images] or [np.zeros(0)])
        if not len(areas):
            return {}
        low, high = np.quantile(areas, (1 / 3, 2 / 3), method="nearest")
        return {
            "smallest_third": (0, low),
            "middle_third": (low + 1e-6, high),
            "largest_third": (high + 1e-6, float("inf")),
        }

    def compute(
        self, class_agnostic: bool = False, areas: AreaRange = ALL_AREAS, images: Sequence[int] | None = None
    ) -> APResult:
        """The result over all images so far.

        class_agnostic: treat all classes as one, which is called CLASS_AGNOSTIC in the result. areas: count only objects
        within this range; a detection that matches an object outside it, or matches none and is itself outside, is neither
        a true nor a false positive. images: count only these, each as often as it is listed.
        """
        all_classes: dict[str, int | None] = {name: label for label, name in enumerate(self.class_names, start=1)}
        curves: dict[str, np.ndarray] = {}
        recall: dict[str, np.ndarray] = {}
        for name, label in ({CLASS_AGNOSTIC: None} if class_agnostic else all_classes).items():
            matched = self._match(label, areas)
            selected = matched if images is None else [matched[i] for i in images]
            if any(image.num_objects for image in selected):
                curves[name], recall[name] = _precision_and_recall(selected)
        if not curves:
            nan = float("nan")
            return APResult(nan, nan, nan, nan, {}, {}, {}, {})
        ap = {name: curve.mean(axis=1) for name, curve in curves.items()}  # [T] each
        mean = np.mean(list(ap.values()), axis=0)  # [T]
        return APResult(
            ap=float(mean.mean()),
            ap50=float(mean[0]),
            ap75=float(mean[5]),
            ar=float(np.mean(list(recall.values()))),
            per_class={name: float(values.mean()) for name, values in ap.items()},
            per_class_ap50={name: float(values[0]) for name, values in ap.items()},
            per_class_ar={name: float(values.mean()) for name, values in recall.items()},
            curves=curves,
        )

    def _match(self, label: int | None, areas: AreaRange) -> list[_MatchedImage]:
        key = label, areas
        if key not in self._matched:
            of_class = (image.select_class(label, self.max_detections) for image in self._images)
            self._matched[key] = [_match_image(image, areas) for image in of_class]
        return self._matched[key]


def _precision_and_recall(images: list[_MatchedImage]) -> tuple[np.ndarray, np.ndarray]:
    """Precision [T, 101] and the highest recall [T] of one class with at least one object."""
    matched, counted = (np.concatenate(parts, axis=1) for parts in zip(*(image[:2] for image in images), strict=True))
    order = np.argsort(-np.concatenate([image.scores for image in images]), kind="stable")
    true_positives = (matched & counted)[:, order].cumsum(axis=1)  # [T, all D]
    false_positives = (~matched & counted)[:, order].cumsum(axis=1)
    recall = true_positives / sum(image.num_objects for image in images)
    precision = true_positives / np.maximum(true_positives + false_positives, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]  # the best precision at this recall or more
    envelope = np.pad(envelope, ((0, 0), (0, 1)))  # beyond the highest recall, precision is 0
    index = np.stack([np.searchsorted(r, RECALLS, side="left") for r in recall])  # [T, 101]
    return np.take_along_axis(envelope, index, axis=1), recall.max(axis=1, initial=0)


def _match_image(image: _Image, areas: AreaRange) -> _MatchedImage:
    """Greedy matching at every threshold: each detection, best first, takes the free object that it overlaps most."""
    num_detections, num_objects = image.iou.shape
    matched = np.zeros((len(THRESHOLDS), num_detections), bool)
    in_range = (image.areas >= areas[0]) & (image.areas <= areas[1])
    counted = np.broadcast_to(in_range, matched.shape).copy()  # for detections that match nothing
    ignored = image.crowd | (image.gt_areas < areas[0]) | (image.gt_areas > areas[1])  # [N]: need not be found
    if not num_objects:
        return _MatchedImage(matched, counted, image.scores, 0)
    min_iou = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]  # [T, 1]
    free = np.ones((len(THRESHOLDS), num_objects), bool)
    rows = np.arange(len(THRESHOLDS))
    for d, iou in enumerate(image.iou):
        possible = free & (iou >= min_iou)  # [T, N]
        preferred = possible & ~ignored
        # An ignored object is matched only if no other is possible.
        candidates = np.where(preferred.any(axis=1, keepdims=True), preferred, possible)
        overlap = np.where(candidates, iou, -1.0)
        best = num_objects - 1 - overlap[:, ::-1].argmax(axis=1)  # of equal IoUs the last one, as in COCO's loop
        matched[:, d] = candidates[rows, best]
        counted[:, d] = np.where(matched[:, d], ~ignored[best], counted[:, d])
        free[rows, best] &= ~matched[:, d] | image.crowd[best]
    return _MatchedImage(matched, counted, image.scores, int((~ignored).sum()))
