"""Say how good a trained model is on labelled images, for which class, how sure that is, and where it fails."""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from data import check
from data.dataset import PARTS
from data.lisc import DataError
from data.splits import open_splits
from maskrcnn.evaluation.evaluate import evaluate, table
from maskrcnn.evaluation.report import write_report
from maskrcnn.precision import PRECISIONS, best_device
from maskrcnn.weights import load_checkpoint

EPILOG = """--out then holds
  report.html           everything below in one page that opens without a network
  evaluation.txt        the tables: average precision; precision, recall, F1, panoptic quality, IoU, Dice, accuracy and
                        calibration of cells; each with a 95 % interval over images
  evaluation.json       the same and more
  evaluation-*.png      curves, confusion, calibration; best, median and worst outlines; every kind of failure

examples:
  python evaluate.py --weights runs/LISC --data data/LISC
  python evaluate.py --weights runs/LISC/best.pt --data smears --split all --out report"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", type=Path, required=True, metavar="RUN", help="a run folder or a checkpoint of train.py")
    add("--data", type=Path, required=True, metavar="PATH", help="folder of the images, as for train.py")
    add("--split", choices=("val", "train", "all"), default="val", help="which of them (default: %(default)s)")
    add("--folds", type=int, metavar="K", help="divide all images into K parts, as in training")
    add("--fold", type=int, default=0, metavar="k", help="whose part k is the validation set (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the split, as in training (default: %(default)s)")
    add("--target", choices=PARTS, default="cell", help="outlines of whole cells, or of nuclei (default: %(default)s)")
    add(
        "--min-score",
        type=float,
        default=0.5,
        help="from which a detection counts as one; AP counts all (default: %(default)s)",
    )
    add("--out", type=Path, default=Path("evaluation"), help="where to write (default: %(default)s)")
    add("--precision", choices=PRECISIONS, default="auto", help="of the arithmetic (default: %(default)s)")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    try:
        model, _ = load_checkpoint(args.weights / "best.pt" if args.weights.is_dir() else args.weights)
        splits = open_splits(
            args.data, args.folds, args.fold, args.seed, part=args.target, class_names=model.config.class_names
        )
        chosen = {"val": [splits.val], "train": [splits.train], "all": [splits.train, splits.val]}[args.split]
        samples = [dataset[i] for dataset in chosen for i in range(len(dataset))]
        bar = tqdm(samples, "evaluating", unit="image")
        result = evaluate(model.to(best_device()), bar, args.precision, args.min_score)
        title = f"{args.weights} on {args.data} ({args.split})"
        report = write_report(result, samples, args.out, title, check.report(splits))
    except (DataError, ValueError, OSError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2
    print(table(result))
    print(f"the report: {report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
