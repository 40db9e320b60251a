"""Label maps compared, by hand and against a slow oracle."""

import itertools
import math

import numpy as np
import pytest

from maskrcnn.evaluation.matching import THRESHOLDS, compare_label_maps, total

# One row of pixels. Predicted are 8 of the 10 pixels of object 5, the 4 of object 7 and one more, and 4 that are of none.
TRUTH = np.array([[5] * 10 + [0] * 2 + [7] * 4 + [0] * 8])
PREDICTION = np.array([[0] * 2 + [1] * 8 + [0] * 2 + [300] * 5 + [0] * 3 + [2] * 4])


def test_by_hand():
    """Both IoUs are 0.8: two matches of two true and three predicted objects up to there, none above."""
    matchings = compare_label_maps(TRUTH, PREDICTION)
    assert [matching.threshold for matching in matchings] == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    assert [matching[1:4] for matching in matchings] == [(2, 1, 0)] * 7 + [(0, 3, 2)] * 3
    at_half, strict = matchings[0], matchings[-1]
    assert (at_half.precision, at_half.recall, at_half.f1) == pytest.approx((2 / 3, 1, 0.8))
    assert (at_half.accuracy, at_half.mean_iou, at_half.panoptic_quality) == pytest.approx((2 / 3, 0.8, 0.64))
    assert (strict.precision, strict.recall, strict.f1, strict.accuracy, strict.panoptic_quality) == (0, 0, 0, 0, 0)
    assert math.isnan(strict.mean_iou)


def test_an_iou_equal_to_the_threshold_matches():
    """7 / 10 is the double nearest to 0.7, and that is the threshold."""
    truth, prediction = np.ones((1, 10), int), np.array([[1] * 7 + [0] * 3])
    assert [m.tp for m in compare_label_maps(truth, prediction)] == [1] * 5 + [0] * 5


def test_of_several_ways_to_match_that_with_most_pairs_is_taken():
    """The two large objects overlap by 18 / 22, but matching them would leave the small ones, which overlap the other large
    one by 2 / 20 and 2 / 22, without a match."""
    truth = np.array([[1] * 20 + [2] * 4])
    prediction = np.array([[2] * 2 + [1] * 20 + [0] * 2])
    (loose, strict) = compare_label_maps(truth, prediction, [0.09, 0.1])
    assert loose[1:4] == (2, 0, 0)
    assert loose.iou_sum == pytest.approx(2 / 20 + 2 / 22)
    assert strict == (0.1, 1, 1, 1, pytest.approx(18 / 22))


def slow(truth, prediction, threshold):
    """tp and the sum of IoUs, by trying every assignment."""
    masks = [[label_map == number for number in np.unique(label_map) if number] for label_map in (truth, prediction)]
    iou = [[(a & b).sum() / (a | b).sum() for b in masks[1]] for a in masks[0]]
    if len(masks[0]) > len(masks[1]):
        iou = [list(row) for row in zip(*iou)]
    ways = itertools.permutations(range(len(iou[0]) if iou else 0), len(iou))
    matched = [[x for i, k in enumerate(way) if (x := iou[i][k]) >= threshold] for way in ways]
    return max((len(ious), sum(ious)) for ious in matched)


@pytest.mark.parametrize("seed", range(12))
def test_against_every_assignment(seed):
    rng = np.random.default_rng(seed)
    maps = np.zeros((2, 14, 16), int)
    for label_map in maps:
        for number in rng.choice(60_000, int(rng.integers(1, 6)), replace=False) + 1:
            y, x = rng.integers(0, (9, 11))
            label_map[y : y + 3 + rng.integers(4), x : x + 3 + rng.integers(4)] = number
    thresholds = (0.1, 0.2, 0.3, *THRESHOLDS)
    num_true, num_predicted = (len(np.unique(label_map)) - 1 for label_map in maps)
    for matching in compare_label_maps(*maps, thresholds):
        tp, iou_sum = slow(*maps, matching.threshold)
        assert matching[1:4] == (tp, num_predicted - tp, num_true - tp)
        assert matching.iou_sum == pytest.approx(iou_sum)


def test_images_are_counted_together():
    first = compare_label_maps(TRUTH, PREDICTION)
    second = compare_label_maps(TRUTH, np.zeros_like(TRUTH))
    assert total([first, second])[0] == (0.5, 2, 1, 2, pytest.approx(1.6))
    assert total([second])[0].recall == 0
    assert math.isnan(total([second])[0].precision)


def test_thousands_of_objects_take_no_time():
    """3600 objects of 36 pixels, each moved by a pixel: IoU 30 / 42."""
    truth = np.kron(np.arange(1, 3601).reshape(60, 60), np.pad(np.ones((6, 6), int), ((0, 1), (0, 1))))
    matchings = compare_label_maps(truth, np.roll(truth, 1, axis=1))
    assert [m.tp for m in matchings] == [3600] * 5 + [0] * 5
    assert matchings[0].mean_iou == pytest.approx(30 / 42)


@pytest.mark.parametrize(
    ("truth", "prediction", "thresholds", "message"),
    [
        (TRUTH, PREDICTION[:, 1:], THRESHOLDS, r"shape \(1, 24\), prediction \(1, 23\)"),
        (TRUTH, -PREDICTION, THRESHOLDS, "prediction is not a label map"),
        (TRUTH[None], PREDICTION, THRESHOLDS, "truth is not a label map"),
        (TRUTH, PREDICTION / 2, THRESHOLDS, "prediction is not a label map"),
        (TRUTH, PREDICTION, [0], "above 0"),
    ],
)
def test_what_is_no_label_map_or_of_another_size_is_refused(truth, prediction, thresholds, message):
    with pytest.raises(ValueError, match=message):
        compare_label_maps(truth, prediction, thresholds)
