"""What the command lines share: types of arguments, options of several commands, and words of messages."""

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from maskrcnn.inference.image_io import readable
from maskrcnn.weights import source_of


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1")
    return value


def fraction_below_one(text: str) -> float:
    """A number from 0 to below 1."""
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to below 1")
    return value


def positive_fraction(text: str) -> float:
    """A number above 0, up to 1."""
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0, up to 1")
    return value


def positive(text: str) -> float:
    """A finite number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return value


def positive_int(text: str) -> int:
    """A whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more, got {text}")
    return int(text)


def natural(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of 0 or more, got {text}")
    return int(text)


def plural(count: int, noun: str) -> str:
    """ "1 cell", "2 cells" """
    return f"{count} {noun}" + "s" * (count != 1)


def some(names: Sequence[object], most: int) -> str:
    """ "a, b, ...": the first of some files or names, as they can be printed."""
    return ", ".join(readable(str(name)) for name in names[:most]) + ", ..." * (len(names) > most)


def add_renamed_options(parser: argparse.ArgumentParser, renamed: Mapping[str, str]) -> None:
    """Old options that --help does not show and that end with an error which names the new one. renamed: old -> new."""
    for old, new in renamed.items():
        parser.add_argument(old, action=_Renamed, nargs="*", default=argparse.SUPPRESS, help=argparse.SUPPRESS, new=new)


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """The option --checkpoint."""
    parser.add_argument(
        "--checkpoint",
        type=source_of,
        required=True,
        metavar="RUN|FILE|coco",
        help="a run folder or a checkpoint of train.py; a Mask R-CNN of torchvision (.pth), detectron2 (.pkl) or Matterport "
        "(.h5); or coco: torchvision's published one, which is fetched once and knows the 80 classes of COCO",
    )


def add_colours(parser: argparse.ArgumentParser) -> None:
    """The option --colours."""
    parser.add_argument(
        "--colours",
        choices=("adapt", "keep"),
        default="adapt",
        help="images in colours far from those of the training images: adapt: show them to the model with the white "
        "balance and brightness of training; keep: as they are (default: %(default)s)",
    )


def add_scale(parser: argparse.ArgumentParser) -> None:
    """The options --diameter and --scale: how large cells are in the images."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--diameter",
        type=_diameter,
        metavar="PIXELS|auto",
        help="how large the median white cell is in the images, if they were taken at another magnification than the "
        "training images, or resized; auto: estimated from a first pass at several scales, once for all images of a call. A "
        "warning follows when the cells found are much smaller or larger than those of training; a wrong size that still "
        "lies within the range of training goes unnoticed, and names suffer",
    )
    group.add_argument(
        "--scale",
        type=positive,
        metavar="FACTOR",
        help="the same, said otherwise: cells are FACTOR times as large as in the training images, in pixels (default: 1)",
    )


def _diameter(text: str) -> float | Literal["auto"]:
    return "auto" if text == "auto" else positive(text)


class _Renamed(argparse.Action):
    def __init__(self, *args: Any, new: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.new = new

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        parser.error(f"{option_string} is now called {self.new}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
