"""The options about data that train.py, evaluate.py and python -m data share."""

import argparse
from collections.abc import Sequence

from data.classes import classes_of_model, parse_classes
from data.dataset import COMPARTMENTS
from data.formats import FORMAT_NAMES
from data.mask_kinds import KIND_HELP, KINDS
from data.opening import MAX_SIDE, ReadOptions

AUTO = "auto"  # recognised by looking, also where a run was told otherwise

Parser = argparse.ArgumentParser | argparse._ArgumentGroup


def add_data_options(parser: Parser, of_a_run: bool = False) -> None:
    """--format, --classes, --mask-kind, --compartment, --strict. of_a_run: whether the defaults are those of a run."""
    add = parser.add_argument
    default = "that of the run" if of_a_run else "auto, recognised by looking"
    add("--format", choices=(AUTO, *FORMAT_NAMES), help=f"how the folder is laid out (default: {default})")
    add(
        "--mask-kind",
        choices=(AUTO, *KINDS),
        help=f"what the values of the masks mean. {'. '.join(f'{kind}: {KIND_HELP[kind]}' for kind in KINDS)}. (default: "
        f"{default})",
    )
    add(
        "--classes",
        type=_classes,
        metavar="a,b,old=b",
        help="the classes, in this order; old=new renames or merges; what is not named is dropped (default: those of the "
        f"{'run' if of_a_run else 'data'})",
    )
    compartment = None if of_a_run else "whole-cell"
    add(
        "--compartment",
        choices=COMPARTMENTS,
        default=compartment,
        help=f"what to segment (default: {default if of_a_run else compartment})",
    )
    if not of_a_run:
        add("--strict", action="store_true", help="stop if any file cannot be used, instead of leaving it out")


def read_options(args: argparse.Namespace, known: Sequence[str] = (), max_side: int | None = MAX_SIDE) -> ReadOptions:
    """What the options say. known: the classes of a model, if there is one. Raises ValueError for a class that it lacks."""
    classes = parse_classes(args.classes) if args.classes else None
    classes = classes_of_model(known, args.classes) if known else classes
    format_name, mask_kind = (None if value == AUTO else value for value in (args.format, args.mask_kind))
    return ReadOptions(args.compartment, getattr(args, "strict", False), classes, format_name, mask_kind, max_side)


def _classes(text: str) -> str:
    """The text itself, which is kept in the checkpoint, if it can be parsed."""
    try:
        parse_classes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--classes ")) from error
    return text
