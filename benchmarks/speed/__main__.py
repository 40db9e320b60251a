"""Speed and memory beside torchvision: both sides in one process, on the same inputs, in turns; medians and ratios."""

import argparse
import json
import platform
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision

from benchmarks.speed import memory, operators, scaling, steps, timing
from benchmarks.speed.timing import Comparison
from maskrcnn.inference.device import best_device

PARTS = ("operators", "steps", "memory", "scaling")


def measure_memory() -> Iterator[Comparison]:
    """Medians of three processes per side: the memory of a step depends on the proposals that it happens to sample."""
    peaks = {side: statistics.median(memory.in_a_process(side, 576, 720) for _ in range(3)) for side in steps.SIDES}
    yield Comparison("memory of the training step, float32", peaks["ours"], peaks["theirs"], 1.0, "B")
    yield Comparison("memory of the training step, default precision", peaks["ours, auto"], peaks["theirs"], 1.0, "B")


def comparisons(parts: Sequence[str], device: torch.device) -> Iterator[Comparison]:
    if "operators" in parts:
        yield from operators.measure(device)
    if "steps" in parts:
        yield from steps.measure_training(device)
        yield from steps.measure_inference(device)
    if "memory" in parts:
        yield from measure_memory()


def speed_summary(rows: Sequence[Comparison], device: torch.device) -> dict[str, Any]:
    """What follows from the training steps: the tutorial's job in hours, and the fraction of the machine's peak."""
    seconds = [row.ours for row in rows if row.what.startswith("the tutorial's step")]
    hours = [steps.TUTORIAL_STEPS * value / 3600 for value in seconds]
    fractions = steps.fraction_of_peak(device)
    print(
        f"the tutorial's {steps.TUTORIAL_STEPS} steps: {hours[0]:.2f} h in float32, {hours[1]:.2f} h in default precision; "
        "they took 27 h in 2019"
    )
    of_peak = ", ".join(f"{value:.2f} ({precision})" for precision, value in fractions.items())
    print(f"FLOPs of the training step over those of the fastest matrix product: {of_peak}")
    return {"tutorial_hours": hours, "fraction_of_peak": fractions}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    add = parser.add_argument
    add("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    add("--out", type=Path, default=Path("runs/benchmarks"), help="folder to write to (default: %(default)s)")
    args = parser.parse_args()
    parts = args.parts or PARTS
    args.out.mkdir(parents=True, exist_ok=True)
    device = best_device()
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU"
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    print(f"{name}, {torch.get_num_threads()} threads, {versions}")
    results: dict[str, Any] = {"device": name, "threads": torch.get_num_threads(), "versions": versions}
    rows: list[Comparison] = []
    if set(parts) & {"operators", "steps", "memory"}:
        print(timing.heading())
    for row in comparisons(parts, device):
        print(timing.line(row), flush=True)
        rows.append(row)
    results["comparisons"] = [{**row._asdict(), "ratio": row.ratio} for row in rows]
    if "steps" in parts:
        results |= speed_summary(rows, device)
    if "scaling" in parts:
        results["scaling"] = scaling.measure(device)
        print(scaling.table(results["scaling"]))
        scaling.plot(results["scaling"], args.out / "scaling.png")
    (args.out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"the same as JSON: {args.out / 'results.json'}")


if __name__ == "__main__":
    main()
