"""Files that are whole or not there: whatever fails, whenever the program is killed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskrcnn.durable import replacing, write_text

ROOT = Path(__file__).parents[1]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(path, error):
    with replacing(path, path.with_name("previous")) as partial:
        partial.write_text("half")
        raise error


def test_a_file_is_replaced_and_the_one_before_is_kept(tmp_path):
    path, previous = tmp_path / "last.pt", tmp_path / "previous.pt"
    for content in ("one", "two", "three"):
        with replacing(path, previous) as partial:
            partial.write_text(content)
    assert (path.read_text(), previous.read_text()) == ("three", "two")
    assert names(tmp_path) == ["last.pt", "previous.pt"]


def test_without_second_names_of_files_the_one_before_is_kept_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("FAT has no links")

    monkeypatch.setattr(os, "link", refuse)
    test_a_file_is_replaced_and_the_one_before_is_kept(tmp_path)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")])
def test_what_cannot_be_written_is_named_and_stays_as_it_was(tmp_path, error):
    path = tmp_path / "last.pt"
    path.write_text("before")
    with pytest.raises(OSError, match=rf"last\.pt cannot be written \(.*{error.args[-1]}.*\); is the disk full"):
        write_half(path, error)
    assert path.read_text() == "before"
    assert names(tmp_path) == ["last.pt"]


def test_a_folder_that_vanished_is_named(tmp_path):
    with pytest.raises(OSError, match=re.escape(f"{tmp_path / 'gone' / 'log.jsonl'} cannot be written (No such file")):
        write_text(tmp_path / "gone" / "log.jsonl", "x")


def test_ctrl_c_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        write_half(path, KeyboardInterrupt())
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a"]


WRITER = """
import sys
from pathlib import Path
from maskrcnn.durable import replacing
path = Path(sys.argv[1])
for number in range(10**9):
    with replacing(path, path.with_name("previous")) as partial:
        partial.write_text(f"{number} " * 100_000)
    print(number, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    path = tmp_path / "last"
    for k in range(5):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            time.sleep(0.003 * k)
            process.send_signal(signal.SIGKILL)
            done = process.stdout.read().split()
        numbers = path.read_text().split()
        assert len(numbers) == 100_000
        assert len(set(numbers)) == 1
        assert int(numbers[0]) >= int(done[-1] if done else 0)  # what was said to be written is there
    assert len(set((tmp_path / "previous").read_text().split())) == 1
