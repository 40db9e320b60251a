"""Matching and counting cells, against values worked by hand and against slow loops."""

import itertools
import math

import numpy as np
import pytest
import torch

from maskrcnn.evaluation.cells import CellMeasures, bootstrap, count, match, measures

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


def test_pairs_are_one_to_one_by_overlap_whatever_the_class():
    pairs = match(*image([(A, 2, 0.6), (HALF, 1, 0.9), (C, 1, 0.8)], [(A, 1), (B, 1)]))
    assert pairs.detections.tolist() == [0]
    assert pairs.cells.tolist() == [0]
    assert pairs.iou.tolist() == [1.0]
    assert pairs.labels.tolist() == [2, 1, 1]


def test_what_is_below_the_score_or_the_overlap_is_no_match():
    assert match(*image([(A, 1, 0.49)], [(A, 1)])).detections.size == 0
    assert match(*image([(A, 1, 0.49)], [(A, 1)]), min_score=0.4).detections.size == 1
    assert match(*image([((0, 0, 10, 5), 1, 0.9)], [(A, 1)])).iou.tolist() == [0.5]
    assert match(*image([((0, 0, 10, 4), 1, 0.9)], [(A, 1)])).detections.size == 0
    assert match(*image([], [(A, 1)])).gt_labels.tolist() == [1]
    assert match(*image([(A, 1, 0.9)], [])).labels.tolist() == [1]


def test_the_sum_of_overlaps_is_the_largest_possible():
    """Against all ways to pair, on random rectangles that overlap a lot. IoU from 0.3, so that there is a choice."""
    rng = np.random.default_rng(0)

    def boxes(n):
        corners = rng.integers(0, 8, (n, 2))
        return [(x, y, x + int(w), y + int(h)) for (x, y), (w, h) in zip(corners.tolist(), rng.integers(6, 14, (n, 2)))]

    for _ in range(20):
        prediction, target = image([(box, 1, 0.9) for box in boxes(4)], [(box, 1) for box in boxes(3)])
        pairs = match(prediction, target, iou=0.3)
        a, b = prediction["masks"][:, 0] > 0.5, target["masks"] > 0
        iou = torch.tensor([[float((x & y).sum() / (x | y).sum()) for y in b] for x in a])
        iou[iou < 0.3] = 0
        best = max(sum(iou[d, n] for n, d in enumerate(chosen)) for chosen in itertools.permutations(range(4), 3))
        assert pairs.iou.sum() == pytest.approx(float(best), abs=1e-6)


def test_measures_by_hand():
    """Four cells (a a b b): one right, one right with IoU 0.6, one called c, one missed; and a c where nothing is."""
    measure = CellMeasures(NAMES)
    measure.update(*image([(A, 1, 0.95), (B, 3, 0.85)], [(A, 1), (B, 2)]))
    measure.update(*image([(HALF, 1, 0.75), (C, 3, 0.65)], [(A, 1), (B, 2)]))
    confusion = measure.total().confusion
    assert confusion.tolist() == [[0, 0, 0, 1], [0, 2, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]]
    values = {name: {title: e.value for title, e in row.items()} for name, row in measure.compute(rounds=20).items()}
    of_c = {name: row.pop("c") for name, row in values.items()}
    assert math.isnan(of_c["recall"])  # there is no such cell
    assert of_c["precision"] == 0
    assert values["recall"] == pytest.approx({"any class": 3 / 4, "mean of classes": 1 / 2, "a": 1, "b": 0})
    assert values["precision"]["any class"] == pytest.approx(3 / 4)
    assert values["precision"]["a"] == 1
    assert math.isnan(values["precision"]["b"])  # nothing was called b
    assert values["F1"] == pytest.approx({"any class": 3 / 4, "mean of classes": 1 / 3, "a": 1, "b": 0})  # of c, too
    assert values["IoU"] == pytest.approx({"any class": (1 + 1 + 0.6) / 3, "mean of classes": 0.9, "a": 0.8, "b": 1})
    dice = {"any class": (1 + 1 + 0.75) / 3, "mean of classes": 0.9375, "a": 0.875, "b": 1}
    assert values["Dice"] == pytest.approx(dice)
    quality = {"any class": 2.6 / 4, "mean of classes": 0.8 / 3, "a": 0.8, "b": 0}
    assert values["panoptic quality"] == pytest.approx(quality)
    assert values["accuracy"] == pytest.approx({"any class": 2 / 3, "mean of classes": 1 / 2, "a": 1, "b": 0})
    # One in each of four bins of scores; right, wrong, right, wrong.
    assert values["calibration error"]["any class"] == pytest.approx((0.05 + 0.85 + 0.25 + 0.65) / 4, abs=1e-6)


