"""Training runs as a user starts them, for benchmarks that compare results of training."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def train(out: Path, *arguments: object) -> None:
    """train.py with these arguments. Raises CalledProcessError if it fails."""
    command = [sys.executable, str(ROOT / "train.py"), "--out", str(out), *map(str, arguments)]
    print(" ".join(command), flush=True)
    subprocess.run(command, check=True)
