"""Average precision with intervals: its rows, and what they hold."""

import math

import numpy as np
import pytest

from maskrcnn.evaluation.ap_intervals import AP_COLUMNS, ap_intervals
from maskrcnn.evaluation.average_precision import AveragePrecision

NAMES = ("a", "b", "c")


def test_rows_for_all_classes_each_class_and_area(result, predictions, targets):
    metrics = {kind: AveragePrecision(NAMES, kind) for kind in ("mask", "box")}
    for prediction, target in zip(predictions, targets):
        for metric in metrics.values():
            metric.update(prediction, target)
    rows, curve = ap_intervals(metrics["mask"], metrics["box"])
    np.testing.assert_equal(rows, result.ap_intervals)
    areas = ("small", "medium", "large", "smallest_third", "middle_third", "largest_third")
    assert list(rows) == [
        *("mask", "box", "mask_class_agnostic", "box_class_agnostic"),
        *("mask_a", "mask_b", "box_a", "box_b"),  # c does not occur
        *(f"mask_class_agnostic_{area}" for area in areas),
    ]
    for kind, metric in metrics.items():
        expected = metric.compute()
        figures = [expected.ap, expected.ap50, expected.ap75, expected.ar]
        assert [rows[kind][column].value for column in AP_COLUMNS] == pytest.approx(figures)
        for name in ("a", "b"):
            of_class = rows[f"{kind}_{name}"]
            assert of_class["ap"].value == pytest.approx(expected.per_class[name])
            assert of_class["ar"].value == pytest.approx(expected.per_class_ar[name])
    for row in rows.values():
        for estimate in row.values():
            assert not estimate.has_interval or estimate.low < estimate.high
            assert not estimate.has_interval or estimate.low <= estimate.value <= estimate.high
    assert rows["mask"]["ap"].has_interval
    assert curve.low.shape == curve.high.shape == (101,)
    assert (curve.low <= curve.high).all()
    # One false positive with the lowest score, one cell of five missed: precision 1 up to recall 0.8.
    assert curve.value.tolist() == [1] * 81 + [0] * 20
    assert math.isnan(rows["mask_class_agnostic_large"]["ap"].value)


@pytest.mark.parametrize(("height", "ap", "ap75"), [(18, 0.5, 0), (19, 0.6, 1)])
def test_the_columns_of_a_class_read_their_thresholds(given, rectangles, height, ap, ap75):
    """IoU 18 / 25 = 0.72 is above five thresholds, up to 0.70; 19 / 25 = 0.76 is above six, up to 0.75."""
    prediction = rectangles(((2, 2, 12, 2 + height), 1), scores=[0.9])
    result = given([prediction], [rectangles(((2, 2, 12, 27), 1))])
    rows = result.ap_intervals
    for row in ("mask", "mask_a", "box_a", "mask_class_agnostic", "mask_class_agnostic_small"):
        values = [rows[row][column].value for column in ("ap", "ap50", "ap75", "ar")]
        assert values == pytest.approx([ap, 1, ap75, ap])
    assert result.curve.value.tolist() == [1] * 101  # at IoU 0.5


def test_intervals_are_of_resampled_images(given, rectangles):
    """Of two cells in two images one is missed. Samples contain the missed one 0, 1 or 2 times: AP 1, 51 / 101 or 0."""
    box = (2, 2, 12, 12)
    predictions = [rectangles((box, 1), scores=[0.9]), rectangles(scores=[])]
    rows = given(predictions, [rectangles((box, 1))] * 2).ap_intervals
    assert rows["mask_a"]["ap"] == pytest.approx((51 / 101, 0, 1))
    assert rows["mask"]["ar"] == pytest.approx((0.5, 0, 1))


def test_what_is_the_same_in_every_sample_has_no_interval(given, rectangles):
    """All is right, or all is missed, whichever images are sampled: that does not make it certain."""
    box = (2, 2, 12, 12)
    for prediction, ap in ((rectangles((box, 1), scores=[0.9]), 1), (rectangles(scores=[]), 0)):
        rows = given([prediction] * 3, [rectangles((box, 1))] * 3).ap_intervals
        assert rows["mask"]["ap"].value == rows["box_a"]["ap50"].value == ap
        assert not any(estimate.has_interval for row in rows.values() for estimate in row.values())


def test_a_class_of_one_cell_has_no_interval(given, rectangles):
    """Whether the only b is found depends on whether a false positive with a higher score is sampled, so AP varies."""
    first, second = (2, 2, 12, 12), (20, 20, 32, 30)
    predictions = [rectangles((first, 1), (second, 2), scores=[0.8, 0.8]), rectangles((second, 2), scores=[0.9])]
    targets = [rectangles((first, 1), (second, 2)), rectangles((first, 1))]
    rows = given(predictions, targets).ap_intervals
    assert rows["mask_b"]["ap"] == pytest.approx((0.5, math.nan, math.nan), nan_ok=True)
    assert rows["mask_a"]["ap"].has_interval
