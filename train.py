"""Train Mask R-CNN on stained blood smears: detect, segment and classify their white blood cells."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports, which take seconds, prints no traceback

import argparse
import dataclasses
import math
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from data.arguments import add_data_options, read_options
from data.augment import Augmentation
from data.dataset import SmearDataset
from data.image_size import MAX_SIZE, model_sizes, scales_of, size_for_cells, training_scale
from data.inspect.anchor_fit import anchor_fit
from data.inspect.report import write_dataset_report
from data.loader import OVERSIZE, STEP, Loader, stored_size, stream_seed
from data.opening import open_dataset
from data.splits import (
    Splits,
    check_same_content,
    content_of,
    fingerprints,
    k_fold,
    overlap_warning,
    train_val_split,
)
from data.synthetic.dataset import resolve_data
from data.synthetic.pretraining import pretraining_set, shown_classes
from maskrcnn import Config, MaskRCNN
from maskrcnn.evaluation.evaluate import evaluate
from maskrcnn.evaluation.report import format_table, write_report
from maskrcnn.evaluation.validate import selection_metric, validate
from maskrcnn.inference.arguments import plural
from maskrcnn.inference.colours import ColourRange
from maskrcnn.inference.device import autocast, best_device
from maskrcnn.inference.export import check_writable
from maskrcnn.inference.scale import TrainingScale
from maskrcnn.interrupts import Interrupts, output_may_end
from maskrcnn.training.arguments import PRETRAIN_FRACTION, parse_arguments
from maskrcnn.training.overrides import parse_overrides
from maskrcnn.training.plots import plot_examples
from maskrcnn.training.resume import BEST, LAST, PREVIOUS, Block, best_so_far, read_last, restore, resume_state
from maskrcnn.training.run_dir import claimed, write_config, write_log
from maskrcnn.training.schedule import (
    FROZEN_STAGES,
    VALIDATED_IMAGE,
    RunClock,
    Trainable,
    lr_at,
    parameter_groups,
    parse_schedule,
)
from maskrcnn.training.start import SMALL_IMAGES, check_frozen, starting_config
from maskrcnn.weights import load, load_checkpoint, preset_for, read_weights, save_checkpoint, trained_on

WEIGHT_DECAY = 0.05
MAX_GRAD_NORM = 5.0


def train(args: argparse.Namespace, interrupts: Interrupts) -> int:
    """One training run, from the data to the report. Returns the exit code. Raises ValueError for what cannot be trained.

    The one function of this project that is longer than a screen, so that a step can be read in the order in which it
    happens.
    """
    # Data and model, new or of the run that is resumed. Errors of the user are found here, before any long work.
    if args.resume:
        model, saved = load_run(args)
        _, augmentation = read_overrides(args)
        splits = open_splits(args, model.config.class_names)
        check_same_content(splits, saved["content"])
    else:
        of_weights = None
        if not args.preset:
            args.preset, of_weights = preset_for(args.weights) if args.weights else ("lisc", None)
        model_overrides, augmentation = read_overrides(args)
        check_start(args, of_weights, model_overrides)
        splits = open_splits(args)
        if args.pretrain_fraction is None:
            args.pretrain_fraction = PRETRAIN_FRACTION if shown_classes(splits.train) else 0.0
        torch.manual_seed(args.seed)
        model = new_model(args, of_weights, splits.train, model_overrides)
        arguments = {name: value for name, value in vars(args).items() if name not in ("out", "resume", "changes")}
        seen = fingerprints(splits.train) + (trained_on(args.weights) if args.weights else [])
        saved = {"arguments": arguments, "history": [], "trained_on": seen, "validated_on": fingerprints(splits.val)}
        saved["content"] = content_of(splits)
        saved["colours"] = ColourRange.of(image for image, _ in splits.train).quantiles
        saved["scale"] = training_scale(splits.train, model.transform, augmentation is not None).entries()
        if warning := overlap_warning(saved["validated_on"], seen):
            print(warning, file=sys.stderr)
    images = {name: saved[name] for name in ("trained_on", "validated_on", "colours", "scale") if name in saved}
    scale = TrainingScale.of_checkpoint(saved)
    device = best_device()
    model.to(device)
    history: list[dict[str, Any]] = saved["history"]

    # Optimizer, clock, moving average.
    steps_per_epoch = math.ceil(len(splits.train) / args.batch_size)
    total_steps = args.steps or round(args.epochs * steps_per_epoch / (1 - args.pretrain_fraction))
    clock = RunClock(total_steps, args.minutes, VALIDATED_IMAGE * len(splits.val) / args.batch_size)
    trainable = Trainable(parse_schedule(args.schedule)) if args.schedule else None
    if trainable:
        trainable.apply_all(model)
    groups = parameter_groups(model, args.head_lr_factor)
    optimizer = torch.optim.AdamW(groups, lr=args.lr, weight_decay=WEIGHT_DECAY, fused=True)
    ema = AveragedModel(model) if args.ema_decay else None
    eval_model = cast(MaskRCNN, ema.module) if ema else model  # the one that is validated and saved
    block = restore(saved, model, ema, optimizer, clock) if args.resume else None
    pretrains = block.pretraining if block else clock.progress < args.pretrain_fraction
    phases = open_phases(args, model, splits.train, pretrains, augmentation, scale)
    val_scales = scales_of(splits.val, scale)
    write_config(args.out, saved["arguments"], model)
    describe_run(args, model, splits)
    best = best_so_far(args.out)

    def save_last() -> None:
        state = {"arguments": saved["arguments"], "content": saved["content"]}
        state |= resume_state(model, ema, optimizer, clock, block)
        save_checkpoint(args.out / LAST, eval_model, args.out / PREVIOUS, history=history, **images, **state)
        clock.saved = clock.seconds

    if not args.resume:
        save_last()  # from here on the run can be resumed, whatever ends it
    try:
        while block or not clock.finished(steps_per_epoch):
            # A block: some epochs of the phase that the run is in, as many as are worth a validation.
            if not block:
                progress = clock.progress  # read once: it may be measured in minutes
                number = next((k for k in range(-len(phases), -1) if progress < phases[k][1]), -1)
                loader, phase_end = phases[number]
                epochs = clock.epochs_until_validation(len(loader), phase_end)
                first = history[-1]["epoch"] if history else 0
                block = Block(number, progress < args.pretrain_fraction, first, epochs, clock.seconds)
            loader, phase_end = phases[block.phase]
            stop_at = phase_end if block.pretraining else 1.0  # pre-training has no epochs worth finishing
            loader.epoch, loader.wait_seconds = block.first_epoch, block.waited
            is_over = block.batches and clock.progress >= stop_at  # it was stopped before its validation
            batches = iter(()) if is_over else loader.epochs(block.epochs, block.batches)
            model.train()
            total = block.epochs * len(loader)
            bar = tqdm(batches, initial=block.batches, total=total, leave=False, disable=None)
            for batch, targets in bar:
                with interrupts.held():  # a step is taken as a whole, or not at all
                    # Learning rate; random numbers of this step, whatever was drawn before.
                    lr = lr_at(clock.step, clock.progress, args.lr, args.lr_decay_fraction)
                    for group in optimizer.param_groups:
                        group["lr"] = lr * group["lr_factor"]
                    torch.manual_seed(stream_seed(STEP, args.seed, clock.step))

                    # What learns.
                    if trainable:
                        progress = (clock.progress - args.pretrain_fraction) / (1 - args.pretrain_fraction)
                        trainable.apply(model, progress)

                    # Forward: five losses, added up.
                    with autocast(device, args.precision):
                        losses = model(batch, targets, scale=1.0 if augmentation else None)
                    loss = torch.stack(list(losses.values())).sum()
                    if not math.isfinite(loss.item()):
                        diverged(args, clock, model, losses, batch, targets, loader)
                        block.batches += 1
                        continue

                    # Backward, clip, step.
                    optimizer.zero_grad()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
                    optimizer.step()

                    # Moving average of the weights, with a smaller decay at first: the random start is soon forgotten.
                    if ema:
                        n = int(ema.n_averaged)
                        ema.multi_avg_fn = get_ema_multi_avg_fn(min(args.ema_decay, (1 + n) / (10 + n)))
                        ema.update_parameters(model)

                    # Progress.
                    clock.step += 1
                    block.batches += 1
                    block.add(losses)
                    block.waited = loader.wait_seconds
                    if clock.seconds - clock.saved > 60 * args.save_every:
                        save_last()
                left = tqdm.format_interval(clock.seconds_left)
                bar.set_postfix_str(f"loss {sum(block.means.values()):.3f}, lr {lr:.1e}, {left} left")
                if clock.progress >= stop_at:
                    break
            bar.close()
            if not block.taken:
                raise FloatingPointError(
                    f"none of {block.batches} steps had a finite loss; try a lower --lr in a new run"
                )
            if clock.progress >= phase_end:
                loader.close()
            entry: dict[str, Any] = {
                "epoch": block.first_epoch + block.epochs,
                "step": clock.step,
                "pretraining": block.pretraining,
                "copy_paste": loader.copy_paste_on,
                "train": block.means,
                "wait_fraction": block.waited / (clock.seconds - block.began),
            }

            # Validate, save, log.
            begun_validation = time.monotonic()
            bar = tqdm(splits.val, "validating", leave=False, disable=None)
            entry |= validate(eval_model, bar, args.precision, val_scales)
            clock.validation_seconds = time.monotonic() - begun_validation
            with interrupts.held():
                history, block = [*history, {**entry, "minutes": clock.seconds / 60}], None
                metric = selection_metric(entry)
                if best is None or metric > best:  # first, so that last.pt never refers to a best.pt that is not there
                    best = metric
                    save_checkpoint(args.out / BEST, eval_model, history=history, **images)
                save_last()
                print(write_log(args.out, history), flush=True)
    except (KeyboardInterrupt, RuntimeError) as stop:
        save_last()
        if isinstance(stop, RuntimeError) and not interrupts.received:  # else the signal ended the workers, too
            raise
        print(f"\nstopped; continue with: {resume_command(args)}", flush=True)
        return interrupts.code
    if not history:
        again = f": {resume_command(args)} --minutes ..." if args.resume else ""
        raise ValueError(f"--minutes {args.minutes:g} ended before the first validation; give the run more{again}")
    try:
        report_best(args, splits, history)
    except KeyboardInterrupt:
        print(f"\nstopped after the training; {resume_command(args)} writes the report", flush=True)
        return interrupts.code
    return 0


def resume_command(args: argparse.Namespace) -> str:
    """What a user types to go on."""
    return f"python train.py --resume {shlex.quote(str(args.resume or args.out))}"


def diverged(
    args: argparse.Namespace,
    clock: RunClock,
    model: MaskRCNN,
    losses: dict[str, Tensor],
    batch: list[Tensor],
    targets: list[dict[str, Tensor]],
    loader: Loader,
) -> None:
    """Say which losses of which images are not finite. Raises FloatingPointError, after all that made them was written to
    diverged.pt; with --skip-nonfinite the step is left out instead."""
    names = ", ".join(f"{name} is {loss.item()}" for name, loss in losses.items() if not loss.isfinite())
    files = [str(loader.batches.dataset.records[index].image) for index in loader.shown]
    found = f"{names} at step {clock.step}, of {' and '.join(files)}"
    if args.skip_nonfinite:
        print(f"left out: {found}", file=sys.stderr)
        return
    path = args.out / "diverged.pt"
    values = {name: loss.item() for name, loss in losses.items()}
    save_checkpoint(path, model, losses=values, images=batch, targets=targets, files=files, step=clock.step)
    raise FloatingPointError(
        f"{found}; weights, images and targets are in {path}. Try a lower --lr in a new run, or, if it is these images, "
        f"{resume_command(args)} --skip-nonfinite"
    )


def load_run(args: argparse.Namespace) -> tuple[MaskRCNN, dict[str, Any]]:
    """The last checkpoint of the run --resume. Sets args to the run's own, but for what was given to change. Raises
    ValueError."""
    model, saved = read_last(args.resume)
    saved["arguments"] |= args.changes
    vars(args).update(saved["arguments"], out=args.resume)
    return model, saved


def read_overrides(args: argparse.Namespace) -> tuple[dict[str, Any], Augmentation | None]:
    """--override: fields of the model's Config, and the augmentation (None for flips only). Raises ValueError."""
    of_model, of_augmentation = parse_overrides(args.override, Config(), Augmentation())
    if of_augmentation and args.augment == "flips":
        raise ValueError(f"--override {next(iter(of_augmentation))} has no effect with --augment flips")
    if "class_names" in of_model:
        raise ValueError("--override class_names: the classes are those of the data")
    if args.preset not in SMALL_IMAGES:  # at 800 pixels a cell can be larger than the square
        of_augmentation.setdefault("crop", 0)
    return of_model, Augmentation(**of_augmentation) if args.augment == "full" else None


