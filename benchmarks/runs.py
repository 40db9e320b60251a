"""Training runs as a user starts them, for benchmarks that compare results of training."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COMMAND = "command.json"  # in a run folder: with which arguments it was started


def train(out: Path, *arguments: object, threads: int | None = None) -> None:
    """train.py with these arguments, on so many threads (default: all). A run that was interrupted goes on, one that is
    finished is left as it is. Raises ValueError for a folder with a run of other arguments, CalledProcessError if it fails.
    """
    given, resume = [str(argument) for argument in arguments], (out / "last.pt").exists()
    if (out / COMMAND).exists() and json.loads((out / COMMAND).read_text(encoding="utf-8")) != given:
        raise ValueError(f"{out} holds a run with other arguments; choose another --out, or delete it")
    if (out / "report.html").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / COMMAND).write_text(json.dumps(given), encoding="utf-8")
    started = ["--resume", str(out)] if resume else ["--out", str(out), *given]
    command = [sys.executable, str(ROOT / "train.py"), *started]
    print(shlex.join(command), flush=True)
    limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    subprocess.run(command, check=True, env=os.environ | limit)


def last_line(run: Path) -> dict[str, Any]:
    """What log.jsonl says of a run's last validation, which nothing picked."""
    line: dict[str, Any] = json.loads((run / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return line
