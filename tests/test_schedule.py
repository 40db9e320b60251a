import math

import pytest

from maskrcnn.schedule import WARMUP_STEPS, Schedule


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def at_step(step: int) -> Schedule:
    return Schedule(total_steps=1000, minutes=None, peak_rate=0.1, step=step)


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine_to_zero():
    assert at_step(0).rate == pytest.approx(0.1 / WARMUP_STEPS)
    rates = [at_step(step).rate for step in range(WARMUP_STEPS, 1001)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.099
    assert at_step(500).rate == pytest.approx(0.05)  # half a cosine is halfway down in the middle
    assert at_step(250).rate == pytest.approx(0.05 * (1 + math.cos(math.pi / 4)))
    assert at_step(1000).rate == pytest.approx(0, abs=1e-12)


def test_with_a_short_decay_the_rate_stays_high_until_then():
    run = Schedule(total_steps=1000, minutes=None, peak_rate=0.1, decay=0.4)
    for step, rate in ((WARMUP_STEPS, 0.1), (599, 0.1), (600, 0.1), (800, 0.05), (1000, 0.0)):
        run.step = step
        assert run.rate == pytest.approx(rate, abs=1e-6), step
    assert run.falls_from == pytest.approx(0.6)


def test_a_limit_in_minutes_counts_time_and_holds_one_more_validation(clock):
    run = Schedule(total_steps=10, minutes=10, peak_rate=0.1, step=10**6)
    assert run.fraction == 0
    clock[0] += 300
    assert run.fraction == pytest.approx(0.5)
    assert run.seconds_left == 300
    run.validation_seconds = 100
    assert run.fraction == pytest.approx(300 / 490)
    clock[0] += 190
    assert run.fraction == 1


def test_a_resumed_run_counts_what_was_before(clock):
    run = Schedule(total_steps=10, minutes=10, peak_rate=0.1, earlier_seconds=450)
    clock[0] += 30
    assert run.seconds == 480
    assert run.fraction == pytest.approx(0.8)


def test_validating_takes_a_twentieth_of_the_time_and_the_last_epochs_are_no_more_than_are_left(clock):
    run = Schedule(total_steps=2000, minutes=None, peak_rate=0.1)
    assert run.epochs_until_validation(100) == 1
    run.step, run.validation_seconds = 100, 20.0
    clock[0] += 100  # an epoch takes 100 s, so that 20 s of validation are worth 4 of them
    assert run.epochs_until_validation(100) == 4
    run.validation_seconds = 5.0
    assert run.epochs_until_validation(100) == 1
    run.step, run.validation_seconds = 1750, 1e6
    clock[0] += 1650
    assert run.epochs_until_validation(100) == 3


def test_a_rest_of_less_than_an_epoch_is_no_epoch_of_its_own(clock):
    run = Schedule(total_steps=2000, minutes=None, peak_rate=0.1, step=1650, validation_seconds=1.0)
    clock[0] += 1650
    assert run.epochs_until_validation(100) == 1
    run.step = 1850
    assert run.epochs_until_validation(100) == 2  # 150 steps are left: a whole epoch and a half
    run.step = 950
    assert run.epochs_until_validation(100, until=0.5) == 1
    run.step = 880
    assert run.epochs_until_validation(100, until=0.5) == 2


def test_a_run_is_over_when_hardly_anything_is_left(clock):
    run = Schedule(total_steps=2000, minutes=10, peak_rate=0.1)
    assert not run.is_over(100)
    run.step = 1000
    clock[0] += 591  # of 600 seconds: some 15 steps more
    assert not run.is_over(100)
    clock[0] += 5
    assert run.is_over(100)
    counted = Schedule(total_steps=2000, minutes=None, peak_rate=0.1, step=1995)
    assert counted.is_over(100)
    counted.step = 1985
    assert not counted.is_over(100)