def open_splits(args: argparse.Namespace, known: Sequence[str] = ()) -> Splits:
    """Read and check every image. known: the classes of a model that is trained further. Raises DataError."""
    root = resolve_data(args.data)
    images = open_dataset(root, read_options(args, known, OVERSIZE * largest_size(args)))
    splits = k_fold(images, args.folds, args.fold, args.seed) if args.folds else train_val_split(images, args.seed)
    for skipped in splits.skipped:
        print(f"left out: {skipped}", file=sys.stderr)
    if splits.shared_with_train:
        count = len(splits.shared_with_train)
        print(f"warning: {plural(count, 'validation image')} with a field of the training set", file=sys.stderr)
    for note in splits.notes:
        print(note)
    print(f"{root}: {len(splits.train)} training images, {len(splits.val)} validation images")
    return splits


def largest_size(args: argparse.Namespace) -> int:
    """The largest shorter side, in pixels, at which images can be trained on. Raises ValueError."""
    preset = MAX_SIZE if args.preset in SMALL_IMAGES else Config().min_size
    return int(read_overrides(args)[0].get("min_size", preset))


def new_model(
    args: argparse.Namespace, of_weights: Config | None, dataset: SmearDataset, overrides: dict[str, Any]
) -> MaskRCNN:
    """A model with random weights or those of --weights, whose own config is of_weights. Raises ValueError if they cannot be
    read."""
    size = overrides.get("min_size", size_for_cells(dataset))
    if args.trainable:
        overrides = {"frozen_stages": FROZEN_STAGES[args.trainable], **overrides}
    config = starting_config(args.preset, of_weights, size, {"class_names": dataset.class_names, **overrides})
    model = MaskRCNN(config)
    if args.weights:
        report = load(model, args.weights)
        print(f"{args.weights}: {report}")
        check_frozen(args.weights, config, report.missing)
    return model


