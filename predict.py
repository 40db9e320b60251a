"""Find, outline and name the white cells of images: pictures, label maps, a table of cells, a differential count."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from data.image_files import load_image
from data.lisc import IMAGE_ENDINGS, DataError
from maskrcnn import MaskRCNN
from maskrcnn.drawing import overlay
from maskrcnn.heads import objects_found
from maskrcnn.heads.paste import label_map
from maskrcnn.outputs import Results, splash
from maskrcnn.precision import PRECISIONS, best_device
from maskrcnn.run_folder import writable
from maskrcnn.settings import share
from maskrcnn.turns import detect
from maskrcnn.weights import load_checkpoint

EPILOG = """for every image NAME.* three files are written to --out:
  NAME_overlay.png   the image with outline, box, class and score of every cell found
  NAME_splash.png    the image in grey, with the cells in colour
  NAME_labels.png    16-bit: 0 is background, k the k-th cell of the image in cells.csv, best first; where two cells
                     overlap, a pixel goes to the one that is surer of it
and for all of them together:
  cells.csv          a row a cell: file, number, class, score, box, area, equivalent diameter, perimeter, eccentricity
                     (pixels), whether it touches the border
  differential.csv   how many cells of each class, and what percentage, in each image and in all
  coco.json          the same cells with their masks, as COCO writes them
An image that cannot be used is named at the end, the others are done, and the exit code is 1.

examples:
  python predict.py --weights runs/LISC field.bmp
  python predict.py --weights runs/LISC/best.pt "data/LISC/More Dataset without Ground Truth" --out found --turns"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EPILOG
    )
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="IMAGE|FOLDER", help="images, or folders of images")
    add("--weights", type=Path, required=True, metavar="RUN", help="a run folder or a checkpoint of train.py")
    add("--out", type=Path, default=Path("predictions"), help="where to write (default: %(default)s)")
    add("--min-score", type=share, default=0.5, help="leave weaker detections out (default: %(default)s)")
    add("--turns", action="store_true", help="look at each image in all eight ways it can lie (test-time "
        "augmentation): slower, a little better")  # fmt: skip
    add("--precision", choices=PRECISIONS, default="auto", help="of the arithmetic (default: %(default)s)")
    return parser.parse_args()


def find_images(inputs: list[Path], out: Path) -> list[tuple[Path, Path]]:
    """The images named or in the folders named, each once, with the path, without ending, of its outputs below --out.

    What lies below an --out within a folder is left out: it was predicted, not photographed. So are hidden files. Raises
    DataError.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for path in inputs:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        if path.resolve() == out.resolve() and path.is_dir():
            raise DataError(f"{path}: --out is the folder of the images itself; choose another")
        written = out.resolve() if path.resolve() in out.resolve().parents else None
        files = sorted(p for p in path.rglob("*") if is_image(p, written)) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path}: no image in this folder (endings: {', '.join(sorted(IMAGE_ENDINGS))})")
        for file in files:
            output = file.relative_to(path if path.is_dir() else path.parent).with_suffix("")
            found.setdefault(file.resolve(), (file, output))
    first: dict[Path, Path] = {}
    for file, output in found.values():
        other = first.setdefault(output, file)
        if other != file:
            raise DataError(
                f"{other} and {file} would both be written as {output}_*; predict them with two values of --out"
            )
    return list(found.values())


def is_image(path: Path, written: Path | None) -> bool:
    """Whether a file found in a folder is an image to look at. written: the folder of our own pictures, if it lies there."""
    is_ours = written in path.resolve().parents
    return path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".") and path.is_file() and not is_ours


def find_cells(model: MaskRCNN, pixels: Tensor, args: argparse.Namespace) -> dict[str, Tensor]:
    """What is found in an image [3, H, W] with a score of at least --min-score."""
    found = objects_found(detect(model, pixels, args.precision, args.turns), args.min_score)
    return {name: value.cpu() for name, value in found.items()}


def draw(pixels: Tensor, found: dict[str, Tensor], class_names: tuple[str, ...], output: Path) -> None:
    """Overlay, splash and label map of one image."""
    output.parent.mkdir(parents=True, exist_ok=True)
    labels = label_map(found["masks"]).numpy().astype(np.uint16)
    pictures = {
        "overlay": overlay(pixels, found, class_names),
        "splash": splash(pixels, found["masks"]),
        "labels": labels,
    }
    for name, picture in pictures.items():
        Image.fromarray(picture).save(output.with_name(f"{output.name}_{name}.png"))


def predict(model: MaskRCNN, images: list[tuple[Path, Path]], args: argparse.Namespace, results: Results) -> list[str]:
    """Every image in turn, into results and pictures. Returns what could not be done, and why."""
    failed = []
    for path, output in tqdm(images, desc="predicting", unit="image"):
        try:
            pixels = torch.from_numpy(load_image(path)).permute(2, 0, 1).float() / 255  # [3, H, W]
            found = find_cells(model, pixels, args)
            draw(pixels, found, model.config.class_names, args.out / output)
        except DataError as error:
            failed.append(str(error))
        except (OSError, RuntimeError, MemoryError) as error:  # the disk or the memory is full: the next may be smaller
            failed.append(f"{path}: {error}")
        else:
            results.add(str(path), found)
    return failed


def main() -> int:
    args = parse_arguments()
    try:
        model, _ = load_checkpoint(args.weights)
        images = find_images(args.inputs, args.out)
        writable(args.out)
    except (DataError, ValueError, OSError) as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2
    model.to(best_device()).eval()
    results = Results(model.config.class_names)
    failed, stopped = [], False
    try:
        failed = predict(model, images, args, results)
    except KeyboardInterrupt:
        stopped = True
    finally:
        results.write(args.out)  # what was done is kept, whatever ends it
    counts = {name: value for name, value in results.differential()[-1].items() if name in model.config.class_names}
    print(f"{len(results.cells)} cells in {len(results.images)} images: "
          + ", ".join(f"{count} {name}" for name, count in counts.items()))  # fmt: skip
    print(f"pictures, label maps, cells.csv, differential.csv and coco.json are in {args.out}")
    for message in failed:
        print(f"predict.py: left out {message}", file=sys.stderr)
    if stopped:
        print(f"predict.py: stopped; {len(results.images)} of {len(images)} images are done", file=sys.stderr)
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
