"""A fair comparison of run times: in one process, in alternation, medians."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

WIDTH = 62  # of the longest name


class Comparison(NamedTuple):
    """Two sides in seconds or bytes; goal: what theirs / ours should reach, if there is a goal."""

    what: str
    ours: float
    theirs: float
    goal: float | None = None
    unit: str = "s"

    @property
    def ratio(self) -> float:
        return self.theirs / self.ours


def interleaved(sides: Mapping[str, Callable[[], object]], seconds: float = 5.0, rounds: int = 5) -> dict[str, float]:
    """The median time of each side in seconds, after one warm-up run of each.

    The sides alternate, for so many seconds and at least so many rounds, so that other load slows all of them.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()
    begun = time.perf_counter()
    while time.perf_counter() < begun + seconds or len(next(iter(times.values()))) < rounds:
        for name, run in sides.items():
            times[name].append(stopwatch(run))
    return {name: statistics.median(values) for name, values in times.items()}


def stopwatch(run: Callable[[], object]) -> float:
    """Seconds of one run, those of a GPU included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begun = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def heading() -> str:
    return f"{'':{WIDTH}s}  {'ours':>12s}  {'torchvision':>12s}  {'ratio':>7s}  {'goal':>6s}"


def line(row: Comparison) -> str:
    """Ours, torchvision's, the ratio and the goal."""
    scale, unit = (1e3, "ms") if row.unit == "s" else (2**-20, "MiB")
    goal = f"{row.goal:6.2f}" if row.goal else ""
    sides = "".join(f"  {value * scale:9.2f} {unit:3s}" for value in (row.ours, row.theirs))
    return f"{row.what:{WIDTH}s}{sides} {row.ratio:7.2f}  {goal}"
