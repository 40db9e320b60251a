"""Average precision as COCO defines it (Lin et al. 2014; the paper's measure, He et al. 2017, sec. 4).

A detection is right if it overlaps an object of its class, not yet taken by a better one, with an IoU of at least t. Going
down all detections of all images by score, precision and recall trace a curve; AP is the area under its envelope, read at
101 recalls, and the mean of that over t = 0.50, 0.55 .. 0.95 and over the classes that the ground truth has.

Glossary: D detections and N objects of one image; T IoU thresholds; K classes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from maskrcnn.evaluation.overlaps import box_areas, box_iou, mask_areas, mask_iou

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)

# Areas in pixels: from, to, both included, as in COCO.
AreaRange = tuple[float, float]
ANY_AREA: AreaRange = (0.0, float("inf"))
COCO_AREAS: dict[str, AreaRange] = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, float("inf"))}


class APResult(NamedTuple):
    """All in 0..1; nan where there is no object at all. Classes without an object are left out of the dicts and means."""

    ap: float
    ap50: float
    ap75: float
    ar: float  # mean over thresholds and classes of the recall that all detections reach
    per_class: dict[str, float]  # AP
    per_class_ap50: dict[str, float]
    per_class_ar: dict[str, float]
    curves: dict[str, np.ndarray]  # precision [T, 101] at the recalls 0, 0.01 .. 1, of each class

    def __str__(self) -> str:
        head = f"AP {self.ap:.3f}  AP50 {self.ap50:.3f}  AP75 {self.ap75:.3f}  AR {self.ar:.3f}"
        rows = [
            f"  {name:<14} AP {ap:.3f}  AP50 {self.per_class_ap50[name]:.3f}" for name, ap in self.per_class.items()
        ]
        return "\n".join([head, *rows])


class _Image(NamedTuple):
    """What is kept of one image: iou [D, N], scores [D], labels [D], areas [D], gt_labels [N], gt_areas [N], crowd [N]."""

    iou: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    gt_labels: np.ndarray
    gt_areas: np.ndarray
    crowd: np.ndarray

    def of_class(self, label: int | None, max_detections: int) -> "_Image":
        """Only one class (all as one for None), detections best first and no more than max_detections."""
        # Where classes are one, those of equal scores stand by class, as in COCO's own code.
        by_class, gt_by_class = (np.argsort(x, kind="stable") for x in (self.labels, self.gt_labels))
        which = by_class if label is None else np.flatnonzero(self.labels == label)
        which = which[np.argsort(-self.scores[which], kind="stable")][:max_detections]
        gt = gt_by_class if label is None else np.flatnonzero(self.gt_labels == label)
        return _Image(
            self.iou[np.ix_(which, gt)],
            *(x[which] for x in (self.scores, self.labels, self.areas)),
            *(x[gt] for x in (self.gt_labels, self.gt_areas, self.crowd)),
        )


class _Outcome(NamedTuple):
    """Of one image and class, best detection first: right [T, D], counted [T, D], scores [D], and how many objects there
    are to find."""

    right: np.ndarray
    counted: np.ndarray
    scores: np.ndarray
    objects: int


class AveragePrecision:
    """Takes one image after the other, keeping only IoUs and scores, then computes the average precision of all.

    class_names: of labels 1..K; kind: "box" or "mask", what overlaps are measured on; max_detections: how many an image
    (and class) count, the best.
    """

    def __init__(self, class_names: Sequence[str], kind: str, max_detections: int = 100) -> None:
        if kind not in ("box", "mask"):
            raise ValueError(f"kind {kind!r} is not known; choose box or mask")
        self.class_names = tuple(class_names)
        self.kind = kind
        self.max_detections = max_detections
        self._images: list[_Image] = []
        # What came of each image, by class (None: any) and area range: the same in every draw of a bootstrap.
        self._outcomes: dict[tuple[int | None, AreaRange], list[_Outcome]] = {}
        self._drawn_from: tuple[AveragePrecision, Sequence[int]] | None = None

    def update(self, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """One image. prediction: boxes [D, 4], labels [D], scores [D], masks [D, 1, H, W] (above 0.5 is the object);
        target: boxes [N, 4], labels [N], masks [N, H, W], and iscrowd [N] if some are crowds, which any number of
        detections may match without being right or wrong."""
        gt_labels = target["labels"].cpu().numpy()
        crowd = target["iscrowd"].cpu().numpy().astype(bool) if "iscrowd" in target else np.zeros(len(gt_labels), bool)
        if self.kind == "box":
            iou = box_iou(prediction["boxes"], target["boxes"], crowd)
            areas, gt_areas = (box_areas(x["boxes"]) for x in (prediction, target))
        else:
            iou = mask_iou(prediction["masks"], target["masks"], crowd)
            areas, gt_areas = (mask_areas(x["masks"], level) for x, level in ((prediction, 0.5), (target, 0)))
        scores, labels = prediction["scores"].cpu().numpy(), prediction["labels"].cpu().numpy()
        self._images.append(_Image(iou, scores, labels, areas, gt_labels, gt_areas, crowd))
        self._outcomes.clear()
        self._drawn_from = None

    def __len__(self) -> int:
        """Images so far."""
        return len(self._images)

    def of_images(self, indices: Sequence[int]) -> "AveragePrecision":
        """The same of some of the images, each as often as it is named: what a bootstrap draws."""
        drawn = AveragePrecision(self.class_names, self.kind, self.max_detections)
        drawn._images = [self._images[i] for i in indices]
        drawn._drawn_from = self, indices
        return drawn

    def area_terciles(self) -> dict[str, AreaRange]:
        """Ranges that hold a third of the objects each: COCO's were made for other things than cells."""
        areas = np.concatenate([image.gt_areas for image in self._images] or [np.zeros(0)])
        if not len(areas):
            return {}
        low, high = np.quantile(areas, (1 / 3, 2 / 3), method="nearest")
        return {
            "smallest third": (0, low),
            "middle third": (low + 1e-6, high),
            "largest third": (high + 1e-6, float("inf")),
        }

    def compute(self, class_agnostic: bool = False, areas: AreaRange = ANY_AREA) -> APResult:
        """The result over all images so far. class_agnostic: as if all classes were one, called "any".

        areas: only objects within count. A detection that matches one outside, or matches none and is outside itself, is
        neither right nor wrong.
        """
        classes = {"any": None} if class_agnostic else {name: k for k, name in enumerate(self.class_names, start=1)}
        curves: dict[str, np.ndarray] = {}
        recall: dict[str, np.ndarray] = {}
        for name, label in classes.items():
            outcomes = self._outcomes_of(label, areas)
            if any(outcome.objects for outcome in outcomes):
                curves[name], recall[name] = _precision_and_recall(outcomes)
        if not curves:
            nan = float("nan")
            return APResult(nan, nan, nan, nan, {}, {}, {}, {})
        ap = {name: curve.mean(axis=1) for name, curve in curves.items()}
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

    def _outcomes_of(self, label: int | None, areas: AreaRange) -> list[_Outcome]:
        if self._drawn_from:
            whole, indices = self._drawn_from
            outcomes = whole._outcomes_of(label, areas)
            return [outcomes[i] for i in indices]
        key = label, areas
        if key not in self._outcomes:
            images = (image.of_class(label, self.max_detections) for image in self._images)
            self._outcomes[key] = [_outcome(image, areas) for image in images]
        return self._outcomes[key]


