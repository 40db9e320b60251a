"""AP against pycocotools, on cases where every rule of the protocol matters, and against values worked by hand."""

import contextlib
import io
import math

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn.evaluation import AveragePrecision
from maskrcnn.inference.objects import Objects

SIZE = (48, 64)  # height, width
NAMES = ("a", "b", "c", "absent")


def fill(boxes: torch.Tensor) -> torch.Tensor:
    """Each box as a mask, its corners rounded to pixels."""
    masks = torch.zeros(len(boxes), *SIZE, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().int().tolist()):
        mask[y1:y2, x1:x2] = 1
    return masks


def random_boxes(rng: np.random.Generator, count: int) -> torch.Tensor:
    corner, side = rng.uniform(0, 30, (count, 2)), rng.uniform(6, 18, (count, 2))
    return torch.tensor(np.concatenate([corner, corner + side], axis=1), dtype=torch.float32).reshape(-1, 4)


def scene(seed: int, images: int, objects: int, extra: int, ties: bool = False, crowds: bool = False):
    """Targets, and predictions: shifted copies of them, two each, with false positives and wrong classes."""
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(images):
        count = int(rng.integers(0, objects + 1))
        gt, labels = random_boxes(rng, count), torch.tensor(rng.integers(1, 4, count))
        near = [gt + torch.tensor(rng.normal(0, spread, gt.shape), dtype=torch.float32) for spread in (0.7, 2.0)]
        boxes = torch.cat([*near, random_boxes(rng, int(rng.integers(0, extra + 1)))]).clamp(min=0)
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        predicted = torch.tensor(rng.integers(1, 5, len(boxes)))
        predicted[: 2 * count] = torch.where(
            torch.tensor(rng.random(2 * count) < 0.8), labels.repeat(2), predicted[: 2 * count]
        )
        scores = torch.tensor(rng.random(len(boxes)), dtype=torch.float32)
        if ties:
            scores = (scores * 4).round() / 4
        target = {"boxes": gt, "labels": labels, "masks": fill(gt)}
        if crowds:
            target["iscrowd"] = torch.tensor(rng.random(count) < 0.3)
        samples.append(({"boxes": boxes, "labels": predicted, "scores": scores, "masks": fill(boxes)[:, None]}, target))
    return samples


def coco(samples, kind: str, class_agnostic: bool, max_detections: int = 100, areas=(0, 1e10)) -> COCOeval:
    annotations, results = [], []
    for image, (prediction, target) in enumerate(samples, start=1):
        crowd = target.get("iscrowd", torch.zeros(len(target["labels"])))
        for box, label, mask, is_crowd in zip(target["boxes"].double(), target["labels"], target["masks"], crowd):
            width, height = (box[2:] - box[:2]).tolist()
            segment = coco_mask.encode(np.asfortranarray(mask.numpy()))
            area = float(mask.sum()) if kind == "mask" else width * height
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": int(label), "iscrowd": int(is_crowd)}
            shape = {"bbox": [*box[:2].tolist(), width, height], "area": area, "segmentation": segment}
            annotations.append({**entry, **shape})
        for box, label, score, mask in zip(*(prediction[k] for k in ("boxes", "labels", "scores", "masks"))):
            box = box.double()
            entry = {"image_id": image, "category_id": int(label), "score": float(score)}
            if kind == "mask":
                entry["segmentation"] = coco_mask.encode(np.asfortranarray(mask[0].numpy()))
            else:
                entry["bbox"] = [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]
            results.append(entry)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(1, len(samples) + 1)],
            "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES, start=1)],
            "annotations": annotations,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "segm" if kind == "mask" else "bbox")
        evaluation.params.useCats = int(not class_agnostic)
        evaluation.params.maxDets = [1, 10, max_detections]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [list(areas)], ["these"]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def mean(values: np.ndarray) -> float:
    return float(values[values > -1].mean()) if (values > -1).any() else math.nan


def measured(samples, kind: str, max_detections: int = 100) -> AveragePrecision:
    measure = AveragePrecision(NAMES, kind, max_detections)
    for prediction, target in samples:
        measure.update(prediction, target)
    return measure


def ours(samples, kind: str, class_agnostic: bool = False, max_detections: int = 100):
    return measured(samples, kind, max_detections).compute(class_agnostic)


