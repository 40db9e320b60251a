"""Predict on images: pictures, label maps, a table of cells, a differential count. The command `maskrcnn predict`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from maskrcnn.inference.arguments import add_colours, add_renamed_options, fraction
from maskrcnn.inference.colours import ColourRange, as_shown, colour_quantiles
from maskrcnn.inference.detect import predict
from maskrcnn.inference.device import PRECISIONS, best_device
from maskrcnn.inference.export import PredictionWriter, check_writable, color_splash
from maskrcnn.inference.image_io import IMAGE_EXTENSIONS, ImageError, load_image, readable
from maskrcnn.inference.objects import Objects, confident_objects, label_map
from maskrcnn.model import MaskRCNN
from maskrcnn.visualization.drawing import overlay
from maskrcnn.weights import load_checkpoint

DESCRIPTION = "Detect, segment and classify the white blood cells of images."
EPILOG = """three files per image NAME.* are written to --out:
  NAME_overlay.png   the image with outline, box, class and score of every cell
  NAME_splash.png    the image in grey, with the cells in colour
  NAME_labels.png    16-bit label map: 0 is background, k the cell of that number in cells.csv, best first; where two
                     cells overlap, a pixel belongs to the one with the higher probability
and for all images together:
  cells.csv          one row per cell: file, number, class, score, box, area, equivalent diameter, perimeter, eccentricity
                     (pixels), whether it touches the border
  differential.csv   number and percentage of the cells of each class, per image and in all; and how far the image's colours
                     are from those of the training images, in grey levels of 255
  coco.json          the same cells with their masks, in COCO's format
  colours.png        the colours of the images and of those that the model was trained on, if they differ much
An image that cannot be used is named at the end, the others are predicted, and the exit code is 1.

examples:
  python predict.py --checkpoint runs/LISC image.bmp
  python predict.py --checkpoint runs/LISC/best.pt "data/LISC/More Dataset without Ground Truth" --out cells --tta
  maskrcnn predict --checkpoint runs/LISC image.bmp        the same from any folder, after pip install ."""
RENAMED = {"--weights": "--checkpoint", "--min-score": "--score-threshold", "--turns": "--tta"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `run`."""
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="IMAGE|FOLDER", help="images, or folders of images")
    add("--checkpoint", type=Path, required=True, metavar="RUN", help="a run folder or a checkpoint of train.py")
    add("--out", type=Path, default=Path("predictions"), help="where to write (default: %(default)s)")
    add(
        "--score-threshold",
        type=fraction,
        default=0.5,
        help="leave out detections with a lower score (default: %(default)s)",
    )
    add(
        "--tta",
        action="store_true",
        help="test-time augmentation: average over all flips and 90-degree rotations; eight times slower, slightly more "
        "accurate",
    )
    add_colours(parser)
    add("--precision", choices=PRECISIONS, default="auto", help="auto: bfloat16 where the hardware supports it")
    add_renamed_options(parser, RENAMED)


def run(args: argparse.Namespace, prog: str) -> int:
    """Predict, write and summarise. prog: the name of the command, for messages. Returns the exit code."""
    try:
        model, saved = load_checkpoint(args.checkpoint)
        images = find_images(args.inputs, args.out)
        check_writable(args.out)
    except (ValueError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    model.to(best_device()).eval()
    known = ColourRange.of_checkpoint(saved)
    writer = PredictionWriter(model.config.class_names, known)
    failed, stopped = [], False
    try:
        failed = predict_all(model, images, args, writer, as_shown(known, args.colours))
    except KeyboardInterrupt:
        stopped = True
    finally:
        writer.write(args.out)  # whatever ends the run, the finished images are kept
    totals = writer.differential()[-1]
    counts = ", ".join(f"{totals[name]} {name}" for name in model.config.class_names)
    print(f"{len(writer.cells)} cells in {len(writer.images)} images: {counts}")
    print(f"pictures, label maps, cells.csv, differential.csv and coco.json are in {args.out}")
    if warning := writer.colour_warning():
        done = "; the model saw them with the white balance of training (--colours keep: as they are)" * (
            args.colours == "adapt"
        )
        print(f"{warning}{done}: {args.out / 'colours.png'}", file=sys.stderr)
    for message in failed:
        print(f"{prog}: left out {message}", file=sys.stderr)
    if stopped:
        print(f"{prog}: stopped after {len(writer.images)} of {len(images)} images", file=sys.stderr)
        return 130
    return 1 if failed else 0


def find_images(inputs: list[Path], out: Path) -> list[tuple[Path, Path]]:
    """All images that were named or are in the folders, each once, with the path of its outputs below --out (without
    ending).

    Files below an --out inside a folder are left out: they are predictions, not photographs. So are hidden files. Raises
    ImageError.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for path in inputs:
        if not path.exists():
            raise ImageError(path, "no such file or folder")
        if path.resolve() == out.resolve() and path.is_dir():
            raise ImageError(path, "--out is the folder of the images itself; choose another")
        outputs = out.resolve() if path.resolve() in out.resolve().parents else None
        files = sorted(p for p in path.rglob("*") if is_input(p, outputs)) if path.is_dir() else [path]
        if not files:
            raise ImageError(path, f"no image in this folder (endings: {', '.join(sorted(IMAGE_EXTENSIONS))})")
        for file in files:
            output = file.relative_to(path if path.is_dir() else path.parent).with_suffix("")
            found.setdefault(file.resolve(), (file, output))
    first: dict[Path, Path] = {}
    for file, output in found.values():
        other = first.setdefault(output, file)
        if other != file:
            reason = f"would be written as {output}_*, as {other} would; predict them with two values of --out"
            raise ImageError(file, reason)
    return list(found.values())


def is_input(path: Path, outputs: Path | None) -> bool:
    """Whether a file in a folder is an image to predict on. outputs: the folder of the predictions, if it is in there."""
    is_output = outputs in path.resolve().parents
    return (
        path.suffix.lower() in IMAGE_EXTENSIONS and not path.name.startswith(".") and path.is_file() and not is_output
    )


def predict_all(
    model: MaskRCNN,
    images: list[tuple[Path, Path]],
    args: argparse.Namespace,
    writer: PredictionWriter,
    shown: Callable[[Tensor], Tensor],
) -> list[str]:
    """Every image in turn, into writer and pictures. Returns a message for each image that failed. shown: see
    `as_shown`."""
    failed = []
    for path, output in tqdm(images, desc="predicting", unit="image", disable=None):
        try:
            pixels = torch.from_numpy(load_image(path)).permute(2, 0, 1).float() / 255  # [3, H, W]
            cells = confident_objects(predict(model, shown(pixels), args.precision, args.tta), args.score_threshold)
            write_pictures(pixels, cells, model.config.class_names, args.out / output)
        except ImageError as error:
            failed.append(str(error))
        except (OSError, RuntimeError, MemoryError) as error:  # disk or memory are full: the next may be smaller
            failed.append(readable(f"{path}: {error}"))
        else:
            writer.add(readable(path), cells.result(), colour_quantiles(pixels))
    return failed


def write_pictures(pixels: Tensor, cells: Objects, class_names: tuple[str, ...], output: Path) -> None:
    """Overlay, splash and label map of one image [3, H, W]. output: their path up to the underscore."""
    output.parent.mkdir(parents=True, exist_ok=True)
    pictures = {
        "overlay": overlay(pixels, cells.result(), class_names),
        "splash": color_splash(pixels, cells.result()["masks"]),
        "labels": label_map(cells).astype(np.uint16),
    }
    for name, picture in pictures.items():
        Image.fromarray(picture).save(output.with_name(f"{output.name}_{name}.png"))
