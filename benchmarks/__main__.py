"""Ours beside torchvision, both in one process, on the same inputs, taking turns: medians, ratios, and how they grow."""

import argparse
import json
import platform
import statistics
from pathlib import Path
from typing import Any

import torch
import torchvision

from benchmarks import memory, operators, scaling, steps, timing
from benchmarks.timing import Comparison
from maskrcnn.precision import best_device

PARTS = ("operators", "steps", "memory", "scaling")


def measure_memory() -> list[Comparison]:
    """Medians of three processes a side: what a step needs depends on the proposals that it happens to sample."""
    sides = ("theirs", "ours", "ours, auto")
    peaks = {side: statistics.median(memory.in_a_process(side, 576, 720) for _ in range(3)) for side in sides}
    return [
        Comparison("memory of the training step, float32", peaks["ours"], peaks["theirs"], 1.0, "B"),
        Comparison("memory of the training step, default precision", peaks["ours, auto"], peaks["theirs"], 1.0, "B"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    add(
        "--out",
        type=Path,
        default=Path("runs/benchmarks"),
        help="for results.json and scaling.png (default: %(default)s)",
    )
    args = parser.parse_args()
    parts = args.parts or PARTS
    device = best_device()
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU"
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    print(f"{where}, {torch.get_num_threads()} threads, {versions}")
    results: dict[str, Any] = {"device": where, "threads": torch.get_num_threads(), "versions": versions}
    rows: list[Comparison] = []
    if "operators" in parts:
        rows += operators.measure(device)
    if "steps" in parts:
        rows += steps.measure_training(device) + steps.measure_inference(device)
    if "memory" in parts:
        rows += measure_memory()
    if rows:
        print(timing.table(rows))
    results["comparisons"] = [{**row._asdict(), "ratio": row.ratio} for row in rows]
    if "steps" in parts:
        own = [row.ours for row in rows if row.what.startswith("the tutorial's step")]
        hours = [steps.TUTORIAL_STEPS * seconds / 3600 for seconds in own]
        print(f"the tutorial's {steps.TUTORIAL_STEPS} steps: {hours[0]:.2f} h in float32, {hours[1]:.2f} h in default "
              "precision; it took 27 h")  # fmt: skip
        shares = steps.share_of_peak(device)
        print("FLOPs of the training step over those of the best matrix product: "
              + ", ".join(f"{share:.2f} ({precision})" for precision, share in shares.items()))  # fmt: skip
        results |= {"tutorial_hours": hours, "share_of_peak": shares}
    args.out.mkdir(parents=True, exist_ok=True)
    if "scaling" in parts:
        results["scaling"] = scaling.measure(device)
        print(scaling.table(results["scaling"]))
        scaling.plot(results["scaling"], args.out / "scaling.png")
    (args.out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"the same as JSON: {args.out / 'results.json'}")


if __name__ == "__main__":
    main()
