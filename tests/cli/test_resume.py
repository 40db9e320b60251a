"""train.py, killed and asked to stop at any moment: nothing is lost, and no word too many is said."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from maskrcnn.weights import load_checkpoint

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor these signals")
TINY = ["--preset", "small", "--pretrain-fraction", 0, "--ema-decay", 0.9, "--save-every", 1e-4]
for setting in ("min_size=64", "max_size=96", "fpn_channels=32", "box_head_dim=16", "mask_head_channels=32"):
    TINY += ["--override", setting]


SERVER = """
import json, os, runpy, sys
script = sys.argv[1]
runpy.run_path(script)  # all that it imports
for line in sys.stdin:
    request = json.loads(line)
    if isinstance(request, int):
        print(os.waitstatus_to_exitcode(os.waitpid(request, 0)[1]), flush=True)
        continue
    if pid := os.fork():
        print(pid, flush=True)
        continue
    os.setsid()
    log, *sys.argv[1:] = request
    for number in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    try:
        code = runpy.run_path(script)["main"]()
    except BaseException as error:  # as Python does at the end of a program
        print("Traceback", repr(error))
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
"""


class Commands:
    """train.py in processes that a server forks, which has imported everything: so each is quick."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", SERVER, str(ROOT / "train.py")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.server = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)

    def ask(self, request: object) -> int:
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def start(self, log: Path, *arguments: object) -> int:
        """Returns the number of the process."""
        log.write_text("")
        return self.ask([str(log), *map(str, arguments)])

    def run(self, log: Path, *arguments: object) -> int:
        """Returns the exit code."""
        return self.ask(self.start(log, *arguments))


@pytest.fixture(scope="module")
def commands():
    made = Commands()
    yield made
    made.server.stdin.close()
    made.server.wait()


def all_gone(session: int) -> bool:
    """Whether the worker processes of a command end with it, within some seconds."""
    for _ in range(100):
        stats = [
            path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()
        ]
        if not any(int(fields[3]) == session for fields in stats):
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def whole(smears, tmp_path_factory, commands):
    """A run that was left alone, and how long it took."""
    folder, begun = tmp_path_factory.mktemp("whole"), time.monotonic()
    assert commands.run(folder / "log.txt", "--data", smears, "--epochs", 4, "--out", folder / "run", *TINY) == 0
    return folder / "run", time.monotonic() - begun


def without_times(log):
    return [
        {name: value for name, value in json.loads(line).items() if name not in ("minutes", "wait_fraction")}
        for line in log.read_text().splitlines()
    ]


def assert_the_same_run(actual, expected):
    mine, theirs = (torch.load(folder / "last.pt", weights_only=True) for folder in (actual, expected))
    for entry in ("model", "weights"):  # the average that is validated, and what is trained
        assert all(torch.equal(mine[entry][name], theirs[entry][name]) for name in theirs[entry])
    moments = zip(mine["optimizer"]["state"].values(), theirs["optimizer"]["state"].values(), strict=True)
    assert all(torch.equal(a[name], b[name]) for a, b in moments for name in b)
    assert without_times(actual / "log.jsonl") == without_times(expected / "log.jsonl")
    best = [load_checkpoint(folder / "best.pt")[0].state_dict() for folder in (actual, expected)]
    assert all(map(torch.equal, best[0].values(), best[1].values()))


SIGNALS = [signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGKILL]


def test_a_run_that_is_killed_and_stopped_at_random_moments_ends_as_if_it_had_been_left_alone(
    whole, smears, commands, tmp_path
):
    (expected, seconds), run, log = whole, tmp_path / "run", tmp_path / "log.txt"
    moments = random.Random(int(os.environ.get("KILL_SEED", "0")))
    for number in SIGNALS * int(os.environ.get("KILL_ROUNDS", "1")):
        can_go_on = (run / "last.pt").exists()
        pid = commands.start(
            log, *(["--resume", run] if can_go_on else ["--data", smears, "--epochs", 4, "--out", run, *TINY])
        )
        time.sleep(moments.uniform(0.02, 0.4) * seconds)
        for _ in range(5 if number == signal.SIGINT else 1):  # an impatient user
            os.kill(pid, number)
            time.sleep(0.01)
        code, said = commands.ask(pid), log.read_text()
        assert "Traceback" not in said
        assert all_gone(pid)
        if code == 0:
            break
        assert code in (-number, 128 + number)
        if number != signal.SIGKILL and code > 0:
            assert said.rstrip().splitlines()[-1] in (
                "stopped before training began",
                f"stopped; continue with: python train.py --resume {run}",
                f"stopped after the training; python train.py --resume {run} writes the report",
            )
            assert not list(run.glob("*.partial"))
    if code != 0:
        assert commands.run(log, "--resume", run) == 0
    assert not list(run.glob("*.partial"))
    assert_the_same_run(run, expected)


def test_what_a_kill_left_half_written_is_removed_and_a_damaged_checkpoint_replaced_by_the_one_before(
    whole, commands, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(whole[0], run)
    for name in ("last.pt.partial", "best.pt.partial", "log.jsonl.partial"):
        (run / name).write_bytes(b"half")
    content = bytearray((run / "last.pt").read_bytes())
    content[len(content) // 2] ^= 4
    (run / "last.pt").write_bytes(content)
    assert commands.run(tmp_path / "log.txt", "--resume", run) == 0
    assert "last.pt: damaged on the disk" in (tmp_path / "log.txt").read_text()
    assert not list(run.glob("*.partial"))
    assert_the_same_run(run, whole[0])


@pytest.mark.parametrize("script", ["train.py", "evaluate.py", "predict.py"])
def test_ctrl_c_during_the_imports_says_nothing(script, tmp_path):
    with subprocess.Popen([sys.executable, ROOT / script], cwd=tmp_path, stderr=subprocess.PIPE) as process:
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGINT
    assert list(tmp_path.iterdir()) == []
