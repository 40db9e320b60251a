"""Files that are whole or not there, whatever ends the program: written beside, brought to the disk, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """Yield where to write what `path` is to be. Afterwards it is, and what it was before is `previous`, if given; if
    anything fails, `path` is as it was and nothing else stays. Raises OSError that names the path and the reason."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        _flush(partial)
        if previous and path.exists():
            _keep(path, previous)
        partial.replace(path)
        if os.name == "posix":  # a folder cannot be opened in Windows
            _flush(path.parent)
    except (OSError, RuntimeError) as error:  # a RuntimeError of torch.save hides the system's reason
        _discard(partial)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise OSError(
            f"{path} cannot be written ({reason}); is the disk full, or is the folder gone or read-only?"
        ) from error
    except BaseException:
        _discard(partial)
        raise


@contextlib.contextmanager
def replacing_text(path: Path) -> Iterator[IO[str]]:
    """Yield a file to write UTF-8 to, which takes the place of `path` as in `replacing`."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        yield file


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 in place of `path`, as in `replacing`."""
    with replacing_text(path) as file:
        file.write(text)


def _flush(path: Path) -> None:
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _keep(path: Path, previous: Path) -> None:
    """A second name of the same file, so that at no time it has none. Where there are no such names, it is moved."""
    link = previous.with_name(f"{previous.name}.partial")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
        link.replace(previous)
    except OSError:
        path.replace(previous)


def _discard(partial: Path) -> None:
    with contextlib.suppress(OSError):
        partial.unlink(missing_ok=True)
