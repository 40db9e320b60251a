"""How time and memory of a training step grow, ours beside torchvision's on the same axes."""

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.memory import in_a_process
from benchmarks.steps import SIDES, training_steps
from benchmarks.timing import interleaved

TITLES = {"theirs": "torchvision", "ours": "ours, float32", "ours, auto": "ours, default precision"}
USUAL = {"height": 384, "width": 480, "batch": 1, "rois": 256, "objects": 4}
AXES: dict[str, list[dict[str, int]]] = {
    "pixels an image": [{"height": side, "width": side * 5 // 4} for side in (192, 288, 384, 576)],
    "batch size": [{"batch": count} for count in (1, 2, 4)],
    "sampled RoIs an image": [{"rois": count} for count in (64, 128, 256, 512, 1024)],
    "objects an image": [{"objects": count} for count in (1, 4, 16, 64)],
}


def measure(device: torch.device) -> list[dict[str, Any]]:
    """A dict for each point of each axis: axis, x, and for each side seconds and bytes."""
    points = []
    places = [(axis, change) for axis, changes in AXES.items() for change in changes]
    for axis, change in tqdm(places, desc="how they grow", disable=None):
        setting = {**USUAL, **change}
        x = setting["height"] * setting["width"] if axis == "pixels an image" else next(iter(change.values()))
        seconds = interleaved(training_steps(device, **setting), seconds=6, rounds=3)
        memory = {side: in_a_process(side, **setting) for side in SIDES}
        points.append({"axis": axis, "x": x, "seconds": seconds, "bytes": memory})
    return points


def table(points: list[dict[str, Any]]) -> str:
    """A line for each point, and for each axis how many times more the last one costs than the first."""
    lines = []
    for axis in AXES:
        own = [point for point in points if point["axis"] == axis]
        lines.append(f"{axis:24s}" + "".join(f"{title:>32s}" for title in TITLES.values()))
        for point in own:
            cells = [
                f"{point['seconds'][side] * 1e3:17.0f} ms {point['bytes'][side] / 2**20:7.0f} MiB" for side in SIDES
            ]
            lines.append(f"{point['x']:>24d}" + "".join(cells))
        growth = [
            [own[-1][what][side] / max(own[0][what][side], 1e-9) for what in ("seconds", "bytes")] for side in SIDES
        ]
        lines.append(
            f"{'last / first':>24s}" + "".join(f"{time:17.2f} x  {memory:7.2f} x  " for time, memory in growth)
        )
    return "\n".join(lines)


def plot(points: list[dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(4 * len(AXES), 6.5), layout="constrained")
    axes = figure.subplots(2, len(AXES), squeeze=False)
    for column, axis in enumerate(AXES):
        own = [point for point in points if point["axis"] == axis]
        for row, (what, scale, unit) in enumerate((("seconds", 1.0, "s"), ("bytes", 2**-30, "GiB"))):
            ax = axes[row][column]
            for side, title in TITLES.items():
                style = "--" if side == "theirs" else "-"
                ax.plot([p["x"] for p in own], [p[what][side] * scale for p in own], style, marker="o", label=title)
            ax.set(
                xlabel=axis,
                ylabel=f"{what} a step ({unit})" if what == "seconds" else f"memory ({unit})",
                ylim=(0, None),
            )
            ax.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
