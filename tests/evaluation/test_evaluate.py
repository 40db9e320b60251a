"""A whole evaluation of a model whose predictions are given."""

import json
import re

import numpy as np
import pytest
import torch

from maskrcnn.evaluation.evaluate import evaluate
from maskrcnn.evaluation.report import format_table
from maskrcnn.inference.objects import Objects

A, B = (2, 2, 12, 12), (20, 20, 32, 30)


def test_every_failure_is_listed_with_its_file(result):
    rows = result.failure_rows()
    assert [(row["kind"], row["file"], row["true"], row["predicted"]) for row in rows] == [
        ("missed", "smears/2.png", "b", ""),
        ("false positive", "smears/3.png", "", "a"),
        ("misclassified", "smears/1.png", "a", "b"),
    ]
    assert [row["score"] for row in rows] == ["", 0.6, 0.95]
    assert rows[0]["box"] == list(B)
    assert {kind: n for kind, n in result.failure_counts().items() if n} == {
        "missed": 1,
        "false positive": 1,
        "misclassified": 1,
    }


def test_confusion_and_calibration_have_intervals(result):
    assert result.confusion.value.tolist() == [[0, 1, 0, 0], [0, 2, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert (result.confusion.low <= result.confusion.value).all()
    assert (result.confusion.value <= result.confusion.high).all()
    assert result.confusion.high[1, 1] > result.confusion.low[1, 1]
    assert result.fraction_correct.low.shape == result.fraction_correct.high.shape == (10,)
    assert result.reliability[:, 0].tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 2, 1]  # 0.6, 0.7; 0.8, 0.9; 0.95


def test_the_dict_can_be_read_by_key(result):
    """Four of five cells match, three of them with the right class; of class a two of three cells are correct."""
    report = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert report["images"] == 4
    assert report["classes"] == ["a", "b", "c"]
    assert report["score_threshold"] == 0.5
    assert report["cells"]["recall"]["class_agnostic"][0] == 0.8
    assert report["cells"]["f1"]["class_agnostic"][0] == 0.8
    assert report["cells"]["recall"]["a"][0] == pytest.approx(2 / 3, abs=1e-5)
    assert report["cells"]["accuracy"]["class_agnostic"][0] == 0.75
    assert list(report["cells"]["recall"]) == ["class_agnostic", "class_mean", "a", "b"]
    # Class-agnostic: recall 0.8 is reached with a wrong detection last, so precision is 1 at 81 of 101 recalls.
    assert report["average_precision"]["mask_class_agnostic"]["ap50"][0] == pytest.approx(81 / 101, abs=1e-5)
    value, low, high = report["average_precision"]["box_a"]["ap75"]
    assert low <= value <= high
    assert report["average_precision"]["mask_class_agnostic_large"]["ar"] == [None, None, None]  # no cell is so large
    assert len(report["precision_recall"]["box_class_agnostic"]["class_agnostic"][0]) == 101
    assert report["confusion"]["true"] == ["false positive", "a", "b", "c"]
    assert report["confusion"]["predicted"] == ["missed", "a", "b", "c"]
    assert report["confusion"]["counts"] == [[0, 1, 0, 0], [0, 2, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert np.shape(report["confusion"]["interval"]) == (2, 4, 4)
    assert report["counts"] == {
        "cells": 5, "found": 4, "correct": 3, "wrong": 1, "missed": 1, "false_positives": 1,
    }  # fmt: skip
    assert list(report["differential"]) == ["a", "b", "c"]
    of_a = report["differential"]["a"]
    assert (of_a["true"], of_a["true_percent"], of_a["predicted"], of_a["predicted_percent"]) == (3, 60, 3, 60)
    assert of_a["true_percent_interval"] == pytest.approx([14.663, 94.726], abs=0.01)  # of R's binom.test(3, 5)
    assert report["differential"]["c"]["predicted"] == 0
    assert report["calibration"]["detections"] == [0, 0, 0, 0, 0, 0, 2, 0, 2, 1]
    assert report["calibration"]["correct"] == [0, 0, 0, 0, 0, 0, 1, 0, 2, 0]
    assert report["failure_counts"]["false_positive"] == 1
    assert [failure["kind"] for failure in report["failures"]] == ["missed", "false_positive", "misclassified"]


def keys_of(value):
    if isinstance(value, dict):
        return set(value).union(*(keys_of(item) for item in value.values()))
    return set().union(*(keys_of(item) for item in value)) if isinstance(value, list) else set()


def test_all_keys_of_the_dict_are_snake_case(result):
    keys = keys_of(result.to_dict())
    assert "mask_class_agnostic_smallest_third" in keys
    assert [key for key in keys if not re.fullmatch("[a-z][a-z0-9_]*", key)] == []


def test_average_precision_counts_detections_below_the_score_threshold(given, rectangles):
    result = given([rectangles((A, 1), (B, 1), scores=[0.9, 0.2])], [rectangles((A, 1), (B, 1))])
    assert result.cells["recall"]["a"].value == 0.5
    assert len(result.predictions[0].scores) == 1
    for row in ("mask", "box", "mask_class_agnostic", "box_class_agnostic"):
        assert result.ap[row].ap == 1
        assert result.ap_intervals[row]["ar"].value == 1


def test_average_precision_counts_every_class_that_an_object_is_reported_as(given, rectangles):
    """NMS over all classes would leave only the wrong class."""
    result = given([rectangles((A, 1), (A, 2), scores=[0.9, 0.8])], [rectangles((A, 2))])
    assert result.ap["mask"].ap == 1
    assert result.cells["accuracy"]["class_agnostic"].value == 0


def test_false_positives_on_images_without_a_cell_count(given, rectangles):
    """Of three such images two show false positives, one of them two; without them the AP would be 1."""
    predictions = [
        rectangles((A, 1), scores=[0.8]),
        rectangles((A, 1), (B, 1), scores=[0.9, 0.85]),
        rectangles(scores=[]),
        rectangles((A, 1), (B, 2), scores=[0.7, 0.4]),  # one below the score threshold
    ]
    result = given(predictions, [rectangles((A, 1)), rectangles(), rectangles(), rectangles()])
    assert result.empty_images() == [2, 0, 1]
    assert result.to_dict()["images_without_a_cell"] == {"images": 3, "false_positives": 3}
    # The true positive is third by score, behind two false ones: precision 1/3 at every recall.
    assert result.ap["mask"].ap == pytest.approx(1 / 3)
    assert "images without a cell: 3, with 1.00 false positives each (on 2 of them)" in format_table(result)


def test_one_image_has_no_intervals_but_those_of_counted_cells(given, predictions, targets):
    alone = given(predictions[:1], targets[:1])
    for estimate in (alone.ap_intervals["mask"]["ap"], alone.cells["iou"]["class_agnostic"]):
        assert estimate.value == pytest.approx(1)
        assert np.isnan([estimate.low, estimate.high]).all()
    # Two of two: below sqrt(0.025) both would be found in fewer than 2.5 % of all such images.
    assert alone.cells["recall"]["class_agnostic"] == pytest.approx((1, 0.025**0.5, 1))
    assert np.isnan(alone.confusion.low).all()
    assert np.isnan(alone.confusion.high).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_its_mode(given_model, targets, rectangles, training):
    model = given_model([rectangles(scores=[])]).train(training)
    evaluate(model, [(torch.zeros(3, 40, 40), targets[0])], "float32")
    assert model.training == training


def test_without_images_there_is_nothing_to_evaluate_on(given):
    with pytest.raises(ValueError, match="no images"):
        given([], [])


def test_tta_on_request(given_model, rectangles):
    """The cell is found only where the bright corner is the upper left one: in two of the eight views."""

    class Upright(given_model):
        def forward(self, images):
            return [self.predictions[int(image[0, 0, 0] < 0.5)] for image in images]

    image = torch.zeros(3, 40, 40)
    image[:, 0, 0] = 1
    model = Upright([rectangles((A, 1), scores=[0.8]), rectangles(scores=[])])
    samples = [(image, rectangles((A, 1)))]
    single, averaged = (evaluate(model, samples, "float32", score_threshold=0.1, tta=tta) for tta in (False, True))
    assert single.predictions[0].scores.tolist() == pytest.approx([0.8])
    assert averaged.predictions[0].scores.tolist() == pytest.approx([0.8 * 2 / 8])
    assert averaged.predictions[0].boxes.tolist() == [list(A)]


def test_a_class_that_is_only_predicted_has_a_column(given, rectangles):
    result = given([rectangles((A, 3), scores=[0.9])], [rectangles((A, 1))])
    assert result.cells["precision"]["c"].value == 0
    assert "b" not in result.cells["precision"]


def test_images_of_one_group_are_resampled_together(given, predictions, targets):
    result = given(predictions, targets, groups=[5, 5, 5, 5])
    assert result.cells["recall"]["class_agnostic"].value == 0.8
    for estimate in (result.cells["recall"]["class_agnostic"], result.ap_intervals["mask"]["ap"]):
        assert np.isnan([estimate.low, estimate.high]).all()


def test_targets_may_be_cut_to_their_boxes_as_well(given, predictions, targets, result):
    """Where an image is so large that there is no room for a mask of its size for each cell."""
    scored = [
        {**target, "scores": torch.ones(len(target["labels"])), "masks": target["masks"][:, None]} for target in targets
    ]
    cut = given(predictions, [Objects.of_result(target) for target in scored], files=result.files)
    assert cut.to_dict() == result.to_dict()
    assert all(isinstance(objects, Objects) for objects in cut.predictions)


def test_more_cells_than_average_precision_counts_are_named(given, rectangles):
    """Of 101 cells, all found, the last detection is not counted."""
    cells = [((x, y, x + 3, y + 3), 1) for x in range(0, 40, 3) for y in range(0, 40, 3)][:101]
    crowd = given([rectangles(*cells, scores=[0.9] * 101)], [rectangles(*cells)])
    assert crowd.cells["recall"]["a"].value == 1
    assert crowd.ap["mask"].ar == pytest.approx(100 / 101)
    assert "as in 1 of 1 image;" in " ".join(format_table(crowd).split())
    fewer = given([rectangles(*cells[:100], scores=[0.9] * 100)], [rectangles(*cells[:100])])
    assert "as COCO does" not in format_table(fewer)
