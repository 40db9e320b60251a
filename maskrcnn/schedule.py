"""How far a training run is, counted in steps or in minutes, and the learning rate that goes with it."""

import dataclasses
import math
import time

WARMUP_STEPS = 50
VALIDATION_SHARE = 0.05  # of the time, at most, that validating on the way should take


@dataclasses.dataclass
class Schedule:
    """total_steps: the length of the run; minutes: its length in time instead, validation included, if not None.

    peak_rate: the highest learning rate; decay: the last share of the run, over which the rate falls from it to zero.
    The rest changes as the run goes on.
    """

    total_steps: int
    minutes: float | None
    peak_rate: float
    decay: float = 1.0
    step: int = 0
    earlier_seconds: float = 0.0  # of a run that was resumed
    validation_seconds: float = 0.0  # of the last validation, which the time left must hold once more
    started: float = dataclasses.field(default_factory=lambda: time.monotonic())

    @property
    def seconds(self) -> float:
        """Since the start, those before an interruption included."""
        return self.earlier_seconds + time.monotonic() - self.started

    @property
    def fraction(self) -> float:
        """0 at the start, 1 at the end of training."""
        if self.minutes is None:
            return self.step / self.total_steps
        return self.seconds / max(1.0, 60 * self.minutes - 1.1 * self.validation_seconds)

    @property
    def falls_from(self) -> float:
        """The fraction of the run from which the rate falls."""
        return 1 - self.decay

    @property
    def rate(self) -> float:
        """The learning rate: a linear warm-up, the peak, then half a cosine down to zero."""
        warm = min(1.0, (self.step + 1) / WARMUP_STEPS)
        fallen = min(max(0.0, (self.fraction - self.falls_from) / self.decay), 1.0)
        return self.peak_rate * warm * 0.5 * (1 + math.cos(math.pi * fallen))

    @property
    def seconds_left(self) -> int:
        """If it goes on as fast as it went so far."""
        return max(0, int(self.seconds * (1 / max(self.fraction, 1e-6) - 1)))

    def is_over(self, steps: int) -> bool:
        """Whether the run has ended, or less than a tenth of an epoch of so many steps is left: too little to learn from,
        and its mean loss would be a spike in every curve."""
        return self.fraction >= 1 or (self.step > 0 and self.steps_until(1.0) < 0.1 * steps)

    def steps_until(self, fraction: float) -> float:
        """How many steps are left until that fraction of the run, if it goes on as fast as it went so far."""
        return self.step * (fraction / max(self.fraction, 1e-6) - 1)

    def epochs_until_validation(self, steps: int, until: float = 1.0) -> int:
        """How many epochs of so many steps to train before the next validation: 1 at first, as many as validating is worth
        then. until: the fraction of the run at which they end at the latest; a rest of less than an epoch joins them, since
        the mean loss of a few steps says nothing."""
        if self.step == 0:
            return 1
        enough = math.ceil(self.validation_seconds / (VALIDATION_SHARE * self.seconds / self.step * steps))
        left = self.steps_until(until) / steps
        return max(1, math.ceil(left - 1e-6) if left < enough + 1 else enough)
