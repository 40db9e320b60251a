"""Train Mask R-CNN on stained blood smears: find, outline and name their white cells."""

import argparse
import ast
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from data import check, synthetic
from data.augment import Augmentation
from data.dataset import PARTS, SmearDataset
from data.lisc import CLASSES, DataError
from data.loading import Loader
from data.splits import Splits, open_splits
from maskrcnn import Config, MaskRCNN
from maskrcnn.averaging import moving_average
from maskrcnn.evaluation.evaluate import evaluate, table
from maskrcnn.evaluation.report import write_report
from maskrcnn.evaluation.validate import MEASURES, validate
from maskrcnn.precision import PRECISIONS, autocast, best_device
from maskrcnn.schedule import Schedule
from maskrcnn.visualize import curves, examples
from maskrcnn.weights import load, load_checkpoint, save_checkpoint

SYNTHETIC = Path("data/synthetic-smears")
EPILOG = """--data is a folder in one of two layouts, told apart by looking:
  LISC as unzipped      Main Dataset/<class>/N.bmp and Ground Truth Segmentation/<class>/areaforexpert1/N_expert.bmp
  the tutorial's        train|val/image|mask/<Class>/<Class>_N.png, any non-zero grey of a mask is the cell
or the word synthetic: a set of artificial smears is drawn into data/synthetic-smears once, and used.

The run folder then holds
  data.txt           what the data are, what was left out, whether the background alone gives the class away
  contact-sheet.png  images with every cell's outline
  config.json        every hyper-parameter of the model and the arguments of this run
  log.jsonl          a line an epoch: losses, box and mask AP on the validation images, share of the time spent waiting
                     for images
  curves.png         the same as curves
  predictions.png    ground truth beside prediction, for some validation images
  report.html        how good the best checkpoint is, for which class, how sure that is, where it fails; evaluation.txt,
                     .json and -*.png hold the same (see evaluate.py)
  best.pt, last.pt   checkpoints; give the folder to predict.py --weights. Ctrl-C keeps both; --resume goes on

examples:
  python train.py --data synthetic --minutes 10
  python train.py --data data/LISC
  python train.py --data data/LISC --weights maskrcnn_resnet50_fpn_coco.pth --preset torchvision
  python train.py --resume runs/LISC"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", default="data/LISC", metavar="PATH", help="folder of the images, or synthetic (default: %(default)s)")
    add("--out", type=Path, metavar="RUN", help="run folder (default: runs/ and the name of the data, numbered)")
    add("--epochs", type=int, default=40, help="passes over the training images (default: %(default)s)")
    add("--minutes", type=float, help="train for this long instead; the learning rate falls with the time left")
    add("--batch", type=int, default=2, help="images a step (default: %(default)s)")
    add("--rate", type=float, default=3e-4, help="peak learning rate of AdamW (default: %(default)s)")
    add("--decay", type=float, default=1.0, help="the last share of the run, over which the rate falls (default: %(default)s)")
    add("--average", type=float, default=0.0, metavar="B", help="validate and keep the exponential moving average of the "
        "weights with this decay a step, such as 0.998; 0: the weights themselves (default: %(default)s)")  # fmt: skip
    add("--balance", type=float, default=0.0, help="0: every image once an epoch; 1: every class as often; between them, in "
        "between (default: %(default)s)")  # fmt: skip
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="another value of a field of the model's Config")
    add("--weights", metavar="FILE", help="start from a published or an own checkpoint; what does not fit stays random")
    add("--preset", choices=("lisc", "torchvision"), default="lisc", help="lisc: small images, GroupNorm, from random "
        "weights; torchvision: 800 pixels, frozen BatchNorm, for published weights (default: %(default)s)")  # fmt: skip
    add("--resume", type=Path, metavar="RUN", help="go on with an interrupted run, with its own arguments")
    add("--augment", choices=("all", "turns"), default="all", help="changes of training images: zoom, stain, light, focus, "
        "cells of other fields, flips and quarter turns; or the last two alone (default: %(default)s)")  # fmt: skip
    add("--target", choices=PARTS, default="cell", help="outline whole cells, or their nuclei (default: %(default)s)")
    add("--folds", type=int, metavar="K", help="cross-validation: divide all images into K parts")
    add("--fold", type=int, default=0, metavar="k", help="validate on part k, from 0 on (default: %(default)s)")
    add("--strict", action="store_true", help="stop if any file of the data cannot be used, rather than leave it out")
    add("--precision", choices=PRECISIONS, default="auto", help="auto: bfloat16 where the hardware has it")
    add("--seed", type=int, default=0, help="of weights, order and augmentation (default: %(default)s)")
    args = parser.parse_args()
    for name in ("epochs", "minutes", "batch", "rate"):
        if getattr(args, name) is not None and not 0 < getattr(args, name) < math.inf:
            parser.error(f"argument --{name}: must be above 0, got {getattr(args, name)}")
    return args


def open_data(args: argparse.Namespace) -> Splits:
    """Read and check every image before anything long starts. Raises DataError."""
    root = synthetic.embedded(SYNTHETIC) if args.data == "synthetic" else Path(args.data)
    splits = open_splits(root, args.folds, args.fold, args.seed, args.strict, args.target)
    for skipped in splits.skipped:
        print(f"left out: {skipped}", file=sys.stderr)
    if splits.straddling:
        print(f"warning: {len(splits.straddling)} validation images show a field of the training set", file=sys.stderr)
    print(f"{root}: {len(splits.train)} training images, {len(splits.val)} validation images")
    return splits


def parse_setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as Python writes it; what is not Python is a text. Raises ValueError without an =."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text}: write NAME=VALUE, such as --set roi_batch=64")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def open_model(args: argparse.Namespace) -> MaskRCNN:
    """A new model, from random weights or from those of --weights. Raises ValueError if they cannot be read."""
    preset = Config.lisc() if args.preset == "lisc" else Config.torchvision()
    changes = dict(parse_setting(setting) for setting in args.set)
    model = MaskRCNN(Config.from_dict({**preset.to_dict(), "class_names": CLASSES, **changes}))
    if args.weights:
        print(f"{args.weights}: {load(model, args.weights)}")
    return model


def train_epoch(
    model: MaskRCNN, averaged: AveragedModel | None, optimizer: torch.optim.Optimizer, loader: Loader,
    args: argparse.Namespace, run: Schedule,
) -> dict[str, float]:
    """Returns the mean of each loss. Raises FloatingPointError if the loss is no longer a number."""
    model.train()
    sums: dict[str, float] = {}
    bar = tqdm(loader, leave=False)
    for count, (images, targets) in enumerate(bar, start=1):
        for group in optimizer.param_groups:
            group["lr"] = run.rate
        with autocast(loader.device, args.precision):
            losses = model(images, targets)
        total = torch.stack(list(losses.values())).sum()
        if not math.isfinite(total.item()):
            raise FloatingPointError(f"the loss is {total.item()} at step {run.step}; try a lower --rate")
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=5.0)
        optimizer.step()
        run.step += 1
        if averaged:
            averaged.update_parameters(model)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        bar.set_postfix_str(f"loss {sum(sums.values()) / count:.3f}, rate {optimizer.param_groups[0]['lr']:.1e}, "
                            f"{tqdm.format_interval(run.seconds_left)} left")  # fmt: skip
        if run.fraction >= 1:
            break
    bar.close()
    return {name: value / count for name, value in sums.items()}


def log_epoch(folder: Path, history: list[dict[str, Any]]) -> None:
    """Append the last line of history to log.jsonl, redraw the curves, and say the figures that matter."""
    line = history[-1]
    with open(folder / "log.jsonl", "a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    curves(history).savefig(folder / "curves.png", dpi=100)
    train_loss, val_loss = sum(line["train"].values()), sum(line["val"].values())
    measured = [f"{title} AP {line[kind]['ap']:.3f} AP50 {line[kind]['ap50']:.3f}" for kind, title in MEASURES.items()]
    measured.append(f"waited for images {line['waiting']:.1%}")
    print(f"epoch {line['epoch']:3d}  {line['minutes']:5.1f} min  loss {train_loss:.3f} (validation {val_loss:.3f})  "
          + "  ".join(measured), flush=True)  # at once, into a pipe too  # fmt: skip


def run_folder(args: argparse.Namespace) -> Path:
    """--out, or the first of runs/NAME, runs/NAME-2, ... that does not exist. Raises ValueError before overwriting."""
    if args.out:
        if (args.out / "log.jsonl").exists():
            raise ValueError(f"{args.out} holds a run already; choose another --out, or go on with --resume {args.out}")
        return args.out
    name, number = Path("runs") / Path(args.data).resolve().name, 1
    folder = name
    while folder.exists():
        number += 1
        folder = name.with_name(f"{name.name}-{number}")
    return folder


def start(args: argparse.Namespace) -> tuple[MaskRCNN, dict[str, Any]]:
    """The model, new or resumed, and what else a resumed run has saved. Completes args. Raises ValueError."""
    saved: dict[str, Any] = {}
    if args.resume:
        model, saved = load_checkpoint(args.resume / "last.pt")
        vars(args).update(saved["arguments"], out=args.resume)
    else:
        model = open_model(args)
        args.out = run_folder(args)
        saved["arguments"] = {name: value for name, value in vars(args).items() if name not in ("out", "resume")}
    return model.to(best_device()), saved


def open_loader(args: argparse.Namespace, model: MaskRCNN, dataset: SmearDataset) -> Loader:
    """Batches for training, at the size that the model sees."""
    augmentation = Augmentation() if args.augment == "all" else None
    sizes = [model.transform.resized((sample.image.shape[0], sample.image.shape[1])) for sample in dataset.samples]
    return Loader(dataset, args.batch, best_device(), augmentation, sizes, balance=args.balance)


def validate_epoch(model: MaskRCNN, val_set: SmearDataset, args: argparse.Namespace, run: Schedule) -> dict[str, Any]:
    """Losses and average precision on the validation images, with a bar; run learns how long it takes."""
    begun = time.monotonic()
    bar = tqdm((val_set[i] for i in range(len(val_set))), "validating", len(val_set), leave=False)
    measured = validate(model, bar, args.precision)
    run.validation_seconds = time.monotonic() - begun
    return measured


def train(args: argparse.Namespace) -> int:
    """Returns the exit code."""
    torch.manual_seed(args.seed)
    model, saved = start(args)
    splits = open_data(args)
    loader = open_loader(args, model, splits.train)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=args.rate, weight_decay=0.05, fused=True)
    averaged = moving_average(model, args.average) if args.average else None
    kept = averaged.module if averaged else model
    write_config(args.out, saved["arguments"], model)
    print(check.write(splits, args.out))
    run = Schedule(args.epochs * len(loader), args.minutes, args.rate, args.decay)
    if args.resume:
        optimizer.load_state_dict(saved["optimizer"])
        if averaged:
            averaged.load_state_dict(saved["averaged"])
        run.step, run.earlier_seconds = saved["step"], saved["seconds"]
    history: list[dict[str, Any]] = saved.get("history", [])

    def save_last() -> None:
        state = {"optimizer": optimizer.state_dict(), "step": run.step, "seconds": run.seconds}
        if averaged:
            state["averaged"] = averaged.state_dict()
        save_checkpoint(args.out / "last.pt", model, arguments=saved["arguments"], history=history, **state)

    try:
        while run.fraction < 1:
            begun, loader.waited = run.seconds, 0.0
            losses = train_epoch(model, averaged, optimizer, loader, args, run)
            line: dict[str, Any] = {"epoch": len(history) + 1, "step": run.step, "train": losses,
                    "waiting": loader.waited / (run.seconds - begun)}  # fmt: skip
            line |= validate_epoch(kept, splits.val, args, run)
            is_best = all(line["mask"]["ap"] > earlier["mask"]["ap"] for earlier in history)
            history.append({**line, "minutes": run.seconds / 60})
            log_epoch(args.out, history)
            save_last()
            if is_best:
                save_checkpoint(args.out / "best.pt", kept, history=history)
    except KeyboardInterrupt:
        save_last()
        print(f"\nstopped; go on with: python train.py --resume {args.out}")
        return 130
    finish(args, splits, history)
    return 0


def write_config(folder: Path, arguments: dict[str, Any], model: MaskRCNN) -> None:
    """Make the run folder, and in it config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    description = json.dumps({"arguments": arguments, "model": model.config.to_dict()}, indent=2)
    (folder / "config.json").write_text(description + "\n", encoding="utf-8")
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"training {parameters:.1f} million parameters on {best_device()}; the run is in {folder}")


def finish(args: argparse.Namespace, splits: Splits, history: list[dict[str, Any]]) -> None:
    """Evaluate the best checkpoint, draw what it finds, write the report and say the run's result."""
    model, saved = load_checkpoint(args.out / "best.pt")
    model.to(best_device())
    picture = args.out / "predictions.png"
    examples(model, splits.val, args.precision).savefig(picture, dpi=100)
    samples = [splits.val[i] for i in range(len(splits.val))]
    result = evaluate(model, tqdm(samples, "evaluating", leave=False), args.precision)
    notes = (args.out / "data.txt").read_text(encoding="utf-8")
    report = write_report(result, samples, args.out, f"{args.out}: {args.data}", notes)
    print(table(result))
    print(f"best epoch: {saved['history'][-1]['epoch']} of {len(history)}, {history[-1]['minutes']:.1f} minutes in all")
    mask = result.ap["mask"]
    print(f"mask AP {mask.ap:.3f}, mask AP50 {mask.ap50:.3f} on {len(samples)} validation images; the report: {report}")
    print(f"predictions beside ground truth: {picture}")


def main() -> int:
    """Every problem with the data or the arguments is said in one message before training starts."""
    try:
        return train(parse_arguments())
    except (DataError, ValueError, FloatingPointError, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