def test_panoptic_quality_is_recognition_times_segmentation():
    measure = CellMeasures(NAMES)
    rng = np.random.default_rng(0)
    for _ in range(10):
        cells = [(box, int(rng.integers(1, 4))) for box in (A, B, C) if rng.random() < 0.8]
        found = [((x, y, x2, y2 - int(rng.integers(0, 4))), label, 0.9) for (x, y, x2, y2), label in cells]
        measure.update(*image([one for one in found if rng.random() < 0.8], cells))
    result = measures(measure.total())
    assert np.allclose(result["panoptic quality"], result["F1"] * result["IoU"])


def test_without_anything_there_is_nothing_to_measure():
    measure = CellMeasures(NAMES)
    measure.update(*image([], []))
    result = measure.compute(rounds=5)
    assert set(result["F1"]) == {"any class", "mean of classes"}
    assert math.isnan(result["F1"]["any class"].value)
    assert str(result["F1"]["any class"]) == "-"


def test_counts_of_images_add_up():
    scenes = [image([(A, 1, 0.9)], [(A, 1), (B, 2)]), image([(A, 2, 0.8), (C, 1, 0.7)], [(A, 1)])]
    measure = CellMeasures(NAMES)
    singles = [count(measure.update(*scene), 3) for scene in scenes]
    assert np.array_equal(measure.total().confusion, singles[0].confusion + singles[1].confusion)
    assert measure.total().confusion.sum() == 4  # every cell and every detection that is in no pair, once


def test_intervals_are_those_of_a_binomial():
    """The share of 60 images that are right: bootstrap and normal approximation agree to about a point."""
    right = (np.arange(60) < 45).astype(float)
    value, low, high = bootstrap(lambda weights: np.array([weights @ right / weights.sum()]), 60, rounds=4000)
    spread = 1.96 * math.sqrt(0.75 * 0.25 / 60)
    assert value[0] == pytest.approx(0.75)
    assert (low[0], high[0]) == pytest.approx((0.75 - spread, 0.75 + spread), abs=0.015)


def test_pictures_of_one_field_are_no_more_witnesses_than_one():
    """60 images shown three times each: the interval is that of 60, though not drawn image by image."""
    right = (np.arange(60) < 45).astype(float).repeat(3)

    def share(weights):
        return np.array([weights @ right / weights.sum()])

    groups = (100 - np.arange(60)).repeat(3).tolist()
    spread = 1.96 * math.sqrt(0.75 * 0.25 / 60)
    _, low, high = bootstrap(share, 180, rounds=4000, groups=groups)
    assert (low[0], high[0]) == pytest.approx((0.75 - spread, 0.75 + spread), abs=0.015)
    _, low, high = bootstrap(share, 180, rounds=4000)
    assert high[0] - low[0] == pytest.approx(2 * spread / math.sqrt(3), abs=0.015)
    assert math.isnan(bootstrap(share, 180, rounds=10, groups=[7] * 180)[1][0])  # one field, however often


def test_an_interval_leaves_out_draws_with_nothing_to_measure():
    there = np.array([1.0, 0, 0])
    _, low, high = bootstrap(lambda w: np.array([w @ there / (w @ there) if w @ there else math.nan]), 3, rounds=200)
    assert (low[0], high[0]) == (1, 1)


def test_intervals_are_by_seed_and_hold_the_value():
    measure = CellMeasures(NAMES)
    rng = np.random.default_rng(1)
    for _ in range(30):
        cells = [(box, int(rng.integers(1, 4))) for box in (A, B, C)]
        measure.update(*image([(box, label, 0.9) for box, label in cells if rng.random() < 0.7], cells))
    one, again, other = (measure.compute(rounds=200, seed=seed) for seed in (0, 0, 1))
    recall = one["recall"]["any class"]
    assert recall == again["recall"]["any class"]
    assert recall != other["recall"]["any class"]
    assert recall.low < recall.value < recall.high
    assert str(recall) == f"{recall.value:.3f} ({recall.low:.3f} to {recall.high:.3f})"
