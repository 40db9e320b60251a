"""--override NAME=VALUE: other values for the fields of a dataclass, checked against their types."""

import ast
import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any

from maskrcnn.weights.version_0_1 import RENAMED


def parse_overrides(texts: Iterable[str], *schemas: Any) -> list[dict[str, Any]]:
    """NAME=VALUE, with values as Python writes them, or plain text where the field is a string.

    schemas: dataclass instances whose fields may be overridden; one dict is returned for each. Raises ValueError for a name
    that none of them has, and for a value of another type than the default.
    """
    overrides: list[dict[str, Any]] = [{} for _ in schemas]
    owner = {field.name: k for k, schema in enumerate(schemas) for field in dataclasses.fields(schema)}
    for text in texts:
        name, equals, written = text.partition("=")
        if not equals:
            raise ValueError(f"--override {text}: write NAME=VALUE, such as --override min_size=256")
        if name in RENAMED:
            raise ValueError(f"--override {text}: {name} is now called {RENAMED[name]}")
        if name not in owner:
            similar = difflib.get_close_matches(name, owner)
            raise ValueError(f"--override {text}: there is no {name}{f'; {similar[0]}?' if similar else ''}")
        default = getattr(schemas[owner[name]], name)
        value = _python_value(written)
        if type(value) is int and type(default) is float:
            value = float(value)
        if type(value) is not type(default):
            raise ValueError(f"--override {text}: expected {_article(type(default).__name__)} such as {default!r}")
        overrides[owner[name]][name] = value
    return overrides


def _python_value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
