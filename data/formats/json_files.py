"""JSON as annotation tools write it, perhaps cut short or edited by hand, and plain words for what is wrong with it."""

import json
from pathlib import Path
from typing import Any

from data.records import DataError

# What content of another kind than expected raises: a number for a list, a text for a number, a name that is not there.
MALFORMED = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError)


def reason_of(error: Exception) -> str:
    """One of MALFORMED in words."""
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return str(error) if isinstance(error, ValueError) else f"not as expected ({error})"


def read_json(path: Path) -> Any:
    """Raises DataError, naming the file, if it is not JSON."""
    try:
        return json.loads(path.read_bytes())  # of bytes: it recognises the Unicode encodings and skips a BOM
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); export it again") from error


def peek_json(path: Path, size: int = 4096) -> str:
    """The beginning of a file, to see what it could be without reading all of it."""
    try:
        with path.open("rb") as file:
            start = file.read(size)
        return start.decode(json.detect_encoding(start), errors="replace")
    except OSError:
        return ""


def objects(content: Any, what: str) -> list[dict[str, Any]]:
    """The content, if it is a list of JSON objects; else raises ValueError, naming the entry. what: its name there."""
    if not isinstance(content, list):
        raise ValueError(f"{what} is not a list")
    for number, entry in enumerate(content):
        if not isinstance(entry, dict):
            raise ValueError(f"{what}: entry {number} is not an object in curly brackets")
    return content
