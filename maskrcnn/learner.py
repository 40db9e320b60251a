"""A model and what goes with it through a training run: optimizer, schedule, the average of its weights."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from maskrcnn.averaging import moving_average
from maskrcnn.model import MaskRCNN
from maskrcnn.precision import autocast
from maskrcnn.schedule import Schedule

WEIGHT_DECAY = 0.05
MAX_GRADIENT = 5.0  # its norm is clipped to this

Batch = tuple[Sequence[Tensor], Sequence[dict[str, Tensor]]]


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

    def train(self, batches: Iterable[Batch], steps: int, precision: str, until: float = 1.0) -> dict[str, float]:
        """A step for each batch, of which there are `steps`, with a bar. Ends early at that fraction of the run.

        Returns the mean of each loss. Raises FloatingPointError if the loss is no longer a number.
        """
        schedule, sums, taken = self.schedule, dict[str, float](), 0
        self.model.train()
        bar = tqdm(batches, total=steps, leave=False)
        for taken, (images, targets) in enumerate(bar, start=1):
            for name, value in self._step(images, targets, precision).items():
                sums[name] = sums.get(name, 0.0) + value
            bar.set_postfix_str(f"loss {sum(sums.values()) / taken:.3f}, rate {schedule.rate:.1e}, "
                                f"{tqdm.format_interval(schedule.seconds_left)} left")  # fmt: skip
            if schedule.fraction >= until:
                break
        bar.close()
        return {name: value / taken for name, value in sums.items()}

    def _step(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]], precision: str) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate
        with autocast(images[0].device, precision):
            losses = self.model(images, targets)
        total = torch.stack(list(losses.values())).sum()
        if not math.isfinite(total.item()):
            raise FloatingPointError(f"the loss is {total.item()} at step {self.schedule.step}; try a lower --rate")
        self.optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT)
        self.optimizer.step()
        self.schedule.step += 1
        if self.averaged:
            self.averaged.update_parameters(self.model)
        return {name: value.item() for name, value in losses.items()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint of `best_guess` needs beside its weights, to go on from with `resume`."""
        schedule = self.schedule
        state = {"optimizer": self.optimizer.state_dict(), "step": schedule.step, "seconds": schedule.seconds}
        state["validation_seconds"] = schedule.validation_seconds
        if self.averaged:
            state |= {"weights": self.model.state_dict(), "averages": int(self.averaged.n_averaged)}
        return state

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`. The model has the weights of the `best_guess` of then."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.step, self.schedule.earlier_seconds = state["step"], state["seconds"]
        self.schedule.validation_seconds = state.get("validation_seconds", 0.0)
        if self.averaged:
            self.averaged.n_averaged.fill_(state["averages"])
            self.model.load_state_dict(state["weights"])
