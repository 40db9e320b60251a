"""Train Mask R-CNN on stained blood smears: find, outline and name their white cells."""

import argparse
import math
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from data import check, synthetic
from data.anchor_fit import anchor_fit
from data.augment import Augmentation
from data.dataset import PARTS, SmearDataset
from data.lisc import CLASSES, DataError
from data.loading import Loader
from data.practice import draw_practice
from data.scale import fitting_size
from data.splits import Splits, check_same_images, fingerprints, open_splits, seen_in_training
from maskrcnn import Config, MaskRCNN, run_folder
from maskrcnn.evaluation.evaluate import evaluate, table
from maskrcnn.evaluation.report import write_report
from maskrcnn.evaluation.validate import score, validate
from maskrcnn.learner import Learner
from maskrcnn.precision import PRECISIONS, best_device
from maskrcnn.run_pictures import examples
from maskrcnn.schedule import Schedule
from maskrcnn.settings import parse_settings, share
from maskrcnn.weights import load, load_checkpoint, save_checkpoint, trained_on

DATA = "data/LISC"
ON_RESUMING = ("data", "minutes", "epochs")  # what may change when a run is resumed
EPILOG = """--data is a folder in one of two layouts, told apart by looking:
  LISC as unzipped      Main Dataset/<class>/N.bmp and Ground Truth Segmentation/<class>/areaforexpert1/N_expert.bmp
  the tutorial's        train|val/image|mask/<Class>/<Class>_N.png, any non-zero grey of a mask is the cell
or the word synthetic: a set of artificial smears is drawn into data/synthetic-smears once, and used.

The run folder then holds
  data.txt           what the data are, what was left out, whether the background alone gives the class away
  contact-sheet.png  images with every cell's outline
  anchors.png        sizes of the cells beside those of the anchors, and how well the best anchor overlaps each cell
  config.json        every hyper-parameter of the model and the arguments of this run
  log.jsonl          a line a validation, which comes after every epoch, or every few if it takes long: losses, box and
                     mask AP on the validation images, share of the time spent waiting for images
  curves.png         the same as curves
  predictions.png    ground truth beside prediction, for some validation images
  report.html        how good the best checkpoint is, for which class, how sure that is, where it fails; evaluation.txt,
                     .json and -*.png hold the same (see evaluate.py)
  best.pt, last.pt   checkpoints: of the highest mean of mask AP with and without classes, and of the end. Give the folder
                     to predict.py --weights. Ctrl-C keeps both; --resume goes on

examples:
  python train.py --data synthetic --minutes 10
  python train.py --data data/LISC
  python train.py --data data/LISC --weights maskrcnn_resnet50_fpn_coco.pth --preset torchvision
  python train.py --resume runs/LISC"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data(parser.add_argument_group("data"))
    add_run(parser.add_argument_group("run"))
    add_training(parser.add_argument_group("training"))
    add_model(parser.add_argument_group("model"))
    args = parser.parse_args()
    given = [
        name
        for name in vars(args)
        if name not in ("resume", *ON_RESUMING) and getattr(args, name) != parser.get_default(name)
    ]
    args.changes = {name: value for name in ON_RESUMING if (value := getattr(args, name)) != parser.get_default(name)}
    if args.resume and given:
        parser.error(
            f"argument --{given[0]}: a resumed run goes on with its own; --data may be given, if the data moved, and "
            "--minutes or --epochs, to make it longer"
        )
    for name in ("epochs", "minutes", "batch", "rate"):
        if getattr(args, name) is not None and not 0 < getattr(args, name) < math.inf:
            parser.error(f"argument --{name}: must be above 0, got {getattr(args, name)}")
    if args.practice is None:
        args.practice = 0.0 if args.weights or args.data == "synthetic" else 0.35
    for name, allowed in (("practice", args.practice < 1), ("average", args.average < 1), ("decay", args.decay > 0)):
        if not allowed:
            parser.error(
                f"argument --{name}: must be {'above 0' if name == 'decay' else 'below 1'}, got {getattr(args, name)}"
            )
    if args.seed < 0:
        parser.error(f"argument --seed: must be 0 or more, got {args.seed}")
    if args.fold and args.folds is None:
        parser.error("argument --fold: says which part of --folds")
    try:
        settings(args)
    except ValueError as error:
        parser.error(str(error))
    return args


def add_data(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--data", default=DATA, metavar="PATH", help="folder of the images, or synthetic (default: %(default)s)")
    add("--target", choices=PARTS, default="cell", help="outline whole cells, or their nuclei (default: %(default)s)")
    add("--folds", type=int, metavar="K", help="cross-validation: divide all images into K parts")
    add("--fold", type=int, default=0, metavar="k", help="validate on part k, from 0 on (default: %(default)s)")
    add("--strict", action="store_true", help="stop if any file of the data cannot be used, rather than leave it out")


def add_run(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--out", type=Path, metavar="RUN", help="run folder (default: runs/ and the name of the data, numbered)")
    add("--resume", type=Path, metavar="RUN", help="go on with an interrupted run, with its own arguments (--data "
        "may say where the data are now, --minutes or --epochs make it longer)")  # fmt: skip
    add("--precision", choices=PRECISIONS, default="auto", help="auto: bfloat16 where the hardware has it")
    add("--seed", type=int, default=0, help="of weights, order and augmentation (default: %(default)s)")


def add_training(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--epochs", type=int, default=40, help="times that as many images are drawn as there are to train on; practice "
        "comes on top (default: %(default)s)")  # fmt: skip
    add("--minutes", type=float, help="train for this long instead; the learning rate falls with the time left")
    add("--batch", type=int, default=2, help="images a step (default: %(default)s)")
    add("--rate", type=float, default=3e-4, help="peak learning rate of AdamW (default: %(default)s)")
    add("--decay", type=share, default=0.5, metavar="SHARE", help="the last share of the run, over which the rate falls and "
        "the data's own images have no cells pasted in (default: %(default)s)")  # fmt: skip
    add("--average", type=share, default=0.998, metavar="B", help="validate and keep the exponential moving average of the "
        "weights with this decay a step, such as 0.998; 0: the weights themselves (default: %(default)s)")  # fmt: skip
    add("--practice", type=share, metavar="SHARE", help="pre-training: the first share of the run learns from synthetic "
        "smears, crowded with cells of all classes, at the data's scale (default: 0.35; 0 with synthetic data or "
        "--weights)")  # fmt: skip
    add("--balance", type=share, default=0.5, metavar="SHARE", help="0: every image once an epoch; above it they are drawn "
        "with replacement, those of rare classes more often; 1: every class as often (default: %(default)s)")  # fmt: skip
    add("--augment", choices=("all", "turns"), default="all", help="changes of training images: zoom, stain, light, "
        "focus, copy-paste of cells, flips and quarter turns; or the last two alone (default: %(default)s)")  # fmt: skip


def add_model(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--weights", metavar="FILE", help="start from a published or an own checkpoint; what does not fit stays random")
    add("--preset", choices=("lisc", "torchvision"), default="lisc", help="lisc: small images, GroupNorm, from random "
        "weights; torchvision: 800 pixels, frozen BatchNorm, for published weights (default: %(default)s)")  # fmt: skip
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="another value of a field of the model's Config or "
        "of the data's Augmentation, such as roi_batch=64 or stain=0")  # fmt: skip


def open_data(args: argparse.Namespace) -> Splits:
    """Read and check every image before anything long starts. Raises DataError."""
    root = synthetic.folder_of(args.data)
    splits = open_splits(root, args.folds, args.fold, args.seed, args.strict, args.target)
    for skipped in splits.skipped:
        print(f"left out: {skipped}", file=sys.stderr)
    if splits.straddling:
        print(f"warning: {len(splits.straddling)} validation images show a field of the training set", file=sys.stderr)
    print(f"{root}: {len(splits.train)} training images, {len(splits.val)} validation images")
    return splits


def settings(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """What --set says about the model, and about the augmentation. Raises ValueError as `parse_settings` does."""
    of_model, of_augmentation = parse_settings(args.set, Config(), Augmentation())
    if of_augmentation and args.augment == "turns":
        raise ValueError(f"--set {next(iter(of_augmentation))} means nothing with --augment turns")
    if "class_names" in of_model:
        raise ValueError("--set class_names: the classes are those of the data, which are these five")
    return of_model, of_augmentation


def open_model(args: argparse.Namespace, dataset: SmearDataset) -> MaskRCNN:
    """A new model, from random weights or from those of --weights. Raises ValueError if they cannot be read."""
    changes, _ = settings(args)
    size = changes.get("min_size", fitting_size(dataset))
    preset = Config.lisc(min_size=size, max_size=2 * size) if args.preset == "lisc" else Config.torchvision()
    config = Config.from_dict({**preset.to_dict(), "class_names": CLASSES, **changes})
    if config.norm == "frozen_batchnorm" and not args.weights:
        raise ValueError("frozen BatchNorm does not learn: give --weights with its statistics, or take the preset lisc")
    model = MaskRCNN(config)
    if args.weights:
        print(f"{args.weights}: {load(model, args.weights)}")
    return model


def start(args: argparse.Namespace) -> tuple[Splits, MaskRCNN, dict[str, Any]]:
    """The data, the model, new or resumed, and what else a resumed run has saved. Completes args. Raises ValueError."""
    if args.resume:
        model, saved = load_checkpoint(args.resume / "last.pt")
        if not {"arguments", "validated_on"} <= saved.keys():
            raise ValueError(f"{args.resume / 'last.pt'}: not from a run of this version, which cannot be resumed; start "
                             f"another with --weights {args.resume}")  # fmt: skip
        saved["arguments"] |= args.changes
        vars(args).update(saved["arguments"], out=args.resume)
        torch.manual_seed(args.seed)
        splits = open_data(args)
        check_same_images(splits, saved["trained_on"], saved["validated_on"])
        return splits, model.to(best_device()), saved
    args.out = run_folder.choose(args.out, args.data)
    run_folder.writable(args.out)
    splits = open_data(args)
    torch.manual_seed(args.seed)
    model = open_model(args, splits.train)
    arguments = {name: value for name, value in vars(args).items() if name not in ("out", "resume", "changes")}
    seen = fingerprints(splits.train) + (trained_on(args.weights) if args.weights else [])
    kept = {"trained_on": seen, "validated_on": fingerprints(splits.val)}
    if warning := seen_in_training(kept["validated_on"], seen):
        print(warning, file=sys.stderr)
    return splits, model.to(best_device()), {"arguments": arguments, "history": [], **kept}


def open_loader(args: argparse.Namespace, model: MaskRCNN, dataset: SmearDataset, balance: float = 0.0) -> Loader:
    """Batches for training, at the size that the model sees."""
    augmentation = Augmentation(**settings(args)[1]) if args.augment == "all" else None
    sizes = [model.transform.resized((sample.image.shape[0], sample.image.shape[1])) for sample in dataset.samples]
    return Loader(dataset, args.batch, best_device(), augmentation, sizes, balance=balance)


def validate_now(learner: Learner, val_set: SmearDataset, precision: str) -> dict[str, Any]:
    """Losses and average precision on the validation images, with a bar; the schedule learns how long it takes."""
    begun = time.monotonic()
    bar = tqdm(val_set, "validating", leave=False)
    measured = validate(learner.best_guess, bar, precision)
    learner.schedule.validation_seconds = time.monotonic() - begun
    return measured


def introduce(args: argparse.Namespace, model: MaskRCNN, splits: Splits) -> None:
    """Say what is trained on what, and write into the run folder what the data are and how the anchors fit them."""
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"training {millions:.1f} million parameters on {best_device()}; the run is in {args.out}")
    print(check.write(splits, args.out))
    anchor_fit(model, splits.train).savefig(args.out / "anchors.png", dpi=100)


def open_phases(
    args: argparse.Namespace, model: MaskRCNN, dataset: SmearDataset, schedule: Schedule
) -> list[tuple[Loader, float]]:
    """What to learn from, and to which fraction of the run: synthetic smears, the data's own, the same with no cells pasted
    in: they teach the names of rare classes at the cost of outlines (docs/recipe.md). Practice that is over is left out."""
    loader = open_loader(args, model, dataset, args.balance)
    phases = [(loader, schedule.falls_from), (loader.without_copies(), 1.0)]
    if schedule.fraction < args.practice:
        practice = draw_practice(dataset, seed=args.seed, part=args.target)
        phases.insert(0, (open_loader(args, model, practice), args.practice))
    return phases


def train_some_epochs(args: argparse.Namespace, learner: Learner, phases: list[tuple[Loader, float]]) -> dict[str, Any]:
    """Some epochs of the phase that the run is in, as many as validating is worth then. Returns what is logged of them."""
    schedule, done = learner.schedule, learner.schedule.fraction  # read once: it may be the clock's
    batches, until = next((phase for phase in phases if done < phase[1]), phases[-1])
    practising = done < args.practice
    begun, batches.waited = schedule.seconds, 0.0
    epochs = schedule.epochs_until_validation(len(batches), until)
    stop = args.practice if practising else 1.0  # practice has no epochs worth ending
    losses = learner.train(batches.epochs(epochs), epochs * len(batches), args.precision, stop)
    return {
        "epochs": epochs,
        "practice": practising,
        "pasting": batches.pastes,
        "train": losses,
        "step": schedule.step,
        "waiting": batches.waited / (schedule.seconds - begun),
    }


def train(args: argparse.Namespace) -> int:
    """Returns the exit code."""
    splits, model, saved = start(args)
    steps = round(args.epochs * math.ceil(len(splits.train) / args.batch) / (1 - args.practice))
    schedule = Schedule(steps, args.minutes, args.rate, args.decay)
    learner = Learner.of(model, schedule, args.average)
    if args.resume:
        learner.resume(saved)
    history: list[dict[str, Any]] = saved["history"]
    run_folder.write_config(args.out, saved["arguments"], model)
    introduce(args, model, splits)
    phases = open_phases(args, model, splits.train, schedule)

    def save(name: str, **extra: Any) -> None:
        kept = {"history": history, "trained_on": saved["trained_on"], "validated_on": saved["validated_on"], **extra}
        save_checkpoint(args.out / name, learner.best_guess, **kept)

    try:
        while not schedule.is_over(len(phases[-1][0])):
            line = train_some_epochs(args, learner, phases)
            line["epoch"] = line.pop("epochs") + (history[-1]["epoch"] if history else 0)
            line |= validate_now(learner, splits.val, args.precision)
            is_best = all(score(line) > score(earlier) for earlier in history)
            longer = [*history, {**line, "minutes": schedule.seconds / 60}]
            if is_best:  # first, so that a last.pt never speaks of a best.pt that is not there
                save("best.pt", history=longer)
            history = longer
            save("last.pt", arguments=saved["arguments"], **learner.state())
            print(run_folder.log_epoch(args.out, history), flush=True)  # at once, into a pipe too
    except KeyboardInterrupt:
        save("last.pt", arguments=saved["arguments"], **learner.state())
        print(f"\nstopped; go on with: python train.py --resume {shlex.quote(str(args.out))}")
        return 130
    if not history:
        again = f": --resume {shlex.quote(str(args.out))} --minutes ..." if args.resume else ""
        raise ValueError(f"--minutes {args.minutes:g} were over before the first validation; give the run more{again}")
    finish(args, splits, history)
    return 0


def about_result(history: list[dict[str, Any]], best: dict[str, Any]) -> str:
    """What whoever reads the figures of the best checkpoint has to know of them."""
    last, kept = history[-1], best["history"][-1]
    picked = (
        f"the checkpoint is that of epoch {kept['epoch']} of {last['epoch']}, the best of {len(history)} validations on "
        f"these very images, {last['minutes']:.1f} minutes in all; the last, picked by nothing, had a mask AP of "
        f"{last['mask']['ap']:.3f}"
    )
    return "\n".join(filter(None, (seen_in_training(best["validated_on"], best["trained_on"]), picked)))


def finish(args: argparse.Namespace, splits: Splits, history: list[dict[str, Any]]) -> None:
    """Evaluate the best checkpoint, draw what it finds, write the report and say the run's result."""
    model, saved = load_checkpoint(args.out / "best.pt")
    model.to(best_device())
    picture = args.out / "predictions.png"
    examples(model, splits.val, args.precision).savefig(picture, dpi=100)
    files = [str(field.image) for field in splits.val.fields]
    bar = tqdm(splits.val, "evaluating", leave=False)
    result = evaluate(model, bar, args.precision, files=files, groups=splits.val_groups)
    about = about_result(history, saved)
    notes = f"{about}\n\n{(args.out / 'data.txt').read_text(encoding='utf-8')}"
    report = write_report(result, splits.val, args.out, f"{args.out}: {args.data}", notes)
    print(f"{table(result)}\n{about}")
    mask = result.ap["mask"]
    print(
        f"mask AP {mask.ap:.3f}, mask AP50 {mask.ap50:.3f} on {len(splits.val)} validation images; the report: {report}"
    )
    print(f"predictions beside ground truth: {picture}")


def main() -> int:
    """Every problem with the data or the arguments is said in one message before training starts."""
    args = parse_arguments()
    try:
        return train(args)
    except (DataError, ValueError, FloatingPointError, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
    except (RuntimeError, MemoryError) as error:  # memory or disk are full, or a process that loads images was killed
        print(f"train.py: {error}", file=sys.stderr)
        if args.out and (args.out / "last.pt").exists():
            print(f"what was learnt until then is kept; go on with: python train.py --resume {shlex.quote(str(args.out))}",
                  file=sys.stderr)  # fmt: skip
    return 2


if __name__ == "__main__":
    sys.exit(main())
