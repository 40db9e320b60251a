"""Evaluate a trained model on annotated images: per class, with confidence intervals, with every failure."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports, which take seconds, prints no traceback

import argparse
import functools
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data.arguments import add_data_options, read_options
from data.dataset import SmearDataset
from data.inspect.report import dataset_report
from data.loader import OVERSIZE
from data.opening import MAX_SIDE, open_dataset
from data.splits import Splits, all_images, fingerprints, k_fold, overlap_warning, train_val_split
from data.synthetic.dataset import resolve_data
from maskrcnn import Config, MaskRCNN
from maskrcnn.evaluation.evaluate import Evaluation, evaluate
from maskrcnn.evaluation.report import format_table, write_report
from maskrcnn.inference.arguments import add_checkpoint, add_colours, add_renamed_options, add_scale, fraction, natural
from maskrcnn.inference.colours import ColourRange, Light, as_shown
from maskrcnn.inference.device import PRECISIONS, best_device
from maskrcnn.inference.estimate import estimate_diameter, some_images
from maskrcnn.inference.export import check_writable
from maskrcnn.inference.image_io import readable
from maskrcnn.inference.objects import equivalent_diameters
from maskrcnn.inference.scale import ShownScale, TrainingScale, choose_scale
from maskrcnn.interrupts import Interrupts, output_may_end
from maskrcnn.weights import load_checkpoint

EPILOG = """--out then contains
  report.html           everything below in one page that opens without a network: how many cells are found and named, the
                        true beside the predicted differential count, tables, pictures, and every failure
  evaluation.txt        the same tables: precision, recall, F1, accuracy, IoU, Dice, panoptic quality, outline offset,
                        calibration, and average precision overall, per class and by area, with 95 % intervals
  evaluation.json       the same for programs; every estimate is [value, low, high], null where there is none:
                          counts: cells, found, correct, wrong, missed, false_positives
                          differential: CLASS: true, true_percent, true_percent_interval, predicted, ...
                          cells: METRIC: class_agnostic, class_mean, CLASS
                          average_precision: mask, box, mask_class_agnostic, mask_CLASS, ...: ap, ap50, ap75, ar
                          confusion, calibration, precision_recall, failure_counts, failures, images_without_a_cell
  evaluation-*.png      curves, confusion matrix, calibration, colours; best, median and worst masks; every kind of failure
Label maps of other programs are compared with true ones by python -m maskrcnn evaluate.

A run folder records how its images were split (--folds, --fold, --seed) and what was segmented (--compartment); evaluate.py
uses the same unless told otherwise. It warns about images that were in the training set, on which results are too good.

examples:
  python evaluate.py --checkpoint runs/LISC --data data/LISC
  python evaluate.py --checkpoint runs/LISC/best.pt --data smears --split all --out report"""
RENAMED = {
    "--weights": "--checkpoint",
    "--min-score": "--score-threshold",
    "--turns": "--tta",
    "--target": "--compartment (whole-cell or nucleus)",
}
# Arguments that are taken from the run of --checkpoint, and their values without one.
OF_THE_RUN = {
    "folds": None, "fold": 0, "seed": 0, "compartment": "whole-cell", "format": None, "mask_kind": None, "classes": None
}  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    """The arguments, completed by those of the run."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add_checkpoint(parser)
    add("--data", required=True, metavar="PATH", help="folder of the images, or synthetic, as for train.py")
    add("--split", choices=("val", "train", "test", "all"), default="val", help="which images (default: %(default)s)")
    add(
        "--folds",
        type=natural,
        metavar="K",
        help="divide all images into K parts; 0: use the data's own split (default: that of the run)",
    )
    add("--fold", type=natural, metavar="k", help="part k is the validation set (default: that of the run)")
    add("--seed", type=natural, help="of the split (default: that of the run)")
    add_data_options(parser, of_a_run=True)
    add(
        "--score-threshold",
        type=fraction,
        default=0.5,
        help="detections with a lower score do not count, except for AP, which counts all (default: %(default)s)",
    )
    add("--tta", action="store_true", help="test-time augmentation: average over all flips and 90-degree rotations")
    add_scale(parser)
    add_colours(parser)
    add("--out", type=Path, default=Path("evaluation"), help="where to write (default: %(default)s)")
    add("--precision", choices=PRECISIONS, default="auto", help="auto: bfloat16 where the hardware supports it")
    add_renamed_options(parser, RENAMED)
    args = parser.parse_args()
    of_run = arguments_of_run(args.checkpoint)
    if args.fold is not None and not (of_run.get("folds") if args.folds is None else args.folds):
        parser.error("argument --fold: needs --folds")
    if args.folds is None and of_run.get("folds"):
        print(f"split as in the run, into {of_run['folds']} parts; --folds 0 uses the data's own split")
    for name, default in OF_THE_RUN.items():
        if getattr(args, name) is None:
            setattr(args, name, of_run.get(name, default))
    return args


