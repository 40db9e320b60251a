"""Settings as a command line gives them: NAME=VALUE, and shares."""

import argparse
import ast
import dataclasses
import difflib
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


def parse_settings(texts: Iterable[str], *kinds: Any) -> list[dict[str, Any]]:
    """NAME=VALUE, values as Python writes them, or plain text where a text is asked for.

    kinds: dataclass instances whose fields may be set; one dict is returned for each. Raises ValueError for a name that none
    of them has, and for a value of another type than is there.
    """
    found: list[dict[str, Any]] = [{} for _ in kinds]
    known = {field.name: k for k, kind in enumerate(kinds) for field in dataclasses.fields(kind)}
    for text in texts:
        name, equals, written = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: write NAME=VALUE, such as --set roi_batch=64")
        if name not in known:
            near = difflib.get_close_matches(name, known)
            raise ValueError(f"--set {text}: there is no {name}{f'; {near[0]}?' if near else ''}")
        k = known[name]
        usual = getattr(kinds[k], name)
        value = _python(written)
        if type(value) is int and type(usual) is float:
            value = float(value)
        if type(value) is not type(usual):
            raise ValueError(f"--set {text}: {written} is not of the type of {usual!r}, which it usually is")
        found[k][name] = value
    return found


def _python(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
