"""The command line of train.py."""

import argparse
from collections.abc import Callable
from pathlib import Path

from maskrcnn import __version__
from maskrcnn.inference.arguments import (
    add_renamed_options,
    fraction,
    fraction_below_one,
    natural,
    positive,
    positive_fraction,
    positive_int,
)
from maskrcnn.inference.device import PRECISIONS
from maskrcnn.presets import PAPER_PRESETS
from maskrcnn.training.schedule import FROZEN_STAGES, parse_schedule

DATA = "data/LISC"
PRETRAIN_FRACTION = 0.35
CHANGEABLE = (
    "data",
    "minutes",
    "epochs",
    "steps",
    "save_every",
    "skip_nonfinite",
)  # what may change when a run is resumed
RENAMED = {
    "--rate": "--lr",
    "--decay": "--lr-decay-fraction",
    "--average": "--ema-decay",
    "--practice": "--pretrain-fraction",
    "--balance": "--class-balance",
    "--batch": "--batch-size",
    "--set": "--override",
    "--target": "--compartment (whole-cell or nucleus)",
}
EPILOG = """--data is a folder in one of the formats of --format, which is recognised by looking, or the word synthetic: a
set of synthetic smears is written to data/synthetic-smears once, and used. `python -m data check PATH` says how a folder is
read.

The run folder then contains
  data.txt           what the data are, what was left out, whether the background alone gives the class away
  contact-sheet.png  images with the outline of every cell
  anchors.png        sizes of the cells and of the anchors, and the IoU of each cell with its best anchor
  config.json        every hyper-parameter of the model and the arguments of this run
  log.jsonl          a line per validation: losses, box and mask AP on the validation images, time spent waiting for images
  curves.png         log.jsonl as plots
  predictions.png    ground truth beside predictions for some validation images
  report.html        the evaluation of the best checkpoint: per class, with confidence intervals, with every failure;
                     evaluation.txt, .json and -*.png: the same as text, JSON and figures (see evaluate.py)
  best.pt, last.pt   checkpoints: of the highest mean of class-agnostic and per-class mask AP, and the latest one.
                     Whatever ends the run, --resume continues it exactly; previous.pt: last.pt before it was replaced

examples:
  python train.py --data synthetic --minutes 10
  python train.py --data data/LISC
  python train.py --data data/LISC --weights coco --schedule heads:10,3+:30
  python train.py --data data/LISC --weights maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth --preset torchvision
  python train.py --resume runs/LISC"""


def parse_arguments(
    description: str, add_data_options: Callable[[argparse._ArgumentGroup], None]
) -> argparse.Namespace:
    """The arguments, and beside them `changes`: those of CHANGEABLE that were given. add_data_options: adds the options that
    data/ knows."""
    parser = argparse.ArgumentParser(
        description=description, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"maskrcnn {__version__}")
    data = parser.add_argument_group("data")
    _add_data(data)
    add_data_options(data)
    _add_run(parser.add_argument_group("run"))
    _add_training(parser.add_argument_group("training"))
    _add_recipe(parser.add_argument_group("recipe (docs/recipe.md says what each part gives)"))
    _add_model(parser.add_argument_group("model"))
    add_renamed_options(parser, RENAMED)
    defaults = vars(parser.parse_args([]))
    unset = argparse.Namespace(**dict.fromkeys(defaults))
    given = {name: value for name, value in vars(parser.parse_args(namespace=unset)).items() if value is not None}
    args = argparse.Namespace(**{**defaults, **given})
    args.changes = {name: given[name] for name in CHANGEABLE if name in given}
    fixed = given.keys() - {"resume", *CHANGEABLE}
    if args.resume and fixed:
        parser.error(
            f"argument --{min(fixed).replace('_', '-')}: a resumed run keeps its arguments; --data may be given, if the "
            "data moved, and --minutes or --epochs, to make it longer"
        )
    if args.folds == 1:
        parser.error("argument --folds: must be 2 or more")
    if args.fold and args.fold >= (args.folds or 0):
        parser.error(f"argument --fold: must be below --folds, which is {args.folds or 'not given'}")
    if args.schedule and not args.resume:
        if {"epochs", "minutes"} & given.keys():
            parser.error("argument --schedule: says the epochs itself; leave out --epochs and --minutes")
        args.epochs = round(sum(epochs for _, epochs in parse_schedule(args.schedule)))
    if args.pretrain_fraction is None and (args.weights or args.data == "synthetic"):
        args.pretrain_fraction = 0.0  # else it depends on the classes of the data
    return args