CASES = {
    "typical": scene(0, images=12, objects=5, extra=6),
    "ties in scores": scene(1, images=12, objects=5, extra=10, ties=True),
    "crowds": scene(2, images=12, objects=6, extra=6, crowds=True),
    "crowds and ties": scene(3, images=8, objects=6, extra=12, ties=True, crowds=True),
    "no false positives": scene(4, images=6, objects=4, extra=0),
    "more than 100 per class": scene(5, images=2, objects=5, extra=700),
}


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("case", CASES)
def test_equal_to_pycocotools(case, kind, class_agnostic):
    samples = CASES[case]
    expected = coco(samples, kind, class_agnostic)
    precision = expected.eval["precision"][:, :, :, 0, 2]  # [T, 101, K] of all areas, 100 detections
    recall = expected.eval["recall"][:, :, 0, 2]
    result = ours(samples, kind, class_agnostic)
    assert result.ap == pytest.approx(mean(precision), abs=1e-6)
    assert result.ap50 == pytest.approx(mean(precision[0]), abs=1e-6)
    assert result.ap75 == pytest.approx(mean(precision[5]), abs=1e-6)
    assert result.ar == pytest.approx(mean(recall), abs=1e-6)
    assert 0 < result.ap < 1
    if not class_agnostic:
        for k, name in enumerate(NAMES):
            absent = (precision[:, :, k] == -1).all()
            assert absent == (name not in result.per_class)
            if not absent:
                assert result.per_class[name] == pytest.approx(mean(precision[:, :, k]), abs=1e-6)
                assert result.per_class_ap50[name] == pytest.approx(mean(precision[0, :, k]), abs=1e-6)


@pytest.mark.parametrize("areas", [(0, 100), (100, 180), (180, 1e10), (81, 81), (1e6, 1e10)])
@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("case", CASES)
def test_area_ranges_are_equal_to_pycocotools(case, kind, areas):
    samples = CASES[case]
    expected = coco(samples, kind, False, areas=areas)
    precision, recall = expected.eval["precision"][:, :, :, 0, 2], expected.eval["recall"][:, :, 0, 2]
    result = measured(samples, kind).compute(areas=areas)
    assert result.ap == pytest.approx(mean(precision), abs=1e-6, nan_ok=True)
    assert result.ar == pytest.approx(mean(recall), abs=1e-6, nan_ok=True)
    for k, name in enumerate(NAMES):
        if name in result.curves:
            assert np.allclose(result.curves[name], precision[:, :, k], atol=1e-6)


