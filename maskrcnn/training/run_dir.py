"""The folder of a training run: where it is, and what is written into it beside checkpoints and pictures.

config.json: how the run was started; log.jsonl: a line per validation; curves.png: the same as curves.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskrcnn.evaluation.validate import METRICS
from maskrcnn.model import MaskRCNN
from maskrcnn.training.plots import plot_curves

LOG = "log.jsonl"


def new_run_dir(out: Path | None, data: str) -> Path:
    """out, or without one the first of runs/NAME, runs/NAME-2, ... that does not exist, NAME being that of the data folder.

    Raises ValueError for a folder that contains a run.
    """
    if out:
        # last.pt alone: the run was stopped in its first epoch.
        if any((out / name).exists() for name in (LOG, "last.pt", "best.pt")):
            resume = f"--resume {shlex.quote(str(out))}"
            raise ValueError(f"{out} contains a run already; choose another --out, or continue it with {resume}")
        return out
    name, number = Path("runs") / Path(data).resolve().name, 1
    folder = name
    while folder.exists():
        number += 1
        folder = name.with_name(f"{name.name}-{number}")
    return folder


def write_config(folder: Path, arguments: Mapping[str, Any], model: MaskRCNN) -> None:
    """Write config.json: every hyper-parameter of the model, and the arguments of the run."""
    description = json.dumps({"arguments": dict(arguments), "model": model.config.to_dict()}, indent=2)
    (folder / "config.json").write_text(description + "\n", encoding="utf-8")


def write_log(folder: Path, history: Sequence[dict[str, Any]]) -> str:
    """Write log.jsonl, a line per entry of history, and the curves. Returns a summary of the last entry."""
    entry = history[-1]
    (folder / LOG).write_text("".join(json.dumps(line) + "\n" for line in history), encoding="utf-8")
    plot_curves(history).savefig(folder / "curves.png", dpi=100)
    train_loss, val_loss = sum(entry["train"].values()), sum(entry["val"].values())
    summary = [
        f"epoch {entry['epoch']:3d}",
        f"{entry['minutes']:5.1f} min",
        f"loss {train_loss:.3f} (val {val_loss:.3f})",
    ]
    summary += [f"{title} AP {entry[key]['ap']:.3f} AP50 {entry[key]['ap50']:.3f}" for key, title in METRICS.items()]
    summary.append(f"waited for images {entry['wait_fraction']:.1%}")
    return "  ".join(summary)
