"""Matching and metrics of cells, against values worked by hand and against slow loops."""

import itertools
import math

import numpy as np
import pytest
import torch

from maskrcnn.evaluation.instance_metrics import InstanceMetrics, match_instances, metrics, outline_offset, tally

SIZE = (40, 60)


def masks(*boxes) -> torch.Tensor:
    """Rectangles x1, y1, x2, y2 as masks [N, H, W]."""
    filled = torch.zeros(len(boxes), *SIZE, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(filled, boxes):
        mask[y1:y2, x1:x2] = 1
    return filled


def image(detections, cells):
    """detections: (box, label, score); cells: (box, label)."""
    boxes, labels, scores = zip(*detections) if detections else ((), (), ())
    gt_boxes, gt_labels = zip(*cells) if cells else ((), ())
    prediction = {
        "boxes": torch.tensor(boxes).float().reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.tensor(scores, dtype=torch.float32),
        "masks": masks(*boxes)[:, None].float() * 0.9,
    }
    target = {
        "boxes": torch.tensor(gt_boxes).float().reshape(-1, 4),
        "labels": torch.tensor(gt_labels, dtype=torch.int64),
        "masks": masks(*gt_boxes),
    }
    return prediction, target


A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (40, 20, 50, 30)
HALF = (0, 0, 10, 6)  # IoU 0.6 with A
NAMES = ("a", "b", "c")


def test_matches_are_one_to_one_by_iou_whatever_the_class():
    matches = match_instances(*image([(A, 2, 0.6), (HALF, 1, 0.9), (C, 1, 0.8)], [(A, 1), (B, 1)]))
    assert matches.pred_indices.tolist() == [0]
    assert matches.gt_indices.tolist() == [0]
    assert matches.iou.tolist() == [1.0]
    assert matches.pred_labels.tolist() == [2, 1, 1]


def test_both_thresholds_include_equal_values():
    assert match_instances(*image([(A, 1, 0.49)], [(A, 1)])).pred_indices.size == 0
    assert match_instances(*image([(A, 1, 0.5)], [(A, 1)])).pred_indices.size == 1
    assert match_instances(*image([(A, 1, 0.49)], [(A, 1)]), score_threshold=0.4).pred_indices.size == 1
    assert match_instances(*image([((0, 0, 10, 5), 1, 0.9)], [(A, 1)])).iou.tolist() == [0.5]
    assert match_instances(*image([((0, 0, 10, 4), 1, 0.9)], [(A, 1)])).pred_indices.size == 0
    assert match_instances(*image([], [(A, 1)])).gt_labels.tolist() == [1]
    assert match_instances(*image([(A, 1, 0.9)], [])).pred_labels.tolist() == [1]


def test_the_sum_of_ious_is_the_largest_possible():
    """Against all assignments, on random rectangles that overlap a lot. IoU from 0.3, so that there is a choice."""
    rng = np.random.default_rng(0)

    def boxes(n):
        corners = rng.integers(0, 8, (n, 2))
        return [(x, y, x + int(w), y + int(h)) for (x, y), (w, h) in zip(corners.tolist(), rng.integers(6, 14, (n, 2)))]

    for _ in range(20):
        prediction, target = image([(box, 1, 0.9) for box in boxes(4)], [(box, 1) for box in boxes(3)])
        matches = match_instances(prediction, target, min_iou=0.3)
        a, b = prediction["masks"][:, 0] > 0.5, target["masks"] > 0
        iou = torch.tensor([[float((x & y).sum() / (x | y).sum()) for y in b] for x in a])
        iou[iou < 0.3] = 0
        best = max(sum(iou[d, n] for n, d in enumerate(chosen)) for chosen in itertools.permutations(range(4), 3))
        assert matches.iou.sum() == pytest.approx(float(best), abs=1e-6)


def test_metrics_by_hand():
    """Four cells (a a b b): one correct, one correct with IoU 0.6, one predicted as c, one missed; and a false c."""
    measure = InstanceMetrics(NAMES)
    measure.update(*image([(A, 1, 0.95), (B, 3, 0.85)], [(A, 1), (B, 2)]))
    measure.update(*image([(HALF, 1, 0.75), (C, 3, 0.65)], [(A, 1), (B, 2)]))
    confusion = measure.total().confusion
    assert confusion.tolist() == [[0, 0, 0, 1], [0, 2, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]]
    values = {name: {title: e.value for title, e in row.items()} for name, row in measure.compute(rounds=20).items()}
    of_c = {name: row.pop("c") for name, row in values.items()}
    assert math.isnan(of_c["recall"])  # no cell is a c
    assert of_c["precision"] == 0
    assert values["recall"] == pytest.approx({"class_agnostic": 3 / 4, "class_mean": 1 / 2, "a": 1, "b": 0})
    assert values["precision"]["class_agnostic"] == pytest.approx(3 / 4)
    assert values["precision"]["a"] == 1
    assert math.isnan(values["precision"]["b"])  # nothing is predicted as b
    assert values["f1"] == pytest.approx({"class_agnostic": 3 / 4, "class_mean": 1 / 3, "a": 1, "b": 0})  # of c, too
    assert values["iou"] == pytest.approx({"class_agnostic": (1 + 1 + 0.6) / 3, "class_mean": 0.9, "a": 0.8, "b": 1})
    dice = {"class_agnostic": (1 + 1 + 0.75) / 3, "class_mean": 0.9375, "a": 0.875, "b": 1}
    assert values["dice"] == pytest.approx(dice)
    quality = {"class_agnostic": 2.6 / 4, "class_mean": 0.8 / 3, "a": 0.8, "b": 0}
    assert values["panoptic_quality"] == pytest.approx(quality)
    assert values["accuracy"] == pytest.approx({"class_agnostic": 2 / 3, "class_mean": 1 / 2, "a": 1, "b": 0})
    # One in each of four bins of scores; correct, wrong, correct, wrong.
    assert values["calibration_error"]["class_agnostic"] == pytest.approx((0.05 + 0.85 + 0.25 + 0.65) / 4, abs=1e-6)


def disc(radius: float, x: float = 40, y: float = 40):
    """A disc as a mask [1, 80, 80]."""
    rows, columns = np.mgrid[:80, :80] + 0.5
    return torch.from_numpy(np.hypot(columns - x, rows - y) <= radius)[None]


@pytest.mark.parametrize("offset", [-3, -1, 0, 2, 4])
def test_the_outline_offset_is_the_distance_of_concentric_outlines(offset):
    assert outline_offset(disc(25 + offset)[0].numpy(), disc(25)[0].numpy()) == pytest.approx(offset, abs=0.15)
    assert outline_offset(disc(25, x=43)[0].numpy(), disc(25)[0].numpy()) == pytest.approx(0, abs=0.02)  # only shifted


def test_outline_offsets_are_means_over_the_matches_of_a_class():
    measure = InstanceMetrics(NAMES)
    for radius, label in ((27, 1), (24, 1), (20, 2)):
        prediction = {"labels": torch.tensor([label]), "scores": torch.tensor([0.9]), "masks": disc(radius)[None] * 0.9}
        missed = torch.cat([disc(23), disc(4, 5, 5)])
        measure.update(prediction, {"labels": torch.tensor([label, 1]), "masks": missed})
    offsets = {name: estimate.value for name, estimate in measure.compute(rounds=5)["outline_offset"].items()}
    assert offsets == pytest.approx({"class_agnostic": 2 / 3, "class_mean": -0.25, "a": 2.5, "b": -3}, abs=0.1)


def test_panoptic_quality_is_recognition_times_segmentation():
    measure = InstanceMetrics(NAMES)
    rng = np.random.default_rng(0)
    for _ in range(10):
        cells = [(box, int(rng.integers(1, 4))) for box in (A, B, C) if rng.random() < 0.8]
        detections = [((x, y, x2, y2 - int(rng.integers(0, 4))), label, 0.9) for (x, y, x2, y2), label in cells]
        measure.update(*image([detection for detection in detections if rng.random() < 0.8], cells))
    result = metrics(measure.total())
    assert np.allclose(result["panoptic_quality"], result["f1"] * result["iou"])


def test_without_cells_and_detections_metrics_are_undefined():
    measure = InstanceMetrics(NAMES)
    measure.update(*image([], []))
    result = measure.compute(rounds=5)
    assert set(result["f1"]) == {"class_agnostic", "class_mean"}
    assert math.isnan(result["f1"]["class_agnostic"].value)
    assert str(result["f1"]["class_agnostic"]) == "-"


def test_tallies_of_images_add_up():
    scenes = [image([(A, 1, 0.9)], [(A, 1), (B, 2)]), image([(A, 2, 0.8), (C, 1, 0.7)], [(A, 1)])]
    measure = InstanceMetrics(NAMES)
    singles = [tally(measure.update(*scene), 3) for scene in scenes]
    assert np.array_equal(measure.total().confusion, singles[0].confusion + singles[1].confusion)
    assert measure.total().confusion.sum() == 4  # every cell and every detection that is in no match, once


def test_intervals_are_the_same_for_the_same_seed_and_contain_the_value():
    measure = InstanceMetrics(NAMES)
    rng = np.random.default_rng(1)
    for _ in range(30):
        cells = [(box, int(rng.integers(1, 4))) for box in (A, B, C)]
        measure.update(*image([(box, label, 0.9) for box, label in cells if rng.random() < 0.7], cells))
    first, again, other = (measure.compute(rounds=200, seed=seed) for seed in (0, 0, 1))
    f1 = first["f1"]["class_agnostic"]
    assert f1 == again["f1"]["class_agnostic"]
    assert f1 != other["f1"]["class_agnostic"]
    assert f1.low < f1.value < f1.high
    assert str(f1) == f"{f1.value:.3f} ({f1.low:.3f} to {f1.high:.3f})"


def found_of(found, count, groups=None):
    """So many images of one cell each, of which the first few are found."""
    measure = InstanceMetrics(NAMES, groups=groups)
    for i in range(count):
        measure.update(*image([(A, 1, 0.9)] if i < found else [], [(A, 1)]))
    return measure.compute(rounds=200)


def test_proportions_of_cells_have_exact_intervals():
    """Of R's binom.test(12, 12) and binom.test(9, 12): that all were found does not make it certain."""
    table = found_of(12, 12)
    for metric in ("precision", "recall", "accuracy"):
        for column in ("class_agnostic", "a"):
            assert table[metric][column] == pytest.approx((1, 0.7353515, 1), abs=1e-6)
    assert found_of(9, 12)["recall"]["a"] == pytest.approx((0.75, 0.4281415, 0.9451394), abs=1e-6)
    for metric in ("f1", "iou", "panoptic_quality"):  # the same in every sample: no interval
        assert table[metric]["a"].value == 1
        assert not table[metric]["a"].has_interval


def test_an_interval_is_wider_where_groups_of_images_show_the_same_cells():
    """Four groups of three images: the interval is that of four cells or so, not of twelve."""
    alone, grouped = found_of(6, 12)["recall"]["a"], found_of(6, 12, [i // 3 for i in range(12)])["recall"]["a"]
    assert alone == pytest.approx((0.5, 0.2109447, 0.7890553), abs=1e-6)
    assert grouped == (0.5, 0, 1)
    assert not found_of(6, 12, [0] * 12)["recall"]["a"].has_interval
    assert found_of(6, 12, list(range(12)))["recall"]["a"] == alone


def test_a_class_of_one_cell_has_no_interval():
    measure = InstanceMetrics(NAMES)
    measure.update(*image([(A, 1, 0.9), (B, 2, 0.9)], [(A, 1), (B, 2)]))
    measure.update(*image([(A, 1, 0.9), (C, 2, 0.9)], [(A, 1)]))  # a false b
    table = measure.compute(rounds=50)
    assert not any(row["b"].has_interval for row in table.values())
    assert table["recall"]["a"].has_interval
