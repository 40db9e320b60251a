"""A model and what goes with it through a training run: optimizer, schedule, the average of its weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any

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
        model: MaskRCNN = self.averaged.module if self.averaged else self.model
        return model

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs beside the model's weights, for `resume`."""
        average = {"averaged": self.averaged.state_dict()} if self.averaged else {}
        return {
            "optimizer": self.optimizer.state_dict(), "step": self.schedule.step, "seconds": self.schedule.seconds, **average
        }  # fmt: skip

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`; the model has its weights already."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.averaged:
            self.averaged.load_state_dict(state["averaged"])
        self.schedule.step, self.schedule.earlier_seconds = state["step"], state["seconds"]
