"""Training runs, started as a user starts them, for experiments that compare their results."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = "command.json"  # in a run folder: the arguments that it was started with


def train(out: Path, *arguments: object, threads: int | None = None) -> None:
    """Run train.py with these arguments, on so many threads (default: all). An interrupted run is resumed, a finished one is
    left as it is. Raises ValueError for a folder with a run of other arguments, CalledProcessError if train.py fails.
    """
    given, resume = [str(argument) for argument in arguments], (out / "last.pt").exists()
    if (out / COMMAND).exists() and json.loads((out / COMMAND).read_text(encoding="utf-8")) != given:
        raise ValueError(f"{out} contains a run with other arguments; choose another --out, or delete it")
    if (out / "report.html").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / COMMAND).write_text(json.dumps(given), encoding="utf-8")
    arguments_now = ["--resume", str(out)] if resume else ["--out", str(out), *given]
    command = [sys.executable, str(ROOT / "train.py"), *arguments_now]
    print(shlex.join(command), flush=True)
    limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    subprocess.run(command, check=True, env=os.environ | limit)


def last_line(run: Path) -> dict[str, Any]:
    """The entry of a run's last validation in log.jsonl, which was not selected by its result."""
    line: dict[str, Any] = json.loads((run / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return line
