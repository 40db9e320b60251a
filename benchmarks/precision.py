"""Does lower precision cost accuracy? The same short training, the same seeds, in float32 and in default precision."""

import argparse
import json
import statistics
from pathlib import Path

from benchmarks.runs import last_line, train


def final(run: Path) -> dict[str, float]:
    """Validation AP and training loss of the last epoch, and the minutes it all took."""
    line = last_line(run)
    return {
        "mask AP": line["mask"]["ap"],
        "mask AP, any class": line["mask_any_class"]["ap"],
        "box AP": line["box"]["ap"],
        "training loss": sum(line["train"].values()),
        "minutes": line["minutes"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    add = parser.add_argument
    add("--data", default="synthetic", metavar="PATH", help="as for train.py (default: %(default)s)")
    add("--epochs", type=int, default=6, help="of each run (default: %(default)s)")
    add("--seeds", type=int, default=3, help="runs of each precision (default: %(default)s)")
    add("--out", type=Path, default=Path("runs/precision"), help="new folder for the runs (default: %(default)s)")
    args = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {"float32": [], "auto": []}
    for seed in range(args.seeds):
        for precision, runs in results.items():
            out = args.out / f"{precision}-{seed}"
            train(out, "--data", args.data, "--epochs", args.epochs, "--seed", seed, "--precision", precision)
            runs.append(final(out))
    print(f"{args.seeds} seeds: mean, and from the lowest to the highest")
    for name in results["auto"][0]:
        line = f"{name:20s}"
        for precision, runs in results.items():
            values = [run[name] for run in runs]
            line += f"   {precision:>8s} {statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
        print(line)
    (args.out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
