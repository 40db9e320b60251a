"""Training runs as a user starts them, for benchmarks that compare results of training."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def train(out: Path, *arguments: object, threads: int | None = None) -> None:
    """train.py with these arguments, on so many threads (default: all). Raises CalledProcessError if it fails."""
    command = [sys.executable, str(ROOT / "train.py"), "--out", str(out), *map(str, arguments)]
    print(" ".join(command), flush=True)
    limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    subprocess.run(command, check=True, env=os.environ | limit)