def _ignored(image: _Image, areas: AreaRange) -> np.ndarray:
    """bool [N]: the objects that need not be found."""
    return image.crowd | (image.gt_areas < areas[0]) | (image.gt_areas > areas[1])


def _precision_and_recall(outcomes: list[_Outcome]) -> tuple[np.ndarray, np.ndarray]:
    """Precision [T, 101] and the highest recall [T] of one class that has an object somewhere."""
    objects = sum(outcome.objects for outcome in outcomes)
    right = np.concatenate([outcome.right for outcome in outcomes], axis=1)  # [T, all D]
    counted = np.concatenate([outcome.counted for outcome in outcomes], axis=1)
    order = np.argsort(-np.concatenate([outcome.scores for outcome in outcomes]), kind="stable")
    right, wrong = (right & counted)[:, order], (~right & counted)[:, order]
    true_positives, false_positives = right.cumsum(axis=1), wrong.cumsum(axis=1)
    recall = true_positives / objects
    precision = true_positives / np.maximum(true_positives + false_positives, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]  # the best precision at this recall or more
    # Beyond the highest recall reached, precision is 0.
    envelope = np.pad(envelope, ((0, 0), (0, 1)))
    index = np.stack([np.searchsorted(r, RECALLS, side="left") for r in recall])  # [T, 101]
    return np.take_along_axis(envelope, index, axis=1), recall.max(axis=1, initial=0)


def _outcome(image: _Image, areas: AreaRange) -> _Outcome:
    """Greedy matching of one image and class at every threshold: which detections match an object, and which count at
    all: a match with an ignored object does not."""
    detections, objects = image.iou.shape
    matched = np.zeros((len(THRESHOLDS), detections), bool)
    inside = (image.areas >= areas[0]) & (image.areas <= areas[1])
    counted = np.broadcast_to(inside, matched.shape).copy()  # what matches nothing counts if its own area does
    ignored = _ignored(image, areas)
    if not objects:
        return _Outcome(matched, counted, image.scores, 0)
    least = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]  # [T, 1]
    free = np.ones((len(THRESHOLDS), objects), bool)
    rows = np.arange(len(THRESHOLDS))
    for d, iou in enumerate(image.iou):
        possible = free & (iou >= least)  # [T, N]
        proper = possible & ~ignored
        # What is ignored takes only what no other object does.
        candidates = np.where(proper.any(axis=1, keepdims=True), proper, possible)
        overlap = np.where(candidates, iou, -1.0)
        best = objects - 1 - overlap[:, ::-1].argmax(axis=1)  # the last of equals, as COCO's loop has it
        matched[:, d] = candidates[rows, best]
        counted[:, d] = np.where(matched[:, d], ~ignored[best], counted[:, d])
        free[rows, best] &= ~matched[:, d] | image.crowd[best]
    return _Outcome(matched, counted, image.scores, int((~ignored).sum()))
