"""The scale of training: what is recorded, and what the options mean."""

import math

import pytest

from maskrcnn.inference.scale import PERCENTILES, TrainingScale, choose_scale

KNOWN = TrainingScale(0.5, True, (480, 640), (30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0))


def no_estimate(known):
    raise AssertionError("nothing to estimate")


def test_what_a_checkpoint_records_is_read_again():
    known = TrainingScale.of([(480, 640)] * 3, [0.5] * 3, range(101))
    assert known == TrainingScale(0.5, True, (480, 640), tuple(float(p) for p in PERCENTILES))
    assert TrainingScale.of_checkpoint({"scale": known.entries()}) == known
    assert TrainingScale.of_checkpoint({"arguments": {}}) is None


@pytest.mark.parametrize(("scales", "is_one"), [([0.5, 0.505, 0.5], True), ([0.5, 0.52, 0.5], False)])
def test_scales_that_differ_are_not_one(scales, is_one):
    assert TrainingScale.of([(480, 640)] * 3, scales, [60.0]).is_one == is_one


def test_sizes_are_told_in_pixels_of_the_images():
    assert KNOWN.diameter == 120
    assert KNOWN.scale_for(60) == 1
    assert KNOWN.percentile(5) == 40


@pytest.mark.parametrize(
    ("diameter", "factor", "scale", "words"),
    [
        (None, None, 0.5, "120 pixels across, as in training"),
        (60.0, None, 1.0, "60 pixels across, as given"),
        (None, 2.0, 0.25, "240 pixels across, as given by --scale"),
    ],
)
def test_options_choose_the_scale(diameter, factor, scale, words):
    chosen = choose_scale(KNOWN, diameter, factor, no_estimate)
    assert chosen.scale == scale
    assert words in chosen.reason


def test_auto_takes_the_estimate_or_says_that_there_is_none():
    assert choose_scale(KNOWN, "auto", None, lambda known: 240.0).scale == 0.25
    for near in (95.0, 120.0, 155.0):  # a few cells are no reason to doubt the magnification
        assert choose_scale(KNOWN, "auto", None, lambda known, near=near: near).scale == 0.5
    assert choose_scale(KNOWN, "auto", None, lambda known: 90.0).scale == pytest.approx(60 / 90)
    nothing = choose_scale(KNOWN, "auto", None, lambda known: None)
    assert nothing.scale == 0.5
    assert "no cell was found" in nothing.reason


def test_without_one_scale_in_training_each_image_has_its_own():
    varied = TrainingScale(0.5, False, (480, 640), KNOWN.diameters)
    assert choose_scale(varied, None, None, no_estimate).scale is None
    assert choose_scale(varied, 60.0, None, no_estimate).scale == 1
    assert choose_scale(None, None, None, no_estimate).scale is None
    for options in ((60.0, None), (None, 2.0), ("auto", None)):
        with pytest.raises(ValueError, match="older version"):
            choose_scale(None, *options, no_estimate)


def test_tiles_are_larger_than_a_training_image_and_their_overlap_than_a_large_cell():
    side, overlap = KNOWN.tile(0.5)
    assert side == 1.5 * 640
    assert overlap > 90 / 0.5
    assert KNOWN.tile(1.0) == (math.ceil(side / 2), math.ceil(overlap / 2))
    # Close-ups of one cell each: a tile still is larger than its overlap.
    side, overlap = TrainingScale(0.5, True, (100, 100), KNOWN.diameters).tile(0.5)
    assert side > overlap


def test_sizes_unlike_those_of_training_are_told():
    assert "no cell was found" in KNOWN.warning([])
    assert KNOWN.warning([45, 60, 75, 62]) == ""
    assert KNOWN.warning([60] * 9 + [200]) == ""  # a single one is no reason
    assert "0.50 times" in KNOWN.warning([30] * 5)
    assert "--diameter" in KNOWN.warning([120] * 3)
    assert "50% outside" in KNOWN.warning([60, 60, 60, 20, 20, 150])


@pytest.mark.parametrize(("diameter", "factor"), [(0.1, None), (5.0, None), (1e7, None), (None, 1e-6), (None, 21.0)])
def test_sizes_that_no_cell_has_are_refused(diameter, factor):
    with pytest.raises(ValueError, match="the median cell is 120 pixels across; check"):
        choose_scale(KNOWN, diameter, factor, no_estimate)


def test_the_few_cells_of_one_image_vary_more_before_it_counts_as_another_magnification():
    assert not KNOWN.is_other_magnification([])
    assert not any(KNOWN.is_other_magnification([diameter]) for diameter in (24, 60, 116))  # 30 to 90 in training
    assert all(KNOWN.is_other_magnification([diameter, diameter, 60]) for diameter in (22, 118))


def test_a_few_cells_just_outside_of_the_range_are_no_reason_to_warn():
    assert KNOWN.warning([38, 38]) == ""  # 40 to 80 is the range of nine in ten
