"""Find, outline and name the white cells of an image or of every image in a folder."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from data.dataset import load_image
from data.lisc import IMAGE_ENDINGS, DataError
from maskrcnn import MaskRCNN
from maskrcnn.heads.paste import label_map
from maskrcnn.precision import PRECISIONS, autocast, best_device
from maskrcnn.visualize import overlay
from maskrcnn.weights import load_checkpoint


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""for every image NAME.* two files are written to --out:
  NAME_overlay.png   the image with outline, box, class and score of every cell found
  NAME_labels.png    16-bit: 0 is background, k the k-th cell found, best first

examples:
  python predict.py --weights runs/lisc field.bmp
  python predict.py --weights runs/lisc/best.pt "data/LISC/More Dataset without Ground Truth" --out found""",
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IMAGE|FOLDER", help="images, or folders of images")
    parser.add_argument(
        "--weights", type=Path, required=True, metavar="RUN", help="a run folder or a checkpoint of train.py"
    )
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="where to write (default: %(default)s)")
    parser.add_argument(
        "--min-score", type=float, default=0.5, help="leave weaker detections out (default: %(default)s)"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="of the arithmetic (default: %(default)s)"
    )
    return parser.parse_args()


def find_images(inputs: list[Path]) -> list[tuple[Path, Path]]:
    """The images named or in the folders named, each with the path, without ending, of its outputs below --out."""
    found: list[tuple[Path, Path]] = []
    for path in inputs:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_ENDINGS) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path}: no image in this folder (endings: {', '.join(sorted(IMAGE_ENDINGS))})")
        found += [(file, file.relative_to(path if path.is_dir() else path.parent).with_suffix("")) for file in files]
    first: dict[Path, Path] = {}
    for file, output in found:
        other = first.setdefault(output, file)
        if other != file:
            raise DataError(
                f"{other} and {file} would both be written as {output}_*; predict them with two values of --out"
            )
    return found


@torch.inference_mode()
def predict(model: MaskRCNN, path: Path, output: Path, min_score: float, precision: str) -> int:
    """Write the overlay and the label map of one image. Returns the number of cells found."""
    pixels = torch.from_numpy(load_image(path)).permute(2, 0, 1).float() / 255  # [3, H, W]
    device = next(model.parameters()).device
    with autocast(device, precision):
        found = model([pixels.to(device)])[0]
    found = {name: value[found["scores"] >= min_score].cpu() for name, value in found.items()}
    output.parent.mkdir(parents=True, exist_ok=True)
    picture = overlay(pixels, found, model.config.class_names)
    Image.fromarray(picture).save(output.with_name(output.name + "_overlay.png"))
    labels = label_map(found["masks"]).numpy().astype(np.uint16)
    Image.fromarray(labels).save(output.with_name(output.name + "_labels.png"))
    return len(found["scores"])


def main() -> int:
    args = parse_arguments()
    try:
        weights = args.weights / "best.pt" if args.weights.is_dir() else args.weights
        model, _ = load_checkpoint(weights)
        images = find_images(args.inputs)
    except (DataError, ValueError) as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2
    model.to(best_device()).eval()
    cells, failed = 0, []
    for path, output in tqdm(images, desc="predicting", unit="image"):
        try:
            cells += predict(model, path, args.out / output, args.min_score, args.precision)
        except DataError as error:
            failed.append(str(error))
    print(f"{cells} cells in {len(images) - len(failed)} images; overlays and label maps are in {args.out}")
    for message in failed:
        print(f"predict.py: left out {message}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