def check_start(args: argparse.Namespace, of_weights: Config | None, overrides: dict[str, Any]) -> None:
    """Raise ValueError for weights that cannot be read, or are missing where something is frozen, before the data are
    read."""
    config = starting_config(args.preset, of_weights, Config().min_size, overrides)
    if args.weights:
        read_weights(args.weights, config)
        return
    if config.norm == "frozen_batchnorm":
        raise ValueError(
            "frozen BatchNorm is not trained: give --weights with its statistics, such as imagenet, or use --preset lisc"
        )
    parts = [part for part, _ in parse_schedule(args.schedule)] if args.schedule else [args.trainable or "all"]
    if min(FROZEN_STAGES[part] for part in parts):
        raise ValueError(
            f"--{'schedule' if args.schedule else 'trainable'} leaves layers of the ResNet as they are, which are random: "
            "give --weights, such as imagenet, or train all of it"
        )


def open_phases(
    args: argparse.Namespace,
    model: MaskRCNN,
    dataset: SmearDataset,
    pretrains: bool,
    augmentation: Augmentation | None,
    scale: TrainingScale | None,
) -> list[tuple[Loader, float]]:
    """(loader, end of its phase as a fraction of the run): synthetic images, in part in colours of other laboratories, and
    real ones, if asked for also in such colours, both with copy-paste and crops; then real images without. Copy-paste
    blurs mask edges, other colours blur the differences between classes, and crops are not what is seen at inference, so all
    three stop early (docs/recipe.md)."""
    strange = dataclasses.replace(augmentation, laboratory=augmentation.pretrain_laboratory) if augmentation else None
    plain = dataclasses.replace(augmentation, copies=0.0, laboratory=0.0, crop=0) if augmentation else None

    def open_loaders(
        images: SmearDataset,
        scales: Sequence[float | None],
        class_balance: float,
        *augmentations: Augmentation | None,
    ) -> list[Loader]:
        sizes = model_sizes(images, model.transform, scales)
        stored = images.downscaled([stored_size(size) for size in sizes]) if augmentation else images
        device = best_device()
        return [
            Loader(stored, args.batch_size, device, each, sizes, class_balance=class_balance, seed=args.seed)
            for each in augmentations
        ]

    copy_paste, no_copy_paste = open_loaders(
        dataset, scales_of(dataset, scale), args.class_balance, augmentation, plain
    )
    phases = [(copy_paste, 1 - args.lr_decay_fraction), (no_copy_paste, 1.0)]
    if pretrains:
        synthetic = pretraining_set(dataset, seed=args.seed, compartment=args.compartment)
        phases.insert(0, (*open_loaders(synthetic, [None] * len(synthetic), 0.0, strange), args.pretrain_fraction))
    return phases