def arguments_of_run(checkpoint: str | Path) -> dict[str, Any]:
    """The arguments of the run that a folder or checkpoint belongs to; {} if they are not known."""
    if isinstance(checkpoint, str):  # the name of published weights
        return {}
    config = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "config.json"
    try:
        return dict(json.loads(config.read_text(encoding="utf-8"))["arguments"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def open_splits(args: argparse.Namespace, config: Config) -> Splits:
    """Read the images, as large as train.py does, and split them as the arguments say. Raises DataError."""
    needs_train = args.split == "train"
    root = resolve_data(args.data)
    options = read_options(args, config.class_names, max(MAX_SIDE, OVERSIZE * config.min_size))
    images = open_dataset(root, options, needs_train=needs_train, test=args.split == "test")
    for skipped in images.skipped:
        print(f"left out: {skipped}", file=sys.stderr)
    if args.split in ("all", "test"):
        return all_images(images)
    if args.folds:
        return k_fold(images, args.folds, args.fold, args.seed, needs_train)
    return train_val_split(images, args.seed, needs_train)


def scale_of(
    args: argparse.Namespace,
    model: MaskRCNN,
    dataset: SmearDataset,
    known: TrainingScale | None,
    light: Light,
) -> ShownScale:
    """At which scale the images are shown to the model. Raises ValueError."""

    def estimate(training: TrainingScale) -> float | None:
        reduced = [sample.scale for sample in dataset.samples]
        chosen = some_images([sample.size for sample in dataset.samples], training)
        images = (dataset.samples[i].image.permute(2, 0, 1) for i in chosen)
        bar = functools.partial(tqdm, desc="estimating the size of cells", leave=False, disable=None)
        found = estimate_diameter(model.eval(), images, training, args.precision, light, bar)
        return found and found / statistics.median(reduced)

    return choose_scale(known, args.diameter, args.scale, estimate)


def title_of(args: argparse.Namespace) -> str:
    """What was evaluated on what."""
    return f"{args.checkpoint} on {args.data} ({args.split}{', test-time augmentation' * args.tta})"


def note_of_colours(args: argparse.Namespace, known: ColourRange | None) -> str:
    """What was done to images in other colours than those of training; "" if these are not known."""
    done = "with the white balance of training" if args.colours == "adapt" else "as they are"
    text = f"--colours {args.colours}: images in colours far from those of training were shown to the model {done}"
    return text if known else ""


def warning_of_sizes(
    model: MaskRCNN, result: Evaluation, scales: Sequence[float | None], known: TrainingScale | None
) -> str:
    """What `TrainingScale.warning` says about the cells found. Prints it."""
    diameters = [
        (scale or model.transform.scale_of(objects.size)) * diameter
        for objects, scale in zip(result.predictions, scales, strict=True)
        for diameter in equivalent_diameters(objects)
    ]
    warning = known.warning(diameters) if known else ""
    if warning:
        print(warning, file=sys.stderr)
    return warning


def main() -> int:
    """Returns the exit code."""
    args, interrupts = parse_arguments(), Interrupts()
    try:
        with interrupts, output_may_end():
            run(args)
    except KeyboardInterrupt:
        print("\nstopped; no report was written", flush=True)
        return interrupts.code
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2
    return 0


def run(args: argparse.Namespace) -> None:
    """Evaluate, print the tables and write the report."""
    model, saved = load_checkpoint(args.checkpoint)
    model.to(best_device())
    check_writable(args.out)
    splits = open_splits(args, model.config)
    train_only = args.split == "train"
    dataset = splits.train if train_only else splits.val
    groups = splits.groups[: len(dataset)] if train_only else splits.val_groups
    warning = overlap_warning(fingerprints(dataset), saved.get("trained_on", ()))
    if warning:
        print(warning, file=sys.stderr)
    files = [readable(record.image) for record in dataset.records]
    known = ColourRange.of_checkpoint(saved)
    light = as_shown(known, args.colours)
    training = TrainingScale.of_checkpoint(saved)
    scale = scale_of(args, model, dataset, training, light)
    print(scale.reason)
    scales = [scale.scale and scale.scale / sample.scale for sample in dataset.samples]
    bar = tqdm(dataset, "evaluating", unit="image", disable=None)
    shown = ((light(image)(image), target) for image, target in bar)
    result = evaluate(
        model, shown, args.precision, args.score_threshold, files, args.tta, groups, scales, known=training
    )
    print(format_table(result), flush=True)
    sizes = warning_of_sizes(model, result, scales, training)
    notes = "\n".join(
        filter(None, (warning, sizes, scale.reason, note_of_colours(args, known), dataset_report(splits)))
    )
    print(f"report: {write_report(result, dataset, args.out, title_of(args), notes, known)}")


if __name__ == "__main__":
    sys.exit(main())
