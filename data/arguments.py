"""The options about data that train.py, evaluate.py and python -m data share."""

import argparse

from data.classes import parse_classes
from data.dataset import COMPARTMENTS
from data.formats import FORMAT_NAMES
from data.mask_kinds import KIND_HELP, KINDS

Parser = argparse.ArgumentParser | argparse._ArgumentGroup


def add_data_options(parser: Parser, of_a_run: bool = False) -> None:
    """--format, --classes, --mask-kind, --compartment, --strict. of_a_run: whether the defaults are those of a run."""
    add = parser.add_argument
    default = "that of the run" if of_a_run else "recognised by looking"
    add("--format", choices=FORMAT_NAMES, help=f"how the folder is laid out (default: {default})")
    add(
        "--mask-kind",
        choices=KINDS,
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


def _classes(text: str) -> str:
    """The text itself, which is kept in the checkpoint, if it can be parsed."""
    try:
        parse_classes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--classes ")) from error
    return text
