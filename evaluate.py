"""Say how good a trained model is on labelled images, for which class, how sure that is, and where it fails."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data import check, synthetic
from data.dataset import PARTS
from data.lisc import DataError
from data.splits import fingerprints, open_splits, seen_in_training
from maskrcnn.evaluation.evaluate import evaluate, table
from maskrcnn.evaluation.report import write_report
from maskrcnn.precision import PRECISIONS, best_device
from maskrcnn.run_folder import writable
from maskrcnn.settings import share
from maskrcnn.weights import load_checkpoint

EPILOG = """--out then holds
  report.html           everything below in one page that opens without a network
  evaluation.txt        the tables: average precision of all, of each class and by area; precision, recall, F1, panoptic
                        quality, IoU, Dice, accuracy and calibration of cells; each with a 95 % interval over images
  evaluation.json       the same, the confusion matrix, the curves, and every failure with its file
  evaluation-*.png      curves, confusion, calibration; best, median and worst outlines; every kind of failure

A run folder says how its images were divided (--folds, --fold, --seed) and what was outlined (--target); the same holds here
unless told otherwise. Images that the model was trained on are counted: figures on them say nothing about new ones.

examples:
  python evaluate.py --weights runs/LISC --data data/LISC
  python evaluate.py --weights runs/LISC/best.pt --data smears --split all --out report"""

# What --weights RUN says, and what holds without it.
OF_THE_RUN = {"folds": None, "fold": 0, "seed": 0, "target": "cell"}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", type=Path, required=True, metavar="RUN", help="a run folder or a checkpoint of train.py")
    add("--data", required=True, metavar="PATH", help="folder of the images, or synthetic, as for train.py")
    add("--split", choices=("val", "train", "all"), default="val", help="which of them (default: %(default)s)")
    add("--folds", type=int, metavar="K", help="divide all images into K parts; 0: as the data's own folders do (default: "
        "as the run did)")  # fmt: skip
    add("--fold", type=int, metavar="k", help="whose part k is the validation set (default: that of the run)")
    add("--seed", type=int, help="of the split (default: that of the run)")
    add("--target", choices=PARTS, help="outlines of whole cells, or of nuclei (default: that of the run)")
    add("--min-score", type=share, default=0.5, help="from which a detection counts as one; AP counts all "
        "that the model reports (default: %(default)s)")  # fmt: skip
    add(
        "--turns",
        action="store_true",
        help="look at each image in all eight ways it can lie (test-time augmentation), as predict.py --turns does",
    )
    add("--out", type=Path, default=Path("evaluation"), help="where to write (default: %(default)s)")
    add("--precision", choices=PRECISIONS, default="auto", help="of the arithmetic (default: %(default)s)")
    args = parser.parse_args()
    of_run = arguments_of(args.weights)
    if args.fold is not None and not (of_run.get("folds") if args.folds is None else args.folds):
        parser.error("argument --fold: says which part of --folds")
    if args.folds is None and of_run.get("folds"):
        print(f"divided as for the run, into {of_run['folds']} parts; --folds 0 keeps to the folders of the data")
    for name, usual in OF_THE_RUN.items():
        if getattr(args, name) is None:
            setattr(args, name, of_run.get(name, usual))
    args.folds = args.folds or None
    return args


def arguments_of(weights: Path) -> dict[str, Any]:
    """How the run was started that the folder or the checkpoint in it is of; {} if that is not known."""
    config = (weights if weights.is_dir() else weights.parent) / "config.json"
    try:
        return dict(json.loads(config.read_text(encoding="utf-8"))["arguments"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def main() -> int:
    args = parse_arguments()
    try:
        model, saved = load_checkpoint(args.weights)
        writable(args.out)
        splits = open_splits(
            synthetic.folder_of(args.data), args.folds, args.fold, args.seed, part=args.target,
            class_names=model.config.class_names, undivided=args.split == "all", to_train=args.split == "train",
        )  # fmt: skip
        for skipped in splits.skipped:
            print(f"left out: {skipped}", file=sys.stderr)
        chosen = splits.train if args.split == "train" else splits.val
        groups = splits.groups[: len(chosen)] if args.split == "train" else splits.val_groups
        notes, seen = check.report(splits), seen_in_training(fingerprints(chosen), saved.get("trained_on", ()))
        if seen:
            print(seen, file=sys.stderr)
            notes = f"{seen}\n{notes}"
        bar = tqdm(chosen, "evaluating", unit="image")
        files = [str(field.image) for field in chosen.fields]
        result = evaluate(model.to(best_device()), bar, args.precision, args.min_score, files, args.turns, groups)
        print(table(result), flush=True)
        title = f"{args.weights} on {args.data} ({args.split}{', each image in all eight ways' * args.turns})"
        print(f"the report: {write_report(result, chosen, args.out, title, notes)}")
    except (DataError, ValueError, OSError, RuntimeError, MemoryError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