def test_terciles_hold_a_third_of_the_objects_each():
    measure = measured(CASES["typical"], "box")
    gt_boxes = [target["boxes"].double() for _, target in CASES["typical"]]
    areas = np.concatenate([(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in gt_boxes])
    counts = [((areas >= low) & (areas <= high)).sum() for low, high in measure.area_terciles().values()]
    assert sum(counts) == len(areas)
    assert max(counts) - min(counts) <= 2
    assert AveragePrecision(NAMES, "box").area_terciles() == {}


def test_images_count_as_often_as_they_are_listed():
    samples = CASES["typical"]
    images = [3, 3, 0, 5]
    expected = ours([samples[i] for i in images], "mask")
    result = measured(samples, "mask").compute(images=images)
    assert (result.ap, result.ar, result.per_class) == (expected.ap, expected.ar, expected.per_class)
    assert np.mean(list(result.per_class_ar.values())) == pytest.approx(result.ar)


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("case", ["ties in scores", "crowds and ties"])
def test_repeated_images_are_as_so_many_images(case, kind):
    """Also where detections of one image have equal scores: each copy of an image goes through all of them in turn."""
    samples, rng = CASES[case], np.random.default_rng(0)
    metric = measured(samples, kind)
    for _ in range(10):
        images = sorted(rng.integers(0, len(samples), len(samples)).tolist())
        repeated = [samples[i] for i in images]
        for class_agnostic in (False, True):
            result, expected = (
                metric.compute(class_agnostic, images=images),
                coco(repeated, kind, class_agnostic).eval["precision"][:, :, :, 0, 2],
            )
            curves = [curve for k in range(expected.shape[2]) if ((curve := expected[:, :, k]) > -1).any()]
            assert np.allclose(list(result.curves.values()), curves, atol=1e-9)


def test_objects_cut_to_their_boxes_give_the_same():
    samples = CASES["crowds and ties"]
    for kind in ("box", "mask"):
        cut = AveragePrecision(NAMES, kind)
        for prediction, target in samples:
            whole = {**prediction, "masks": prediction["masks"].float()}
            cut.update(Objects.of_result(whole), target)
        expected, result = measured(samples, kind).compute(), cut.compute()
        assert result.ap == expected.ap > 0
        assert all((result.curves[name] == curve).all() for name, curve in expected.curves.items())


@pytest.mark.parametrize("arguments", [(False, (0.0, 150.0)), (True, (0.0, 150.0)), (True,), ()])
def test_some_images_give_the_same_whether_all_were_computed_before_or_not(arguments):
    samples, images = CASES["typical"], [0, 0, 5, 1]
    used = measured(samples, "mask")
    used.compute(*arguments)
    again, fresh = (metric.compute(*arguments, images=images) for metric in (used, measured(samples, "mask")))
    assert again.ap > 0
    assert (again.ap, again.ar, again.per_class_ar) == (fresh.ap, fresh.ar, fresh.per_class_ar)


def test_an_image_added_after_a_result_counts_in_the_next():
    samples = CASES["typical"]
    measure = measured(samples[:6], "mask")
    measure.compute()
    for prediction, target in samples[6:]:
        measure.update(prediction, target)
    assert len(measure) == 12
    assert measure.compute().ap == ours(samples, "mask").ap


def test_the_number_of_detections_is_limited_as_in_pycocotools():
    samples = CASES["more than 100 per class"]
    assert max(int((p["labels"] == k).sum()) for p, _ in samples for k in (1, 2, 3)) > 100
    for limit in (20, 100):
        expected = coco(samples, "box", False, limit).eval["precision"][:, :, :, 0, 2]
        assert ours(samples, "box", max_detections=limit).ap == pytest.approx(mean(expected), abs=1e-6)
    assert ours(samples, "box", max_detections=20).ap != ours(samples, "box", max_detections=100).ap


def one_image(boxes, labels, scores, gt_boxes, gt_labels):
    boxes, gt_boxes = torch.tensor(boxes).float().reshape(-1, 4), torch.tensor(gt_boxes).float().reshape(-1, 4)
    prediction = {
        "boxes": boxes,
        "labels": torch.tensor(labels),
        "scores": torch.tensor(scores),
        "masks": fill(boxes)[:, None],
    }
    return [(prediction, {"boxes": gt_boxes, "labels": torch.tensor(gt_labels), "masks": fill(gt_boxes)})]


A, B, ELSEWHERE = [0, 0, 10, 10], [20, 0, 30, 10], [40, 30, 50, 40]


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_by_hand_correct_wrong_correct(kind):
    """Recall 0.5 at precision 1, then 1 at 2/3: 51 of the 101 recalls (0 to 0.50) read 1, the other 50 read 2/3."""
    samples = one_image([A, ELSEWHERE, B], [1, 1, 1], [0.9, 0.8, 0.7], [A, B], [1, 1])
    result = ours(samples, kind)
    assert result.ap == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert result.per_class == {"a": pytest.approx(result.ap)}
    assert result.ar == 1


def test_by_hand_overlap_of_two_thirds_counts_up_to_threshold_065():
    """IoU 8 / 12: correct at 0.50, 0.55, 0.60 and 0.65, wrong at the other six thresholds."""
    result = ours(one_image([[2, 0, 12, 10]], [1], [0.5], [A], [1]), "box")
    assert (result.ap, result.ap50, result.ap75) == pytest.approx((0.4, 1.0, 0.0))


def test_a_second_detection_of_an_object_is_wrong_and_perfect_is_one():
    assert ours(one_image([A, B], [1, 2], [0.9, 0.8], [A, B], [1, 2]), "mask").ap == 1
    assert ours(one_image([A, A, B], [1, 1, 1], [0.9, 0.8, 0.7], [A, B], [1, 1]), "mask").ap < 1


@pytest.mark.parametrize(("order", "ap50"), [((0, 1), 1), ((1, 0), 51 / 101)])
def test_of_objects_with_equal_iou_the_last_is_taken_as_in_pycocotools(order, ap50):
    """The first detection overlaps both objects by 2 / 3, the second one only the left object."""
    gt_boxes = [[[0, 0, 10, 10], [4, 0, 14, 10]][i] for i in order]
    samples = one_image([[2, 0, 12, 10], [0, 0, 10, 10]], [1, 1], [0.9, 0.8], gt_boxes, [1, 1])
    for kind in ("box", "mask"):
        result = ours(samples, kind)
        assert result.ap50 == pytest.approx(ap50)
        assert result.ap == pytest.approx(mean(coco(samples, kind, False).eval["precision"][:, :, :, 0, 2]), abs=1e-6)


def test_the_wrong_class_counts_only_where_classes_do():
    samples = one_image([A], [2], [0.9], [A], [1])
    assert ours(samples, "box").ap == 0
    assert ours(samples, "box", class_agnostic=True).ap == 1


def test_without_objects_there_is_no_average_precision():
    result = ours(one_image([A], [1], [0.9], [], []), "mask")
    assert math.isnan(result.ap)
    assert result.per_class == {}


def test_without_detections_average_precision_is_zero():
    assert ours(one_image([], [], [], [A], [1]), "mask").ap == 0


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="choose box or mask"):
        AveragePrecision(NAMES, "keypoints")
