"""Settings as a command line gives them: NAME=VALUE, and shares."""

import argparse
import ast
from collections.abc import Iterable
from typing import Any


def share(text: str) -> float:
    """A number from 0 to 1, as the type of an argument."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1")
    return value


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Values as Python writes them; what is not Python is a text. Raises ValueError for one without an =."""
    return dict(_parse(text) for text in texts)


def _parse(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text}: write NAME=VALUE, such as --set roi_batch=64")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
