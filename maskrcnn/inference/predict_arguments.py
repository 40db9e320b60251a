"""What `maskrcnn predict --help` says: the options, and the files that are written."""

import argparse
from pathlib import Path

from maskrcnn.inference.arguments import add_checkpoint, add_colours, add_renamed_options, add_scale, fraction, positive
from maskrcnn.inference.device import PRECISIONS
from maskrcnn.inference.export.writer import DEFAULT, FORMATS

DESCRIPTION = "Detect, segment and classify the white blood cells of images, or whatever else a model was trained on."
EPILOG = """files for each image NAME.* in --out (a.png and a.bmp in one folder: NAME is a.png and a.bmp):
  NAME_overlay.png   overlay: the image with outline, class and score of every cell
  NAME_splash.png    splash: the image in grey, with the cells in colour
  NAME_labels.png    labels: 16-bit label map for Fiji, napari or QuPath: 0 is background, k the cell of that number in
                     cells.csv, best first; where two cells overlap, a pixel belongs to the one with the higher
                     probability. More than 65535 cells: NAME_labels.tif, of 32 bits
  NAME_preview.png   labels: the label map in colours
  NAME.geojson       geojson: outlines with class and measures for QuPath (drop the file onto the open image)
  NAME_RoiSet.zip    imagej: outlines for the ROI manager of ImageJ and Fiji; needs pip install roifile
and for all images together:
  cells.csv          one row per cell: file, number, class, score, bounding box of the mask, centroid, area, diameter of the
                     disc of that area, perimeter (by Crofton's formula, scikit-image's perimeter_crofton), eccentricity,
                     whether it touches the border, and how much the image was enlarged for the model (scale). _px: pixels,
                     where pixel i covers i to i + 1; with --pixel-size also _um2 and _um: (square) micrometres
  differential.csv   number and percentage of the cells of each class, per image; and how far the image's colours are from
                     those of the training images, in grey levels of 255
  differential_folders.csv, differential_total.csv
                     the same per folder (patient, slide) and in all, with exact 95 % intervals of the percentages (Clopper
                     and Pearson), which treat the cells as a random sample
  coco.json          coco: the same cells with their masks in COCO's format, as run lengths
  coco_polygons.json, coco_results.json
                     coco-polygons: as polygons; coco-results: the list that COCO.loadRes reads
  colours.png        the colours of the images and of those that the model was trained on, if they differ much
  predictions.json   version, checkpoint, arguments, scale, warnings; predictions.jsonl: what the tables are made from
The tables are UTF-8 with commas. Texts that a spreadsheet would run as a formula (=, +, -, @) have an apostrophe in front.
Rows are written image by image: whatever ends a call, the same call with --skip-existing goes on where it ended.
In folders, masks, label maps and pictures of results are no input, and are named; what is named as a file always is.
An image that cannot be used is named at the end, the others are predicted, and the exit code is 1.

examples:
  python predict.py --checkpoint runs/LISC image.bmp
  python predict.py --checkpoint coco street.jpg           any photograph, with a model that others have trained
  python predict.py --checkpoint runs/LISC/best.pt "data/LISC/More Dataset without Ground Truth" --out cells --tta
  python predict.py --checkpoint runs/LISC patients --out cells --formats labels,geojson --pixel-size 0.1
  python predict.py --checkpoint runs/LISC new --out cells --annotations corrected    then correct, and train on, corrected
  maskrcnn predict --checkpoint runs/LISC image.bmp        the same from any folder, after pip install ."""
RENAMED = {"--weights": "--checkpoint", "--min-score": "--score-threshold", "--turns": "--tta"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `maskrcnn.inference.predict.run`."""
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="IMAGE|FOLDER", help="images, or folders of images")
    add_checkpoint(parser)
    add(
        "--score-threshold",
        type=fraction,
        default=0.5,
        help="leave out detections with a lower score (default: %(default)s)",
    )
    add("--keep-nested", action="store_true", help="count parts of cells that lie in another cell, too")
    add(
        "--tta",
        action="store_true",
        help="test-time augmentation: average over all flips and 90-degree rotations; eight times slower, slightly more "
        "accurate",
    )
    add_scale(parser)
    add_colours(parser)
    add("--precision", choices=PRECISIONS, default="auto", help="auto: bfloat16 where the hardware supports it")
    _add_output_arguments(parser)
    add_renamed_options(parser, RENAMED)


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, default=Path("predictions"), help="where to write (default: %(default)s)")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--overwrite", action="store_true", help="replace the results of an earlier call in --out")
    either.add_argument(
        "--skip-existing",
        action="store_true",
        help="go on with the results in --out: images that are done are not predicted again, and the tables contain all",
    )
    add(
        "--formats",
        type=_formats,
        default=DEFAULT,
        metavar="A,B",
        help=f"what to write beside the tables, some of {', '.join(FORMATS)} (default: {','.join(DEFAULT)})",
    )
    add("--pixel-size", type=positive, metavar="MICROMETRES", help="of a side of a pixel: adds columns in micrometres")
    add(
        "--annotations",
        type=Path,
        metavar="FOLDER",
        help="also write a data set that train.py reads, to correct and train on: copies of the images and COCO's JSON, "
        "which CVAT imports",
    )


def _formats(text: str) -> tuple[str, ...]:
    """Names with commas between them, in the order of FORMATS."""
    names = {name.strip() for name in text.split(",") if name.strip()}
    if unknown := sorted(names - {*FORMATS}):
        raise argparse.ArgumentTypeError(f"there is no format {unknown[0]}; there are {', '.join(FORMATS)}")
    return tuple(name for name in FORMATS if name in names)
