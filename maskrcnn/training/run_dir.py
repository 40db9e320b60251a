"""The folder of a training run: where it is, and what is written into it beside checkpoints and pictures.

config.json: how the run was started; log.jsonl: a line per validation; curves.png: the same as curves.
"""

import contextlib
import itertools
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskrcnn.durable import replacing, write_text
from maskrcnn.evaluation.validate import METRICS
from maskrcnn.model import MaskRCNN
from maskrcnn.training.plots import plot_curves

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOG, LOCK = "log.jsonl", ".lock"


def new_run_dir(out: Path | None, data: str) -> Path:
    """out, or without one the first of runs/NAME, runs/NAME-2, ... that does not exist, NAME being that of the data folder.
    It is made at once, so that of two runs that start together each has its own.

    Raises ValueError for a folder that contains a run, OSError for one that cannot be made.
    """
    if out:
        # last.pt alone: the run was stopped in its first epoch.
        if any((out / name).exists() for name in (LOG, "last.pt", "best.pt")):
            resume = f"--resume {shlex.quote(str(out))}"
            raise ValueError(f"{out} contains a run already; choose another --out, or continue it with {resume}")
        out.mkdir(parents=True, exist_ok=True)
        return out
    name = Path("runs") / Path(data).resolve().name
    for number in itertools.count(1):
        folder = name if number == 1 else name.with_name(f"{name.name}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    return folder


@contextlib.contextmanager
def claimed(out: Path | None, data: str, resume: Path | None) -> Iterator[Path]:
    """Yield the folder of a run, new (see `new_run_dir`) or resumed, in which no other process can train meanwhile. A new
    folder in which nothing was written is removed. Raises ValueError if another process has it, or as `new_run_dir`."""
    there = out or Path("runs")
    made = [] if resume else [folder for folder in (there, *there.parents) if not folder.exists()]
    folder = resume or new_run_dir(out, data)
    lock = _locked(folder / LOCK) if folder.is_dir() else None
    try:
        yield folder
    finally:
        if lock is not None:
            os.close(lock)
            if not resume and [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
                for empty in (folder, *made):
                    with contextlib.suppress(OSError):
                        empty.rmdir()


def _locked(path: Path) -> int:
    """A file that this process alone has; the system gives it free when the process ends, however it does. Not flock: that
    would also belong to worker processes, which outlive one that was killed by some seconds."""
    number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl:
            fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        raise ValueError(
            f"{path.parent}: another process trains in this folder; wait for its end, or stop it"
        ) from None
    except OSError:  # a file system without locks
        pass
    return number


def write_config(folder: Path, arguments: Mapping[str, Any], model: MaskRCNN) -> None:
    """Write config.json: every hyper-parameter of the model, and the arguments of the run."""
    description = json.dumps({"arguments": dict(arguments), "model": model.config.to_dict()}, indent=2)
    write_text(folder / "config.json", description + "\n")


def write_log(folder: Path, history: Sequence[dict[str, Any]]) -> str:
    """Write log.jsonl, a line per entry of history, and the curves. Returns a summary of the last entry."""
    entry = history[-1]
    write_text(folder / LOG, "".join(json.dumps(line) + "\n" for line in history))
    with replacing(folder / "curves.png") as partial:
        plot_curves(history).savefig(partial, dpi=100, format="png")
    train_loss, val_loss = sum(entry["train"].values()), sum(entry["val"].values())
    summary = [
        f"epoch {entry['epoch']:3d}",
        f"{entry['minutes']:5.1f} min",
        f"loss {train_loss:.3f} (val {val_loss:.3f})",
    ]
    summary += [f"{title} AP {entry[key]['ap']:.3f} AP50 {entry[key]['ap50']:.3f}" for key, title in METRICS.items()]
    summary.append(f"waited for images {entry['wait_fraction']:.1%}")
    return "  ".join(summary)
