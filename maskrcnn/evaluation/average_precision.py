"""Average precision as COCO defines it (Lin et al. 2014), the metric of the paper (He et al. 2017, sec. 4).

A detection is a true positive if its IoU with an object of its class is at least t and no detection with a higher score
has taken that object. Going down all detections of all images by score, precision and recall trace a curve. AP is the area
under its envelope, read at 101 recalls, averaged over t = 0.50, 0.55 .. 0.95 and over the classes in the ground truth.

Glossary: D detections and N objects of one image; T IoU thresholds; K classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maskrcnn.evaluation.instances import (
    Instances,
    crowd,
    labels_of,
    predicted_regions,
    scores_of,
    tensor,
    true_regions,
)
from maskrcnn.evaluation.iou import box_areas, box_iou, region_areas, region_iou
from maskrcnn.evaluation.ranking import AreaRange, ImageOverlaps, Ranked, match_image

MAX_DETECTIONS = 100  # per image and class, as COCO counts them
CLASS_AGNOSTIC = "class_agnostic"  # stands for a class name in results that treat all classes as one

# Areas in square pixels, (smallest, largest), both included, as in COCO.
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


class AveragePrecision:
    """Collects IoUs and scores image by image, then computes the average precision over all images.

    class_names: of labels 1..K; kind: "box" or "mask", what the IoU is computed from; max_detections: how many detections
    count per image and class, the best first. Raises ValueError for another kind.
    """

    def __init__(self, class_names: Sequence[str], kind: str, max_detections: int = MAX_DETECTIONS) -> None:
        if kind not in ("box", "mask"):
            raise ValueError(f"kind {kind!r} is not known; choose box or mask")
        self.class_names = tuple(class_names)
        self.kind = kind
        self.max_detections = max_detections
        self._images: list[ImageOverlaps] = []
        # Matching and sorting do not depend on which images are counted, so a bootstrap does them once: (label, areas) ->.
        self._ranked: dict[tuple[int | None, AreaRange], Ranked] = {}

    def update(self, prediction: Instances, target: Instances) -> None:
        """Add one image. prediction, target: see `instances`; of their boxes and masks only those of `kind` are needed.

        A target may have iscrowd [N]: any number of detections may match a crowd, and are then neither true nor false
        positives.
        """
        is_crowd = crowd(target)
        if self.kind == "box":
            boxes, gt_boxes = tensor(prediction, "boxes"), tensor(target, "boxes")
            iou, areas, gt_areas = box_iou(boxes, gt_boxes, is_crowd), box_areas(boxes), box_areas(gt_boxes)
        else:
            regions, gt_regions = predicted_regions(prediction), true_regions(target)
            iou = region_iou(regions, gt_regions, is_crowd)
            areas, gt_areas = region_areas(regions), region_areas(gt_regions)
        scores, labels, gt_labels = scores_of(prediction), labels_of(prediction), labels_of(target)
        self._images.append(ImageOverlaps(iou, scores, labels, areas, gt_labels, gt_areas, is_crowd))
        self._ranked.clear()

    def __len__(self) -> int:
        """The number of images so far."""
        return len(self._images)

    def num_objects(self, name: str) -> int:
        """The number of objects of a class that are to be found."""
        return int(self._rank(self.class_names.index(name) + 1, ALL_AREAS).num_objects.sum())

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
        times = np.ones(len(self), int) if images is None else np.bincount(images, minlength=len(self))
        curves: dict[str, np.ndarray] = {}
        recall: dict[str, np.ndarray] = {}
        for name, label in ({CLASS_AGNOSTIC: None} if class_agnostic else all_classes).items():
            ranked = self._rank(label, areas)
            if times @ ranked.num_objects:
                curves[name], recall[name] = ranked.precision_and_recall(times)
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

    def _rank(self, label: int | None, areas: AreaRange) -> "Ranked":
        key = label, areas
        if key not in self._ranked:
            of_class = (image.select_class(label, self.max_detections) for image in self._images)
            self._ranked[key] = Ranked.of_images([match_image(image, areas) for image in of_class])
        return self._ranked[key]
