"""Signals and readers that leave, in commands of a few lines."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maskrcnn.interrupts import Interrupts

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_first_signal_is_raised_and_later_ones_are_ignored(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    signal.signal(number, signal.SIG_DFL)
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        for _ in range(5):
            os.kill(os.getpid(), number)
    assert interrupts.code == 128 + number
    assert signal.getsignal(number) == signal.SIG_DFL
    signal.signal(number, before)


def test_work_that_must_not_be_cut_in_two_is_done_first():
    done = []
    with Interrupts() as interrupts:
        with interrupts.held():
            done.append(1)
        with pytest.raises(KeyboardInterrupt), interrupts.held():  # noqa: PT012
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(2)
    assert done == [1, 2]


def test_an_error_of_the_work_itself_is_not_hidden():
    with Interrupts() as interrupts, pytest.raises(OSError, match="disk full"), interrupts.held():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        raise OSError("disk full")


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGHUP)
    signal.signal(signal.SIGHUP, before)
    assert interrupts.received is None


TALK = """
from pathlib import Path
from maskrcnn.interrupts import output_may_end
with output_may_end():
    for number in range(100_000):
        print(number)
    print("done", flush=True)
Path("done").touch()
"""


def test_a_reader_that_leaves_does_not_end_the_work(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TALK]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert (tmp_path / "done").exists()
