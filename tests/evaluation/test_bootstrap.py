"""Bootstrap intervals, against what is known of binomial fractions."""

import math

import numpy as np
import pytest

from maskrcnn.evaluation.bootstrap import ArrayEstimate, Estimate, bootstrap, exact_interval

CORRECT = (np.arange(60) < 45).astype(float)  # three quarters of 60 images
SPREAD = 1.96 * math.sqrt(0.75 * 0.25 / 60)


def fraction_of(correct):
    return lambda weights: {"fraction": np.array([weights @ correct / weights.sum()])}


def interval(correct, **options):
    return bootstrap(fraction_of(correct), len(correct), **options)["fraction"].at(0)


def test_intervals_are_those_of_a_binomial():
    """Bootstrap and normal approximation agree to about a point."""
    estimate = interval(CORRECT, rounds=4000)
    assert estimate.value == pytest.approx(0.75)
    assert estimate[1:] == pytest.approx((0.75 - SPREAD, 0.75 + SPREAD), abs=0.015)


def test_images_of_one_group_are_resampled_together():
    """60 groups of three equal images: the interval is that of 60 images, not of 180."""
    correct, groups = CORRECT.repeat(3), (100 - np.arange(60)).repeat(3).tolist()
    assert interval(correct, rounds=4000, groups=groups)[1:] == pytest.approx((0.75 - SPREAD, 0.75 + SPREAD), abs=0.015)
    ungrouped = interval(correct, rounds=4000)
    assert ungrouped.high - ungrouped.low == pytest.approx(2 * SPREAD / math.sqrt(3), abs=0.015)


@pytest.mark.parametrize(("correct", "groups"), [(CORRECT[:1], None), (CORRECT, [7] * 60)])
def test_a_single_image_or_group_has_no_interval(correct, groups):
    estimate = interval(correct, rounds=10, groups=groups)
    assert estimate.value == correct.mean()
    assert np.isnan(estimate[1:]).all()


def test_an_interval_leaves_out_samples_in_which_there_is_nothing_to_measure():
    has_cells = np.array([1.0, 0, 0])

    def statistics(weights):
        number = weights @ has_cells
        return {"always 1": np.array([number / number if number else math.nan, math.nan])}

    estimate = bootstrap(statistics, 3, rounds=200)["always 1"]
    assert (estimate.low[0], estimate.high[0]) == (1, 1)
    assert np.isnan([estimate.value[1], estimate.low[1], estimate.high[1]]).all()


def test_every_array_has_its_own_interval_from_the_same_samples():
    values = np.arange(24.0).reshape(4, 3, 2)

    def statistics(weights):
        mean = np.tensordot(weights, values, axes=1) / weights.sum()
        return {"mean": mean, "double": 2 * mean, "one": mean[0, 0]}

    estimates = bootstrap(statistics, 4, rounds=50)
    assert list(estimates) == ["mean", "double", "one"]
    assert estimates["mean"].value.tolist() == values.mean(axis=0).tolist()
    for mean, double in zip(estimates["mean"], estimates["double"]):
        assert mean.shape == (3, 2)
        assert np.allclose(2 * mean, double)
    assert estimates["one"] == pytest.approx(tuple(array[0, 0] for array in estimates["mean"]))
    again, other = bootstrap(statistics, 4, rounds=50), bootstrap(statistics, 4, rounds=50, seed=1)
    assert (again["mean"].low == estimates["mean"].low).all()
    assert (other["mean"].low != estimates["mean"].low).any()


def test_estimates_as_text():
    nan = math.nan
    assert str(Estimate(0.5, 0.25, 0.8125)) == "0.500 (0.250 to 0.812)"
    assert str(Estimate(0.5, nan, nan)) == "0.500"
    assert str(Estimate(nan, nan, nan)) == "-"
    assert ArrayEstimate(np.array([1.0, 2]), np.array([0.0, 1]), np.array([3.0, 4])).at(1) == Estimate(2, 1, 4)


def test_an_interval_without_width_is_none():
    one = ArrayEstimate(np.ones(1), np.ones(1), np.ones(1)).at(0)
    assert str(one) == "1.000"
    assert not one.has_interval


def binomial(count, probability, wanted):
    """The probability of a number of hits for which wanted(number) holds."""
    return sum(
        math.comb(count, k) * probability**k * (1 - probability) ** (count - k) for k in range(count + 1) if wanted(k)
    )


def test_exact_intervals_end_where_a_tail_of_the_binomial_is_a_fortieth():
    pairs = [(part, whole) for whole in (2, 3, 12, 40) for part in range(whole + 1)]
    part, whole = np.array(pairs, float).T
    estimate = exact_interval(part, whole)
    assert (estimate.value == part / whole).all()
    for (k, n), low, high in zip(pairs, estimate.low, estimate.high):
        assert low == 0 if k == 0 else binomial(n, low, lambda hits, k=k: hits >= k) == pytest.approx(0.025)
        assert high == 1 if k == n else binomial(n, high, lambda hits, k=k: hits <= k) == pytest.approx(0.025)


def test_of_none_and_of_one_there_is_no_exact_interval():
    estimate = exact_interval(np.array([0.0, 0, 1]), np.array([0.0, 1, 1]))
    np.testing.assert_equal(estimate.value, [math.nan, 0, 1])
    assert np.isnan([estimate.low, estimate.high]).all()