def _schedule(text: str) -> str:
    """As it is, if it can be read."""
    try:
        parse_schedule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _add_data(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--data", default=DATA, metavar="PATH", help="folder of the images, or synthetic (default: %(default)s)")
    add("--folds", type=positive_int, metavar="K", help="cross-validation: divide all images into K parts")
    add("--fold", type=natural, default=0, metavar="k", help="validate on part k, from 0 on (default: %(default)s)")


def _add_run(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--out", type=Path, metavar="RUN", help="run folder (default: runs/ and the name of the data, numbered)")
    add(
        "--resume",
        type=Path,
        metavar="RUN",
        help="continue an interrupted run with its own arguments (--data may say where the data are now, --minutes or "
        "--epochs make it longer)",
    )
    add(
        "--save-every",
        type=positive,
        default=5.0,
        metavar="MINUTES",
        help="write last.pt so often, beside each validation (default: %(default)g)",
    )
    add(
        "--skip-nonfinite",
        action="store_true",
        help="leave out a step whose loss is infinite or not a number, instead of ending the run",
    )
    add("--precision", choices=PRECISIONS, default="auto", help="auto: bfloat16 where the hardware supports it")
    add(
        "--seed",
        type=natural,
        default=0,
        help="of the weights, the order, augmentation and the split (default: %(default)s)",
    )


def _add_training(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--epochs",
        type=positive_int,
        default=40,
        help="an epoch samples as many images as the training set has; pre-training comes on top (default: %(default)s)",
    )
    add("--minutes", type=positive, help="train for this long instead of --epochs")
    add("--steps", type=positive_int, help="train for so many steps instead, pre-training included")
    add("--batch-size", type=positive_int, default=2, help="images per step (default: %(default)s)")
    add("--lr", type=positive, default=3e-4, help="peak learning rate of AdamW (default: %(default)s)")
    add(
        "--head-lr-factor",
        type=positive,
        default=2.0,
        metavar="FACTOR",
        help="the RPN and the heads learn at this multiple of --lr (default: %(default)s)",
    )
    add(
        "--lr-decay-fraction",
        type=positive_fraction,
        default=0.3,
        metavar="FRACTION",
        help="the last fraction of the run, over which the learning rate decays to 0, no cells are pasted, images are "
        "whole and in their own colours (default: %(default)s)",
    )


def _add_recipe(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--ema-decay",
        type=fraction_below_one,
        default=0.998,
        metavar="DECAY",
        help="validate and save the exponential moving average of the weights with this decay per step; 0: no average "
        "(default: %(default)s)",
    )
    add(
        "--pretrain-fraction",
        type=fraction_below_one,
        metavar="FRACTION",
        help="the first fraction of the run trains on crowded synthetic smears at the scale of the data (default: "
        f"{PRETRAIN_FRACTION}; 0 with synthetic data, with --weights, and for classes that are none of LISC's five)",
    )
    add(
        "--class-balance",
        type=fraction,
        default=0.5,
        metavar="EXPONENT",
        help="0: every image once per epoch; above 0 images are sampled with replacement, rare classes more often; 1: "
        "all classes equally often (default: %(default)s)",
    )
    add(
        "--augment",
        choices=("full", "flips"),
        default="full",
        help="full: zoom, crops, stain, light, focus, copy-paste of cells, flips and quarter turns, in pre-training also "
        "colours of other laboratories; flips: only flips and quarter turns (default: %(default)s)",
    )


def _add_model(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--weights",
        metavar="imagenet|coco|FILE|RUN",
        help="start from published weights (torchvision's ResNet trained on ImageNet, or its Mask R-CNN trained on COCO: "
        "coco, coco_v2), which are fetched once, or from a checkpoint of yours; layers that do not fit stay random",
    )
    add(
        "--preset",
        choices=("lisc", "small", "torchvision", "torchvision_v2", *PAPER_PRESETS),
        help="lisc: ResNet-50, small images, GroupNorm, random weights; small: ResNet-18, half of the RoIs, boxes and masks "
        "shared by all classes, over 1.5 times as fast; torchvision: 800 pixels, frozen BatchNorm, for published weights; "
        "torchvision_v2: for --weights coco_v2; R50-C4 and the others: the paper's models, for --weights imagenet (default: "
        "lisc; with --weights of a detector the config of that one)",
    )
    learn = group.add_mutually_exclusive_group()
    learn.add_argument(
        "--trainable",
        choices=tuple(FROZEN_STAGES),
        help="what learns: heads: the FPN, the RPN and the heads; 5+, 4+, 3+: the ResNet from that stage on, too; all "
        "(default: all with random weights, 3+ with --preset torchvision)",
    )
    learn.add_argument(
        "--schedule",
        type=_schedule,
        metavar="PART:EPOCHS,...",
        help="the same in turn, instead of --epochs, so that new heads settle before the ResNet moves: heads:20,all:40 are "
        "20 epochs and then 40",
    )
    add(
        "--override",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another value for a field of the model's Config or of the Augmentation, such as "
        "box_batch_size_per_image=64 or stain=0",
    )
