"""Commands about data sets: python -m data COMMAND."""

import argparse
import inspect
import sys
from pathlib import Path

import torch

from data.arguments import add_data_options, read_options
from data.convert import TARGETS, convert_dataset
from data.formats import FORMAT_HELP
from data.inspect.augmentations import augmentation_page
from data.inspect.background_control import control_of_splits
from data.inspect.report import contact_sheet, dataset_report
from data.opening import MAX_SIDE, AnnotatedImages, open_dataset
from data.records import DataError
from data.splits import all_images, train_val_split
from data.synthetic.dataset import IMAGES, LAYOUTS, write_dataset
from maskrcnn.inference.arguments import add_renamed_options, plural

EPILOG = (
    """examples:
  python -m data check data/LISC                      what is in a folder, and what in it cannot be used
  python -m data background-control data/LISC         is the class given away by the slide?
  python -m data augmentations data/LISC --image 3    what training does to an image
  python -m data synthesize smears --images 250       a data set to try everything on

python -m data COMMAND --help explains the options of a command. PATH is a folder as for train.py --data, in one
of these formats, which is recognised by looking:
"""
    + FORMAT_HELP
)


def parse_arguments() -> argparse.Namespace:
    """The arguments; `run` is the function of the command."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m data", description=__doc__, epilog=EPILOG, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (add_arguments, run, summary) in COMMANDS.items():
        description = inspect.getdoc(run)
        command = commands.add_parser(
            name, help=summary, description=description, formatter_class=raw, allow_abbrev=False
        )
        add_arguments(command)
        command.set_defaults(run=run)
    return parser.parse_args()


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("path", type=Path, metavar="PATH", help="folder of images and annotations, in any of the formats")
    add(
        "--contact-sheet",
        type=Path,
        default=Path("contact-sheet.png"),
        metavar="FILE",
        help="the figure to write (default: %(default)s)",
    )
    add_data_options(parser)
    renamed = {"--sheet": "--contact-sheet", "--target": "--compartment (whole-cell or nucleus)"}
    add_renamed_options(parser, renamed)
    parser.epilog = """examples:
  python -m data check data/LISC
  python -m data check data/LISC --compartment nucleus --contact-sheet nuclei.png"""


def check(args: argparse.Namespace) -> None:
    """Read every image and mask of a folder, report what it contains, and draw a contact sheet with outlined cells."""
    check_figure(args.contact_sheet)
    images = open_as_told(args, args.path)
    try:
        splits = train_val_split(images)
    except DataError as error:  # too few to divide, but not too few to look at
        print(error)
        splits = all_images(images)
    print(dataset_report(splits), flush=True)
    contact_sheet(splits).savefig(args.contact_sheet, dpi=80)
    print(f"contact sheet: {args.contact_sheet}")


def check_figure(file: Path) -> None:
    """Raise ValueError, before any long work, for a figure that cannot be written."""
    if file.is_dir():
        raise ValueError(f"{file}: is a folder; give the name of the figure, as {file / 'contact-sheet.png'}")
    if not file.parent.is_dir():
        raise ValueError(f"{file}: there is no folder {file.parent}; create it")


def open_as_told(
    args: argparse.Namespace, path: Path, max_side: int | None = MAX_SIDE, pixels: bool = True
) -> AnnotatedImages:
    """The data set in a folder, read as the options of `add_data_options` say."""
    return open_dataset(path, read_options(args, max_side=max_side), pixels=pixels)


def add_background_control_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("path", type=Path, metavar="PATH", help="folder of the images")
    add_data_options(parser)
    add("--seed", type=int, default=0, help="of the cross-validation folds (default: %(default)s)")
    parser.epilog = "example: python -m data background-control data/LISC"


def background_control(args: argparse.Namespace) -> None:
    """Predict the class of each image from the colours of its background, with every white cell covered.

    If the result is better than chance, the slides differ between the classes, and a model's accuracy on these data may in
    part be slide recognition."""
    print(control_of_splits(train_val_split(open_as_told(args, args.path)), args.seed))


def add_augmentations_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("path", type=Path, metavar="PATH", help="folder of the images")
    add_data_options(parser)
    add("--image", type=int, default=0, help="number of a training image, from 0 on (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the random changes (default: %(default)s)")
    add(
        "--out",
        type=Path,
        default=Path("augmentations.png"),
        metavar="FILE",
        help="the figure to write (default: %(default)s)",
    )
    parser.epilog = "example: python -m data augmentations data/LISC --image 3 --out augmentations.png"


def augmentations(args: argparse.Namespace) -> None:
    """Draw a training image with each augmentation alone, then with all of them together."""
    check_figure(args.out)
    train = train_val_split(open_as_told(args, args.path)).train
    torch.manual_seed(args.seed)
    donors = [train[i] for i in torch.randint(len(train), (8,)).tolist()]
    index = args.image % len(train)
    augmentation_page(train[index], donors, train.class_names).savefig(args.out, dpi=70)
    print(f"augmentations of {train.records[index].image}: {args.out}")


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("path", type=Path, metavar="PATH", help="folder of images and annotations, in any of the formats")
    add("out", type=Path, metavar="OUT", help="new or empty folder to write to, outside of PATH")
    add("--to", choices=TARGETS, required=True, help="the format to write")
    add_data_options(parser)
    parser.epilog = "example: python -m data convert via-project smears --to class-folders"


def convert(args: argparse.Namespace) -> None:
    """Write a data set in another format, with its split, its classes and its images as they are.

    Masks of cells that overlap cannot be kept apart in class folders and label maps: there a pixel belongs to the cell that
    comes later. Label maps hold no classes; these are in classes.csv. In names of folders / and the like become _."""
    if args.path.resolve() in (args.out.resolve(), *args.out.resolve().parents):
        raise ValueError(f"{args.out}: is inside of {args.path}, and would be read as part of it; choose another")
    images = open_as_told(args, args.path, max_side=None, pixels=False)
    options = read_options(args, images.dataset.class_names, max_side=None)
    test = open_dataset(args.path, options, test=True, pixels=False) if images.has_test else None
    for line in convert_dataset(images, args.out, args.to, test):
        print(line)


def add_synthesize_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="new folder to write to")
    add("--images", type=int, default=IMAGES, help="number of images (default: %(default)s)")
    add("--seed", type=int, default=0, help="of everything random (default: %(default)s)")
    add("--layout", choices=LAYOUTS, default="lisc", help="LISC's folders or the tutorial's (default: %(default)s)")
    add(
        "--zoom",
        type=float,
        nargs=2,
        default=(1.0, 1.0),
        metavar=("LOW", "HIGH"),
        help="magnify each image by a factor between these, relative to LISC's 6 pixels per micrometre (default: 1 1)",
    )
    add(
        "--val-fraction",
        type=float,
        default=0.2,
        metavar="FRACTION",
        help="of the images, for validation; wbc only (default: %(default)s)",
    )
    parser.epilog = """examples:
  python -m data synthesize lisc --images 250 --seed 1   folders, names, sizes and grey codes of LISC as unzipped
  python -m data synthesize smears --layout wbc          the tutorial's: train|val/image|mask/<Class>/*.png
  python -m data synthesize near --zoom 1 3              cells up to three times as large, as from another microscope

Image k depends on the seed and k alone: a set of 500 images begins with the set of 240."""


def synthesize(args: argparse.Namespace) -> None:
    """Draw artificial stained smears with exact masks of their white cells."""
    zoom = tuple(args.zoom)
    write_dataset(args.out, args.images, args.seed, args.layout, val_fraction=args.val_fraction, zoom=zoom)
    print(f"{plural(args.images, 'image')} in {args.out}")


# name: (adds the arguments, runs the command, help)
COMMANDS = {
    "check": (add_check_arguments, check, "report what a folder contains, draw a contact sheet"),
    "background-control": (
        add_background_control_arguments,
        background_control,
        "predict classes from backgrounds alone",
    ),
    "augmentations": (add_augmentations_arguments, augmentations, "draw what training does to an image"),
    "convert": (add_convert_arguments, convert, "write a data set in another format"),
    "synthesize": (add_synthesize_arguments, synthesize, "write a set of synthetic smears"),
}


def main() -> int:
    args = parse_arguments()
    try:
        args.run(args)
    except (ValueError, OSError) as error:
        print(f"data {args.command}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
