"""Predict on images: pictures, label maps, a table of cells, a differential count. The command `maskrcnn predict`."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from maskrcnn.inference.arguments import plural
from maskrcnn.inference.colours import ColourRange, as_shown, colour_quantiles
from maskrcnn.inference.device import best_device
from maskrcnn.inference.export import Found, Options, PredictionWriter
from maskrcnn.inference.export.pictures import check_installed
from maskrcnn.inference.export.settings import Results
from maskrcnn.inference.image_io import ImageError, load_image, readable
from maskrcnn.inference.inputs import Input, find_images
from maskrcnn.inference.predict_arguments import DESCRIPTION, EPILOG, add_arguments
from maskrcnn.inference.predictor import Predictor
from maskrcnn.inference.scale import TrainingScale
from maskrcnn.interrupts import Interrupts, output_may_end
from maskrcnn.weights import load_checkpoint
from maskrcnn.weights.coco import COCO_CLASSES
from maskrcnn.weights.download import digest_of

MANY = 12  # classes: more are not all listed

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]


def run(args: argparse.Namespace, prog: str) -> int:
    """Predict, write and summarise. prog: the name of the command, for messages. Returns the exit code."""
    interrupts = Interrupts()
    try:
        with interrupts, output_may_end():
            return _run(args, prog, interrupts)
    except KeyboardInterrupt:
        print(f"\n{prog}: stopped", file=sys.stderr)
        return interrupts.code


def _run(args: argparse.Namespace, prog: str, interrupts: Interrupts) -> int:
    try:
        check_installed(args.formats)
        model, saved = load_checkpoint(args.checkpoint)
        found = find_images(args.inputs, [args.out, *([args.annotations] if args.annotations else [])])
        results = Results(args, model, found.left_out)
        results.prepare([output for _, output in found.images])
        known = ColourRange.of_checkpoint(saved)
        options = Options(args.formats, args.pixel_size, args.annotations)
        writer = PredictionWriter(args.out, model.config.class_names, known, options)
        images = _not_done(found.images, writer)
        scale = TrainingScale.of_checkpoint(saved)
        model.to(best_device())
        light = as_shown(known, args.colours)
        predictor = Predictor(model, args, scale, light, found.images, min(writer.scales, default=None))
    except (ValueError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    for note in found.left_out:
        print(f"{prog}: left out {note}; name a file to predict on it", file=sys.stderr)
    print(predictor.shown.reason)
    failed: list[str] = []
    stopped = False
    try:
        predict_all(predictor, images, writer, failed)
    except KeyboardInterrupt:
        stopped = True
    for message in failed:
        print(f"{prog}: left out {message}", file=sys.stderr)
    try:
        _summarise(writer, results, args, predictor, failed, stopped)
    except OSError as error:
        print(f"{prog}: {error}; make room for the summaries and call again with --skip-existing", file=sys.stderr)
        return 1
    if stopped:
        done = f"stopped after {len(writer.done)} of {plural(len(found.images), 'image')}; --skip-existing goes on"
        print(f"{prog}: {done}", file=sys.stderr)
        return interrupts.code
    return 1 if failed else 0


def _not_done(images: Sequence[Input], writer: PredictionWriter) -> list[Input]:
    """Raises ValueError if an image has changed since it was predicted on in an earlier call, or has the name of another one
    that was."""
    for lost in writer.incomplete:
        print(f"{lost}: files of its results are gone; it is predicted on again if it is an image of this call")
    for file, _ in images:
        path = os.path.realpath(file)
        if path in writer.done and writer.digests[path] != digest_of(Path(path)):
            raise ImageError(file, "has changed since it was predicted on; give another --out, or --overwrite")
    rest = [image for image in images if os.path.realpath(image.file) not in writer.done]
    owner = {output: path for path, output in writer.done.items()}
    for file, output in rest:
        if str(output) in owner:
            raise ImageError(file, f"would overwrite the results of {owner[str(output)]}; give another --out")
    if len(rest) < len(images):
        print(f"an earlier call has done {len(images) - len(rest)} of {plural(len(images), 'image')}")
    if gone := len(writer.done) - (len(images) - len(rest)):
        print(f"the tables also have {plural(gone, 'image')} of an earlier call, not among those of this one")
    return rest


def predict_all(predictor: Predictor, images: Sequence[Input], writer: PredictionWriter, failed: list[str]) -> None:
    """Every image in turn, into writer. A message for each image that cannot be used is added to failed."""
    for file, output in tqdm(images, desc="predicting", unit="image", disable=None):
        try:
            image = load_image(file)
            cells, scale = predictor(image)
            found = Found(image, cells, writer.class_names, writer.options.pixel_size)
            colours = colour_quantiles(torch.from_numpy(image).permute(2, 0, 1))
            writer.add(file, output, found, colours, scale, digest_of(file))
        except ImageError as error:
            failed.append(str(error))
        except (OSError, RuntimeError, MemoryError) as error:  # disk or memory are full: the next may be smaller
            failed.append(readable(f"{file}: {str(error) or type(error).__name__}"))


def summary_line(counts: Mapping[str, int], images: int) -> str:
    """ "3 cells in 2 images: 3 basophil, 0 eosinophil"; of many classes only those that were found."""
    shown = {name: count for name, count in counts.items() if count or len(counts) <= MANY}
    listed = ", ".join(f"{count} {name}" for name, count in shown.items()) or "none"
    noun = "object" if tuple(counts) == COCO_CLASSES else "cell"
    return f"{plural(sum(counts.values()), noun)} in {plural(images, 'image')}: {listed}"


def _summarise(
    writer: PredictionWriter,
    results: Results,
    args: argparse.Namespace,
    predictor: Predictor,
    failed: Sequence[str],
    stopped: bool,
) -> None:
    """Write what all images are needed for, and print what is there. Raises OSError."""
    counts, digest = writer.finish()
    of_colours = writer.colour_warning()
    of_cells = predictor.warnings(writer.images)
    warnings = [*of_cells, *([of_colours] if of_colours else [])]
    results.finish(writer, counts, predictor.shown.reason, warnings, failed, digest, is_whole=not stopped)
    print(summary_line(counts, len(writer.done)))
    print(f"cells.csv, differential.csv and {', '.join(args.formats) or 'no other format'} are in {args.out}")
    if args.annotations:
        print(f"a data set to correct and to train on is in {args.annotations}")
    for warning in of_cells:
        print(warning, file=sys.stderr)
    if of_colours:
        done = "; the model saw them with the white balance of training (--colours keep: as they are)" * (
            args.colours == "adapt"
        )
        print(f"{of_colours}{done}: {args.out / 'colours.png'}", file=sys.stderr)
