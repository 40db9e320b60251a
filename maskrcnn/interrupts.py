"""Ctrl-C, SIGTERM and SIGHUP end a command in order, however often they come; so does a reader of its output that leaves."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # of Ctrl-C, of kill and batch systems, of a terminal that closes


class Interrupts:
    """While it is entered, the first signal raises KeyboardInterrupt: at once, or, where work must not be cut in two, behind
    it. Later signals are ignored, so that nothing disturbs what has to be saved. Only the main thread can be interrupted.

        with Interrupts() as interrupts:
            ...                           # may be interrupted anywhere
            with interrupts.held():
                ...                       # only behind this
    """

    def __init__(self) -> None:
        self.received: int | None = None  # the number of the first signal
        self._holding = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
                if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGTERM:  # as nohup wants it
                    self._handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @property
    def code(self) -> int:
        """The exit code of a command that a signal ended."""
        return 128 + (self.received or signal.SIGINT)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
            if not self._holding:
                raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Work that is done to its end before KeyboardInterrupt is raised. An error of its own is raised instead."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self.received is not None:
            raise KeyboardInterrupt


class _UntilClosed:
    """A text stream that swallows what its reader does not want any more (`| head`)."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(BrokenPipeError):
            return self.stream.write(text)
        self._leave()
        return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except BrokenPipeError:
            self._leave()

    def _leave(self) -> None:
        """Into nothing from now on; also what is still in the buffer, which Python would try to write at its exit."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def output_may_end() -> Iterator[None]:
    """Work goes on to its end if what it prints is read no further."""
    before = sys.stdout
    sys.stdout = _UntilClosed(before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = before
