"""The folder of a training run: where it is, and what is written into it beside checkpoints and pictures.

config.json says how it began, log.jsonl has a line for each validation, curves.png draws them.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskrcnn.evaluation.validate import MEASURES
from maskrcnn.model import MaskRCNN
from maskrcnn.run_pictures import curves

LOG = "log.jsonl"


def choose(out: Path | None, data: str) -> Path:
    """out, or without one the first of runs/NAME, runs/NAME-2, ... that is not there, NAME being that of the data's folder.

    Raises ValueError for a folder that holds a run.
    """
    if out:
        if any(
            (out / name).exists() for name in (LOG, "last.pt", "best.pt")
        ):  # last.pt alone: stopped in its first epoch
            resume = f"--resume {shlex.quote(str(out))}"
            raise ValueError(f"{out} holds a run already; choose another --out, or go on with {resume}")
        return out
    name, number = Path("runs") / Path(data).resolve().name, 1
    folder = name
    while folder.exists():
        number += 1
        folder = name.with_name(f"{name.name}-{number}")
    return folder


def writable(folder: Path) -> None:
    """Raises ValueError, naming it, for a folder that cannot be made or written to. Leaves no trace."""
    probe = folder / ".probe"
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
        for place in missing:
            place.rmdir()
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written to ({error.strerror}); choose another --out") from error


def write_config(folder: Path, arguments: Mapping[str, Any], model: MaskRCNN) -> None:
    """Make the folder, and in it config.json: every hyper-parameter of the model, and the arguments of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    description = json.dumps({"arguments": dict(arguments), "model": model.config.to_dict()}, indent=2)
    (folder / "config.json").write_text(description + "\n", encoding="utf-8")


def log_epoch(folder: Path, history: Sequence[dict[str, Any]]) -> str:
    """Write log.jsonl, a line for each of history, and the curves. Returns the last one's figures that matter, as text."""
    line = history[-1]
    (folder / LOG).write_text("".join(json.dumps(entry) + "\n" for entry in history), encoding="utf-8")
    curves(history).savefig(folder / "curves.png", dpi=100)
    train_loss, val_loss = sum(line["train"].values()), sum(line["val"].values())
    measured = [f"{title} AP {line[kind]['ap']:.3f} AP50 {line[kind]['ap50']:.3f}" for kind, title in MEASURES.items()]
    measured.append(f"waited for images {line['waiting']:.1%}")
    start = f"epoch {line['epoch']:3d}  {line['minutes']:5.1f} min  loss {train_loss:.3f} (validation {val_loss:.3f})"
    return "  ".join([start, *measured])
