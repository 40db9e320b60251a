"""What a run needs to continue where it stopped, beside the weights that are validated."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from maskrcnn.model import MaskRCNN
from maskrcnn.training.schedule import RunClock


def resume_state(
    model: MaskRCNN, ema: AveragedModel | None, optimizer: torch.optim.Optimizer, clock: RunClock
) -> dict[str, Any]:
    """The entries of last.pt that `restore` reads."""
    state = {"optimizer": optimizer.state_dict(), "step": clock.step, "seconds": clock.seconds}
    state["validation_seconds"] = clock.validation_seconds
    if ema:
        state |= {"weights": model.state_dict(), "averages": int(ema.n_averaged)}
    return state


def restore(
    saved: Mapping[str, Any],
    model: MaskRCNN,
    ema: AveragedModel | None,
    optimizer: torch.optim.Optimizer,
    clock: RunClock,
) -> None:
    """Continue from a `resume_state`. The model, and the copy of it in ema, have the weights that were validated."""
    optimizer.load_state_dict(saved["optimizer"])
    clock.step, clock.seconds_before_resume = saved["step"], saved["seconds"]
    clock.validation_seconds = saved["validation_seconds"]
    if ema:
        ema.n_averaged.fill_(saved["averages"])
        model.load_state_dict(saved["weights"])
