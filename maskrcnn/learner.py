"""A model and what goes with it through a training run: optimizer, schedule, the average of its weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel

from maskrcnn.averaging import moving_average
from maskrcnn.model import MaskRCNN
from maskrcnn.schedule import Schedule

WEIGHT_DECAY = 0.05


@dataclasses.dataclass
class Learner:
    """model: the one that learns; averaged: an average of its weights, if one is kept."""

    model: MaskRCNN
    schedule: Schedule
    optimizer: torch.optim.Optimizer
    averaged: AveragedModel | None

    @classmethod
    def of(cls, model: MaskRCNN, schedule: Schedule, average: float = 0.0) -> "Learner":
        """AdamW for all weights that are not frozen. average: see `moving_average`; 0 for none."""
        weights = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=schedule.peak_rate, weight_decay=WEIGHT_DECAY, fused=True)
        return cls(model, schedule, optimizer, moving_average(model, average) if average else None)

    @property
    def best_guess(self) -> MaskRCNN:
        """The model to validate and to keep."""
        return cast(MaskRCNN, self.averaged.module) if self.averaged else self.model

    def state(self) -> dict[str, Any]:
        """What a checkpoint of `best_guess` needs beside its weights, to go on from with `resume`."""
        schedule = self.schedule
        state = {"optimizer": self.optimizer.state_dict(), "step": schedule.step, "seconds": schedule.seconds}
        if self.averaged:
            state |= {"weights": self.model.state_dict(), "averages": int(self.averaged.n_averaged)}
        return state

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`. The model has the weights of the `best_guess` of then."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.step, self.schedule.earlier_seconds = state["step"], state["seconds"]
        if self.averaged:
            self.averaged.n_averaged.fill_(state["averages"])
            self.model.load_state_dict(state["weights"])
