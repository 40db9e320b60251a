"""Average precision with confidence intervals: over all classes, class-agnostic, of each class, and by area."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from maskrcnn.evaluation.average_precision import CLASS_AGNOSTIC, COCO_AREAS, APResult, AveragePrecision
from maskrcnn.evaluation.bootstrap import ArrayEstimate, Estimate, bootstrap
from maskrcnn.evaluation.ranking import RECALLS

N_BOOTSTRAP = 200  # fewer rounds than for other metrics: each one sorts all detections again
AP_COLUMNS = ("ap", "ap50", "ap75", "ar")
CURVE = "curve"


def ap_intervals(
    mask: AveragePrecision, box: AveragePrecision, groups: Sequence[int] | None = None
) -> tuple[dict[str, dict[str, Estimate]], ArrayEstimate]:
    """Two results of `bootstrap` over images: a table, row -> AP_COLUMNS -> estimate, and a curve [101].

    Rows, in this order: "mask" and "box", both with "_class_agnostic", both with "_" and the name of each class in the
    ground truth, "mask_class_agnostic_" with the name of each area range (COCO's, then `AveragePrecision.area_terciles`).
    The curve is the class-agnostic precision of masks at IoU 0.5 and the recalls 0, 0.01 .. 1. groups: see `bootstrap`.
    """
    metrics = {"mask": mask, "box": box}
    classes = list(mask.compute().per_class)
    areas = {**COCO_AREAS, **mask.area_terciles()}

    def statistics(weights: NDArray[np.float64]) -> Mapping[str, NDArray[np.float64]]:
        images = np.repeat(np.arange(len(mask)), weights.astype(int)).tolist()
        per_class = {kind: metric.compute(images=images) for kind, metric in metrics.items()}
        agnostic = {kind: metric.compute(class_agnostic=True, images=images) for kind, metric in metrics.items()}
        rows = {kind: summary(result) for kind, result in per_class.items()}
        rows |= {f"{kind}_class_agnostic": summary(result) for kind, result in agnostic.items()}
        rows |= {f"{kind}_{name}": class_summary(per_class[kind], name) for kind in metrics for name in classes}
        for name, area_range in areas.items():
            rows[f"mask_class_agnostic_{name}"] = summary(mask.compute(True, area_range, images))
        curves = agnostic["mask"].curves  # empty if the sampled images have no object
        return {**rows, CURVE: curves[CLASS_AGNOSTIC][0] if curves else np.full(len(RECALLS), np.nan)}

    estimates = bootstrap(statistics, len(mask), N_BOOTSTRAP, groups=groups)
    curve = estimates.pop(CURVE)
    table = {row: {column: e.at(k) for k, column in enumerate(AP_COLUMNS)} for row, e in estimates.items()}
    for name in (name for name in classes if mask.num_objects(name) == 1):  # nothing tells how another one would fare
        for kind in metrics:
            table[f"{kind}_{name}"] = {column: e.without_interval() for column, e in table[f"{kind}_{name}"].items()}
    return table, curve


def summary(result: APResult) -> NDArray[np.float64]:
    """AP_COLUMNS [4] over all classes."""
    return np.array([result.ap, result.ap50, result.ap75, result.ar])


def class_summary(result: APResult, name: str) -> NDArray[np.float64]:
    """AP_COLUMNS [4] of one class; nan if it has no object."""
    if name not in result.per_class:
        return np.full(len(AP_COLUMNS), np.nan)
    curve = result.curves[name]  # [T, 101]
    ap75 = curve[5].mean()
    return np.array([result.per_class[name], result.per_class_ap50[name], ap75, result.per_class_ar[name]])