def describe_run(args: argparse.Namespace, model: MaskRCNN, splits: Splits) -> None:
    """Print what is trained on what; write data.txt, contact-sheet.png and anchors.png."""
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"training {millions:.1f} million parameters on {best_device()}; the run folder is {args.out}")
    print(write_dataset_report(splits, args.out))
    anchor_fit(model, splits.train).savefig(args.out / "anchors.png", dpi=100)


def report_best(args: argparse.Namespace, splits: Splits, history: list[dict[str, Any]]) -> None:
    """Evaluate the best checkpoint, plot its predictions, write the report and print the result."""
    model, saved = load_checkpoint(args.out / "best.pt")
    model.to(best_device())
    pictures = args.out / "predictions.png"
    known = TrainingScale.of_checkpoint(saved)
    scales = scales_of(splits.val, known)
    plot_examples(model, splits.val, args.precision, scales=scales, known=known).savefig(pictures, dpi=100)
    files = [str(record.image) for record in splits.val.records]
    bar = tqdm(splits.val, "evaluating", leave=False, disable=None)
    result = evaluate(model, bar, args.precision, files=files, groups=splits.val_groups, scales=scales, known=known)
    note = checkpoint_note(history, saved)
    notes = f"{note}\n\n{(args.out / 'data.txt').read_text(encoding='utf-8')}"
    title = f"{args.out}: {args.data}"
    report = write_report(result, splits.val, args.out, title, notes, ColourRange.of_checkpoint(saved))
    print(f"{format_table(result)}\n{note}")
    print(result.counts())
    mask = result.ap["mask"]
    print(f"mask AP {mask.ap:.3f}, mask AP50 {mask.ap50:.3f} on {len(splits.val)} validation images; report: {report}")
    print(f"predictions beside ground truth: {pictures}")


