"""Ablations of the training recipe: the recipe with one change, cross-validated on the training images.

Every variant is trained on the same folds; the validation images are not used. A variant is given by a name and the
arguments of train.py that make it: "no EMA: --ema-decay 0". With equal time (--minutes) nothing else may run on the machine;
with equal epochs (--epochs) several runs can share it (--jobs).
"""

import argparse
import os
import shlex
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.experiments.train_runs import last_line, train

METRICS = ("mask AP", "class-agnostic", "AP75", "epochs")


def last(run: Path, leave_out: Sequence[str]) -> dict[str, float]:
    """The validation metrics of a run's last epoch. leave_out: classes with too few cells, not in the mean."""
    line = last_line(run)
    classes = [ap for name, ap in line["mask"]["per_class"].items() if name not in leave_out]
    class_agnostic = line["mask_class_agnostic"]
    return dict(
        zip(
            METRICS,
            (statistics.mean(classes), class_agnostic["ap"], class_agnostic["ap75"], line["epoch"]),
            strict=True,
        )
    )


def row(name: str, runs: list[dict[str, float]]) -> str:
    """One line: the mean over the folds and, in brackets, each fold."""
    cells = []
    for metric in METRICS:
        values = [run[metric] for run in runs]
        digits = 0 if metric == "epochs" else 3
        cells.append(f"{statistics.mean(values):.{digits}f} ({', '.join(f'{value:.{digits}f}' for value in values)})")
    return f"{name:28s}" + "".join(f"{cell:>30s}" for cell in cells)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.ablations", description=__doc__)
    add = parser.add_argument
    add("data", type=Path, metavar="PATH", help="labelled images; a train folder alone, so that no other is looked at")
    add("variants", nargs="+", metavar="NAME:ARGUMENTS", help='such as "recipe:" or "no EMA: --ema-decay 0"')
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=10, help="of each run (default: %(default)s)")
    length.add_argument("--epochs", type=int, help="of each run instead; a variant may have its own")
    add("--jobs", type=int, default=1, help="runs at once, which share the cores (default: %(default)s)")
    add("--folds", type=int, default=3, help="runs of each variant, each with its own seed (default: %(default)s)")
    add("--leave-out", action="append", default=[], metavar="CLASS", help="a class that mask AP is averaged without")
    add(
        "--out",
        type=Path,
        default=Path("runs/ablations"),
        help="folder of the runs; those that are there already are not repeated (default: %(default)s)",
    )
    args = parser.parse_args()
    of_length = ("--epochs", args.epochs) if args.epochs else ("--minutes", args.minutes)
    variants = [(name.strip(), arguments) for name, _, arguments in (v.partition(":") for v in args.variants)]
    outs = {name: [args.out / f"{name.replace(' ', '-')}-{fold}" for fold in range(args.folds)] for name, _ in variants}
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    running = []
    with ThreadPoolExecutor(args.jobs) as pool:
        for name, arguments in variants:
            for fold, out in enumerate(outs[name]):
                split = ("--folds", args.folds, "--fold", fold, "--seed", fold)
                given = ("--data", args.data, *of_length, *split, *shlex.split(arguments))
                running.append(pool.submit(train, out, *given, threads=threads))
    for run in running:
        run.result()  # raises what its training raised
    print(f"{'':28s}" + "".join(f"{metric:>30s}" for metric in METRICS))
    for name, _ in variants:
        print(row(name, [last(out, args.leave_out) for out in outs[name]]))


if __name__ == "__main__":
    main()
