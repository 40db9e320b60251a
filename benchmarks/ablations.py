"""What each idea of the training recipe gives: the recipe with one thing changed, on an inner split of the training images.

Every variant is trained on the same folds; the real validation images are not touched. A variant is written as its name and
the arguments of train.py that make it: "no average: --average 0".
"""

import argparse
import json
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.runs import train

MEASURES = ("mask AP", "any class", "AP75", "epochs")


def last(run: Path, leave_out: Sequence[str]) -> dict[str, float]:
    """The validation figures of a run's last epoch: of none that was picked by them. leave_out: classes that the mean over
    classes is taken without, having too few cells."""
    line = json.loads((run / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    classes = [ap for name, ap in line["mask"]["per_class"].items() if name not in leave_out]
    any_class = line["mask_any_class"]
    return dict(
        zip(MEASURES, (statistics.mean(classes), any_class["ap"], any_class["ap75"], line["epoch"]), strict=True)
    )


def row(name: str, runs: list[dict[str, float]]) -> str:
    """Mean and range over the folds, as a line."""
    cells = []
    for measure in MEASURES:
        values = [run[measure] for run in runs]
        digits = 0 if measure == "epochs" else 3
        cells.append(f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})")
    return f"{name:28s}" + "".join(f"{cell:>22s}" for cell in cells)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description=__doc__)
    add = parser.add_argument
    add("data", type=Path, metavar="PATH", help="labelled images; a train folder alone, so that no other is looked at")
    add("variants", nargs="+", metavar="NAME:ARGUMENTS", help='such as "recipe:" or "no average: --average 0"')
    add("--minutes", type=float, default=10, help="of each run (default: %(default)s)")
    add("--folds", type=int, default=3, help="runs of each variant, each with its own seed (default: %(default)s)")
    add("--leave-out", nargs="*", default=[], metavar="CLASS", help="classes that mask AP is averaged without")
    add("--out", type=Path, default=Path("runs/ablations"), help="folder of the runs; those that are there already are "
        "not repeated (default: %(default)s)")  # fmt: skip
    args = parser.parse_args()
    print(f"{'':28s}" + "".join(f"{measure:>22s}" for measure in MEASURES), flush=True)
    for variant in args.variants:
        name, _, arguments = variant.partition(":")
        runs = []
        for fold in range(args.folds):
            out = args.out / f"{name.strip().replace(' ', '-')}-{fold}"
            if not (out / "report.html").exists():
                split = ("--folds", args.folds, "--fold", fold, "--seed", fold)
                train(out, "--data", args.data, "--minutes", args.minutes, *split, *shlex.split(arguments))
            runs.append(last(out, args.leave_out))
        print(row(name.strip(), runs), flush=True)


if __name__ == "__main__":
    main()
