"""How time and memory of a training step grow with its size, here and in torchvision."""

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.speed.memory import in_a_process
from benchmarks.speed.steps import SIDES, training_steps
from benchmarks.speed.timing import interleaved

TITLES = {"theirs": "torchvision", "ours": "ours, float32", "ours, auto": "ours, default precision"}
DEFAULTS = {"height": 384, "width": 480, "batch": 1, "rois": 256, "objects": 4}
AXES: dict[str, list[dict[str, int]]] = {
    "pixels per image": [{"height": side, "width": side * 5 // 4} for side in (192, 288, 384, 576)],
    "batch size": [{"batch": count} for count in (1, 2, 4)],
    "sampled RoIs per image": [{"rois": count} for count in (64, 128, 256, 512, 1024)],
    "objects per image": [{"objects": count} for count in (1, 4, 16, 64)],
}


def measure(device: torch.device) -> list[dict[str, Any]]:
    """One dict per point of each axis: axis, x, and seconds and bytes per side."""
    points = []
    settings = [(axis, change) for axis, changes in AXES.items() for change in changes]
    for axis, change in tqdm(settings, desc="scaling", disable=None):
        setting = {**DEFAULTS, **change}
        x = setting["height"] * setting["width"] if axis == "pixels per image" else next(iter(change.values()))
        seconds = interleaved(training_steps(device, **setting), seconds=6, rounds=3)
        memory = {side: in_a_process(side, **setting) for side in SIDES}
        points.append({"axis": axis, "x": x, "seconds": seconds, "bytes": memory})
    return points


def table(points: list[dict[str, Any]]) -> str:
    """One line per point, and per axis the cost of the last point relative to the first."""
    lines = []
    for axis in AXES:
        of_axis = [point for point in points if point["axis"] == axis]
        lines.append(f"{axis:24s}" + "".join(f"{title:>32s}" for title in TITLES.values()))
        for point in of_axis:
            cells = [
                f"{point['seconds'][side] * 1e3:17.0f} ms {point['bytes'][side] / 2**20:7.0f} MiB" for side in SIDES
            ]
            lines.append(f"{point['x']:>24d}" + "".join(cells))
        growth = [
            [of_axis[-1][what][side] / max(of_axis[0][what][side], 1e-9) for what in ("seconds", "bytes")]
            for side in SIDES
        ]
        lines.append(
            f"{'last / first':>24s}" + "".join(f"{time:17.2f} x  {memory:7.2f} x  " for time, memory in growth)
        )
    return "\n".join(lines)


def plot(points: list[dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(4 * len(AXES), 6.5), layout="constrained")
    axes = figure.subplots(2, len(AXES), squeeze=False)
    for column, axis in enumerate(AXES):
        of_axis = [point for point in points if point["axis"] == axis]
        for row, (what, scale, unit) in enumerate((("seconds", 1.0, "s"), ("bytes", 2**-30, "GiB"))):
            ax = axes[row][column]
            for side, title in TITLES.items():
                style = "--" if side == "theirs" else "-"
                ax.plot(
                    [p["x"] for p in of_axis], [p[what][side] * scale for p in of_axis], style, marker="o", label=title
                )
            ax.set(
                xlabel=axis,
                ylabel=f"{what} per step ({unit})" if what == "seconds" else f"memory ({unit})",
                ylim=(0, None),
            )
            ax.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
