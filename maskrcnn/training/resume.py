"""What a run needs to go on exactly where it stopped, beside the weights that are validated."""

import dataclasses
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from maskrcnn.evaluation.validate import selection_metric
from maskrcnn.model import MaskRCNN
from maskrcnn.training.schedule import RunClock
from maskrcnn.weights import load_checkpoint

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


@dataclasses.dataclass
class Block:
    """What is trained between two validations: epochs of one phase.

    phase: counted from the last one, which is -1, as a resumed run may have fewer. first_epoch: counted from 0 over the
    whole run. batches: how many of the block were shown. taken: with how many of them a step was taken. sums: of each loss
    over these steps. began: when, in seconds of the run. waited: of these, how many for images.
    """

    phase: int
    pretraining: bool
    first_epoch: int
    epochs: int
    began: float
    batches: int = 0
    taken: int = 0
    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    waited: float = 0.0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """The losses of a step."""
        self.taken += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.item()

    @property
    def means(self) -> dict[str, float]:
        """Of each loss over the steps."""
        return {name: value / self.taken for name, value in self.sums.items()} if self.taken else {}


def resume_state(
    model: MaskRCNN,
    ema: AveragedModel | None,
    optimizer: torch.optim.Optimizer,
    clock: RunClock,
    block: Block | None,
) -> dict[str, Any]:
    """The entries of last.pt that `restore` reads. There is no state of random numbers: they depend on the seed, the step
    and the place in the epoch (see `stream_seed`)."""
    state = {"optimizer": optimizer.state_dict(), "step": clock.step, "seconds": clock.seconds}
    state |= {"validation_seconds": clock.validation_seconds, "block": dataclasses.asdict(block) if block else None}
    if ema:
        state |= {"weights": model.state_dict(), "averages": int(ema.n_averaged)}
    return state


def restore(
    saved: Mapping[str, Any],
    model: MaskRCNN,
    ema: AveragedModel | None,
    optimizer: torch.optim.Optimizer,
    clock: RunClock,
) -> Block | None:
    """Continue from a `resume_state`. The model, and the copy of it in ema, have the weights that were validated. Returns
    the block that was being trained."""
    optimizer.load_state_dict(saved["optimizer"])
    clock.restart(saved["step"], saved["seconds"])
    clock.validation_seconds = saved["validation_seconds"]
    if ema:
        ema.n_averaged.fill_(saved["averages"])
        model.load_state_dict(saved["weights"])
    return Block(**saved["block"]) if saved["block"] else None


def read_last(folder: Path) -> tuple[MaskRCNN, dict[str, Any]]:
    """The model and the other entries of a run's last checkpoint, or, if that is damaged, of the one before. Raises
    ValueError for a folder without a run that can be resumed."""
    if folder.is_file():
        raise ValueError(f"--resume {folder}: give the run folder, {shlex.quote(str(folder.parent))}")
    for rest in folder.glob("*.partial"):  # of a run that was killed while it wrote
        rest.unlink(missing_ok=True)
    path = folder / LAST
    try:
        model, saved = load_checkpoint(path)
    except ValueError as error:
        path = folder / PREVIOUS
        if not path.exists():
            raise
        print(f"warning: {error}; continuing from the checkpoint before it, {path}", file=sys.stderr)
        model, saved = load_checkpoint(path)
    if "block" not in saved or "head_lr_factor" not in saved.get("arguments", {}):
        raise ValueError(
            f"{path}: written by another version or another program, and cannot be resumed; start a new run with --weights "
            f"{folder}"
        )
    return model, saved


def best_so_far(folder: Path) -> float | None:
    """The `selection_metric` of the best checkpoint, which may be of a validation that the last one does not know."""
    if not (folder / BEST).exists():
        return None
    return selection_metric(load_checkpoint(folder / BEST)[1]["history"][-1])
