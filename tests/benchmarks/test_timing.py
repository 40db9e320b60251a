import time

import pytest

from benchmarks.speed.timing import Comparison, interleaved, line


def test_sides_take_turns_after_a_run_that_does_not_count():
    runs = []
    interleaved({"a": lambda: runs.append("a"), "b": lambda: runs.append("b")}, seconds=0, rounds=3)
    assert "".join(runs) == "ab" * 4


def test_a_time_is_the_median_so_that_one_slow_run_does_not_matter():
    naps = iter((0, 0.01, 0.3, 0.01, 0.01, 0.01))
    times = interleaved({"a": lambda: time.sleep(next(naps))}, seconds=0, rounds=5)
    assert times["a"] == pytest.approx(0.01, abs=0.008)


def test_the_ratio_is_theirs_over_ours_and_stands_beside_its_goal():
    assert line(Comparison("nms", 0.002, 0.005, 1.2)).split() == ["nms", "2.00", "ms", "5.00", "ms", "2.50", "1.20"]
    assert line(Comparison("memory", 3 * 2**20, 2**20, unit="B")).split() == [
        "memory",
        "3.00",
        "MiB",
        "1.00",
        "MiB",
        "0.33",
    ]