def checkpoint_note(history: list[dict[str, Any]], best: dict[str, Any]) -> str:
    """What a reader of the best checkpoint's figures has to know about it."""
    last, chosen = history[-1], best["history"][-1]
    selection = (
        f"the checkpoint is that of epoch {chosen['epoch']} of {last['epoch']}, the best of {len(history)} validations on "
        f"these same images, {last['minutes']:.1f} minutes in all; the last one, not selected, has a mask AP of "
        f"{last['mask']['ap']:.3f}"
    )
    return "\n".join(filter(None, (overlap_warning(best["validated_on"], best["trained_on"]), selection)))


def main() -> int:
    """Every problem with the data or the arguments ends in one message, before training starts."""
    args, interrupts = parse_arguments(__doc__, add_data_options), Interrupts()
    try:
        with interrupts, output_may_end():
            if not args.resume:
                check_writable(args.out or Path("runs"))
            with claimed(args.out, args.data, args.resume) as args.out:
                return train(args, interrupts)
    except KeyboardInterrupt:
        begun = args.resume or (args.out and (args.out / LAST).exists())
        print(
            f"\nstopped{f'; continue with: {resume_command(args)}' if begun else ' before training began'}", flush=True
        )
        return interrupts.code
    except (ValueError, FloatingPointError) as error:
        print(f"train.py: {error}", file=sys.stderr)
    except (OSError, RuntimeError, MemoryError) as error:  # disk or memory are full, or a worker process was killed
        print(f"train.py: {error}", file=sys.stderr)
        if args.out and (args.out / LAST).exists():
            print(f"the last checkpoint is kept; continue with: {resume_command(args)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
