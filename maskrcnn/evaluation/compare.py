"""Compare label maps of any program with the true ones. The command `maskrcnn evaluate`."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskrcnn.evaluation.label_maps import SHOWN, pair_label_maps, read_label_map
from maskrcnn.evaluation.matching import Matching, compare_label_maps, total
from maskrcnn.inference.arguments import plural, some
from maskrcnn.inference.image_io import ImageError, readable

DESCRIPTION = "Compare label maps of any program, such as StarDist, cellpose or maskrcnn predict, with the true ones."
EPILOG = """a label map has one number per pixel: 0 is background, every other number an object. PNG of 8 or 16 bits, TIFF of
16 or 32 bits and .npy are read. Files of two folders belong together if their names do: a.png and a_labels.tif (_label,
_masks, _cp_masks, _seg, ...). At each IoU from 0.50 to 0.95 as many objects as possible are matched one to one:
  tp, fp, fn    matches; predicted objects without one; true objects without one
  precision     tp / (tp + fp)            recall   tp / (tp + fn)            F1   2 tp / (2 tp + fp + fn)
  accuracy      tp / (tp + fp + fn), which StarDist and cellpose also call average precision
  mean IoU      of the matches            panoptic quality   F1 times the mean IoU
All images are counted together; --out FILE.json has each of them, too, with the keys threshold, tp, fp, fn, precision,
recall, f1, accuracy, mean_iou and panoptic_quality (null where there is nothing to divide by).

examples:
  maskrcnn evaluate --truth masks --prediction predictions
  maskrcnn evaluate --truth a_masks.png --prediction a_labels.tif --out a.json"""
FRACTIONS = ("precision", "recall", "f1", "accuracy", "mean_iou", "panoptic_quality")
TITLES = {"f1": "F1", "mean_iou": "mean IoU", "panoptic_quality": "panoptic quality"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("--truth", type=Path, required=True, metavar="PATH", help="a label map, or a folder of them")
    add("--prediction", type=Path, required=True, metavar="PATH", help="those to compare with it")
    add("--out", type=Path, metavar="FILE.json", help="write all figures there")


def run(args: argparse.Namespace, prog: str) -> int:
    """Compare, print and write. prog: the name of the command, for messages. Returns the exit code."""
    try:
        if args.out and args.out.is_dir():
            raise ValueError(f"{args.out}: is a folder; name a file in it, such as {args.out / 'figures.json'}")
        pairs, left_out = pair_label_maps(args.truth, args.prediction)
        if left_out:
            reason = "others in the folder are named as label maps"
            print(
                f"{prog}: left out {plural(len(left_out), 'file')}, since {reason}: {some(left_out, SHOWN)}",
                file=sys.stderr,
            )
        compared = [compare_files(*pair) for pair in pairs]
        all_images = total(compared)
        print(format_matchings(all_images, len(pairs)))
        if args.out:
            images = [
                {"truth": readable(true), "prediction": readable(predicted), "thresholds": _plain(matchings)}
                for (true, predicted), matchings in zip(pairs, compared, strict=True)
            ]
            content = {"images": len(pairs), "thresholds": _plain(all_images), "per_image": images}
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except (ValueError, OSError, MemoryError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    return 0


def compare_files(truth: Path, prediction: Path) -> list[Matching]:
    """The matching of two label maps at each threshold. Raises ImageError."""
    true, predicted = read_label_map(truth), read_label_map(prediction)
    if true.shape != predicted.shape:
        (height, width), (true_height, true_width) = predicted.shape, true.shape
        size = f"{width} x {height} pixels, but {readable(truth)} {true_width} x {true_height}"
        raise ImageError(prediction, f"has {size}; both must be of one image, in its size")
    return compare_label_maps(true, predicted)


def format_matchings(matchings: Sequence[Matching], images: int) -> str:
    """A table, a line for each threshold."""
    first = matchings[0]
    objects = f"{plural(first.tp + first.fn, 'true object')}, {first.tp + first.fp} predicted"
    titles = [TITLES.get(name, name) for name in FRACTIONS]
    lines = [f"{plural(images, 'image')}, {objects}", "  IoU      tp      fp      fn  " + "  ".join(titles)]
    for matching in matchings:
        counts = "".join(f"{count:8d}" for count in (matching.tp, matching.fp, matching.fn))
        values = (getattr(matching, name) for name in FRACTIONS)
        shown = ("-" if math.isnan(value) else f"{value:.3f}" for value in values)
        columns = "  ".join(f"{value:>{len(title)}s}" for value, title in zip(shown, titles, strict=True))
        lines.append(f"{matching.threshold:5.2f}{counts}  {columns}")
    return "\n".join(lines)


def _plain(matchings: Sequence[Matching]) -> list[dict[str, Any]]:
    """For JSON."""
    counts = ("threshold", "tp", "fp", "fn")
    return [
        {name: getattr(matching, name) for name in counts}
        | {name: None if math.isnan(value := getattr(matching, name)) else round(value, 5) for name in FRACTIONS}
        for matching in matchings
    ]
