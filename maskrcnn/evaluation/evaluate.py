"""Everything there is to say about a model on a labelled data set, in one pass: average precision, cells, failures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn.evaluation.average_precision import COCO_AREAS, APResult, AveragePrecision
from maskrcnn.evaluation.cells import CellMeasures, Estimate, Pairs, bootstrap
from maskrcnn.evaluation.failures import KINDS, Failure, find_failures
from maskrcnn.heads import named_once
from maskrcnn.model import MaskRCNN
from maskrcnn.precision import autocast

AP_ROUNDS = 200  # of the bootstrap: each computes AP anew


@dataclass
class Evaluation:
    """What `evaluate` found. Images are numbered as they came."""

    class_names: tuple[str, ...]
    min_score: float
    ap: dict[str, APResult]  # "mask", "box", and both for any class: "mask, any class" ..
    ap_intervals: dict[str, dict[str, Estimate]]  # the same names -> "AP", "AP50", "AP75"
    ap_by_area: dict[str, APResult]  # mask AP, any class: of COCO's ranges and of thirds of the cells
    cells: dict[str, dict[str, Estimate]]  # see CellMeasures.compute
    confusion: NDArray[np.float64]  # [K + 1, K + 1]: true, called; 0 is nothing
    calibration: NDArray[np.float64]  # [bins, 3]: detections, of them right, sum of their scores
    pairs: list[Pairs]
    failures: list[list[Failure]]
    predictions: list[dict[str, Tensor]] = field(repr=False)  # those of min_score or more, masks bool [D, H, W]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; nan becomes None."""

        def plain(value: float) -> float | None:
            return None if np.isnan(value) else round(float(value), 5)

        def result(one: APResult) -> dict[str, Any]:
            return {
                "AP": plain(one.ap), "AP50": plain(one.ap50), "AP75": plain(one.ap75), "AR": plain(one.ar),
                "AP per class": {name: plain(value) for name, value in one.per_class.items()},
                "AP50 per class": {name: plain(value) for name, value in one.per_class_ap50.items()},
            }  # fmt: skip

        def intervals(table: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
            return {row: {name: [plain(x) for x in e] for name, e in columns.items()} for row, columns in table.items()}

        kinds = [failure.kind for failures in self.failures for failure in failures]
        return {
            "images": len(self.pairs),
            "classes": list(self.class_names),
            "min_score": self.min_score,
            "average precision": {name: result(one) for name, one in self.ap.items()},
            "average precision, value and 95 % interval": intervals(self.ap_intervals),
            "average precision of masks of any class by area": {k: result(one) for k, one in self.ap_by_area.items()},
            "cells, value and 95 % interval": intervals(self.cells),
            "confusion, true class by class it was called": self.confusion.astype(int).tolist(),
            "calibration, detections and right ones and sum of scores": self.calibration.round(5).tolist(),
            "failures": {kind: kinds.count(kind) for kind in KINDS},
        }


@torch.inference_mode()
def evaluate(
    model: MaskRCNN,
    samples: Iterable[tuple[Tensor, Mapping[str, Tensor]]],
    precision: str = "auto",
    min_score: float = 0.5,
) -> Evaluation:
    """samples: (image, target) as `MaskRCNN` takes them. min_score: from which a detection counts as one, but for AP, which
    counts all. The model is left in the mode it was in. Raises ValueError without a sample."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    names = model.config.class_names
    kinds = {kind: AveragePrecision(names, kind) for kind in ("mask", "box")}
    cells = CellMeasures(names, min_score)
    pairs: list[Pairs] = []
    failures: list[list[Failure]] = []
    predictions: list[dict[str, Tensor]] = []
    for image, target in samples:
        with autocast(device, precision):
            prediction = {name: value.cpu() for name, value in model([image.to(device)])[0].items()}
        for measure in kinds.values():
            measure.update(prediction, target)
        prediction = named_once(prediction)
        pairs.append(cells.update(prediction, target))
        failures.append(find_failures(prediction, target, pairs[-1], min_score))
        sure = {name: value[prediction["scores"] >= min_score] for name, value in prediction.items()}
        predictions.append({**sure, "masks": sure["masks"][:, 0] > 0.5})
    model.train(was_training)
    if not pairs:
        raise ValueError("no images to evaluate on")
    total = cells.total()
    ap = {kind: measure.compute() for kind, measure in kinds.items()}
    ap |= {f"{kind}, any class": measure.compute(class_agnostic=True) for kind, measure in kinds.items()}
    areas = {**COCO_AREAS, **kinds["mask"].area_terciles()}
    return Evaluation(
        class_names=names,
        min_score=min_score,
        ap=ap,
        ap_intervals={name: _ap_intervals(kinds[name.split(",")[0]], "any" in name, len(pairs)) for name in ap},
        ap_by_area={name: kinds["mask"].compute(True, limits) for name, limits in areas.items()},
        cells=cells.compute(),
        confusion=total.confusion,
        calibration=total.sure,
        pairs=pairs,
        failures=failures,
        predictions=predictions,
    )


def _ap_intervals(measure: AveragePrecision, class_agnostic: bool, images: int) -> dict[str, Estimate]:
    def of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn = measure.of_images(np.repeat(np.arange(images), weights.astype(int)).tolist())
        result = drawn.compute(class_agnostic)
        return np.array([result.ap, result.ap50, result.ap75])

    value, low, high = bootstrap(of, images, AP_ROUNDS)
    return {name: Estimate(*(float(x[i]) for x in (value, low, high))) for i, name in enumerate(("AP", "AP50", "AP75"))}


def table(result: Evaluation) -> str:
    """What matters most, as text: values with their 95 % intervals over images."""
    lines = [f"{len(result.pairs)} images, {int(result.confusion[1:].sum())} cells; 95 % intervals over images", ""]
    lines += _rows(result.ap_intervals, ("AP", "AP50", "AP75"), "average precision")
    names: Sequence[str] = list(next(iter(result.cells.values())))
    lines += ["", *_rows(result.cells, names, f"cells, score from {result.min_score:g}")]
    counts = [failure.kind for failures in result.failures for failure in failures]
    lines += ["", "failures: " + (", ".join(f"{counts.count(k)} {k}" for k in KINDS if k in counts) or "none")]
    return "\n".join(lines)


def _rows(values: Mapping[str, Mapping[str, Estimate]], columns: Sequence[str], title: str) -> list[str]:
    width = max(22, *(len(str(e)) + 2 for row in values.values() for e in row.values()))
    lines = [f"{title:24s}" + "".join(f"{name:>{width}s}" for name in columns)]
    for name, row in values.items():
        lines.append(f"{name:24s}" + "".join(f"{row[column]!s:>{width}s}" for column in columns))
    return lines
