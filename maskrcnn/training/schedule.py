"""The learning rate, and how far a run is, counted in steps or in minutes."""

import dataclasses
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

from torch import nn

from maskrcnn.model import MaskRCNN

WARMUP_STEPS = 50
FROZEN_STAGES = {"heads": 5, "5+": 4, "4+": 3, "3+": 2, "all": 0}  # of stem, res2 .. res5, those that do not learn
MAX_VALIDATION_FRACTION = 0.05  # of the training time may be spent on validation
VALIDATED_IMAGE = 0.5  # of the time of an image that is trained on: about what validation takes on a CPU


def lr_at(step: int, progress: float, peak_lr: float, decay_fraction: float) -> float:
    """The learning rate of a step: linear warm-up, then peak_lr, then half a cosine to zero over the last decay_fraction.

    step counts from 0; progress: fraction of the run that is done.
    """
    warmup = min(1.0, (step + 1) / WARMUP_STEPS)
    decayed = min(max(0.0, (progress - (1 - decay_fraction)) / decay_fraction), 1.0)
    return peak_lr * warmup * 0.5 * (1 + math.cos(math.pi * decayed))


def parameter_groups(model: nn.Module, head_lr_factor: float) -> list[dict[str, Any]]:
    """The trained parameters for an optimizer: those of the backbone, and those of the RPN and the heads. "lr_factor" says
    at which multiple of the learning rate each group learns. An empty group is left out."""
    trained = [(name.startswith("backbone."), p) for name, p in model.named_parameters() if p.requires_grad]
    backbone, rest = ([p for in_backbone, p in trained if in_backbone == wanted] for wanted in (True, False))
    groups = [{"params": backbone, "lr_factor": 1.0}, {"params": rest, "lr_factor": head_lr_factor}]
    return [group for group in groups if group["params"]]


class Trainable:
    """Which parts of the model learn at what time of a run: as Matterport's Mask R-CNN names them, "heads" (the FPN, the RPN
    and the heads), "5+" (res5, too), "4+", "3+", or "all" (also the stem and res2). Frozen norms stay frozen.
    """

    def __init__(self, parts: Sequence[tuple[str, float]]) -> None:
        """parts: of the run, one after the other: what learns, and how long, in any unit."""
        self.parts = parts
        self.ends = list(itertools.accumulate(length for _, length in parts))
        self.now = ""  # what learns

    def at(self, progress: float) -> str:
        """What learns at a time from 0 to 1."""
        passed = sum(progress >= end / self.ends[-1] for end in self.ends[:-1])
        return self.parts[passed][0]

    def apply_all(self, model: MaskRCNN) -> None:
        """Let everything learn that learns at any time, as the optimizer has to know it."""
        self._apply(model, max((part for part, _ in self.parts), key=list(FROZEN_STAGES).index))

    def apply(self, model: MaskRCNN, progress: float) -> None:
        """Let the model learn what learns at this time."""
        part = self.at(progress)
        if part != self.now:
            self.now = part
            self._apply(model, part)

    @staticmethod
    def _apply(model: MaskRCNN, part: str) -> None:
        stages = list(model.backbone.resnet.children())
        for number, stage in enumerate(stages):
            stage.requires_grad_(number >= FROZEN_STAGES[part])


def parse_schedule(text: str) -> list[tuple[str, float]]:
    """ "heads:20,all:40" -> what learns, and for how many epochs. Raises ValueError."""
    parts = []
    for entry in text.split(","):
        part, _, epochs = entry.strip().partition(":")
        if part not in FROZEN_STAGES or not epochs.isdecimal() or int(epochs) < 1:
            raise ValueError(
                f"{entry.strip()!r} is not one of {', '.join(FROZEN_STAGES)} with a number of epochs, such as heads:20"
            )
        parts.append((part, float(epochs)))
    return parts


@dataclasses.dataclass
class RunClock:
    """Measures a run of total_steps or, if minutes is not None, of that much time, validation included. A run of a number
    of steps depends on no clock.

    validation_steps: what a validation takes, in training steps (see VALIDATED_IMAGE).
    """

    total_steps: int
    minutes: float | None
    validation_steps: float = 0.0
    step: int = 0
    seconds_before_resume: float = 0.0
    validation_seconds: float = 0.0  # of the last validation; the remaining time must include one more
    saved: float = 0.0  # when the last checkpoint was written, in seconds of the run
    started: float = dataclasses.field(default_factory=lambda: time.monotonic())

    def restart(self, step: int, seconds: float) -> None:
        """Go on, at this step, after so many seconds."""
        self.step, self.seconds_before_resume, self.saved, self.started = step, seconds, seconds, time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start, including the time before the run was resumed."""
        return self.seconds_before_resume + time.monotonic() - self.started

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end of training."""
        if self.minutes is None:
            return self.step / self.total_steps
        return self.seconds / max(1.0, 60 * self.minutes - 1.1 * self.validation_seconds)

    @property
    def seconds_left(self) -> int:
        """Estimated from the speed so far."""
        return max(0, int(self.seconds * (1 / max(self.progress, 1e-6) - 1)))

    def finished(self, steps_per_epoch: int) -> bool:
        """Whether the run is over, or less than a tenth of an epoch is left: too short to be worth a validation."""
        return self.progress >= 1 or (self.step > 0 and self.steps_until(1.0) < 0.1 * steps_per_epoch)

    def steps_until(self, progress: float) -> float:
        """The number of steps until that fraction of the run, estimated from the speed so far."""
        return self.step * (progress / max(self.progress, 1e-6) - 1)

    def epochs_until_validation(self, steps_per_epoch: int, until: float = 1.0) -> int:
        """Epochs to train before validating again: 1 the first time, later enough that validation takes at most
        MAX_VALIDATION_FRACTION of the time. Never past `until`, a fraction of the run; a remainder shorter than one epoch
        is merged into the last block."""
        if self.step == 0:
            return 1
        validation = self.validation_steps
        if self.minutes is not None:  # by the clock, as all else in such a run
            validation = self.validation_seconds / (self.seconds / self.step)
        enough = max(1, math.ceil(validation / (MAX_VALIDATION_FRACTION * steps_per_epoch)))
        left = self.steps_until(until) / steps_per_epoch
        return max(1, math.ceil(left - 1e-6) if left < enough + 1 else enough)
