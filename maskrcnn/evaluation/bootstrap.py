"""Confidence intervals: of proportions of counted cells exact ones (Clopper and Pearson 1934), of everything else those of
resampled images (the percentile bootstrap; Efron 1979).

With 50 cells, a single error changes recall by two points: an interval shows how little such a difference means. If all
cells are right the bootstrap finds nothing to vary, and would say "1.000 to 1.000"; the exact interval of 12 of 12 is 0.735
to 1. So where all resampled values are equal there is no interval.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn.inference.intervals import clopper_pearson

Statistics = Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]]


class Estimate(NamedTuple):
    """A number and its 95 % interval; nan where it is undefined."""

    value: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Whether anything is known of how far off the number may be."""
        return not np.isnan(self.low)

    def without_interval(self) -> "Estimate":
        """The number alone."""
        return Estimate(self.value, np.nan, np.nan)

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "-"
        return f"{self.value:.3f}" + (f" ({self.low:.3f} to {self.high:.3f})" if self.has_interval else "")


class ArrayEstimate(NamedTuple):
    """An array and the 95 % interval of each of its elements: three arrays of one shape."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def at(self, index: int) -> Estimate:
        """The estimate of one element of a one-dimensional array, without an interval where its ends are equal."""
        estimate = Estimate(float(self.value[index]), float(self.low[index]), float(self.high[index]))
        return estimate.without_interval() if estimate.low == estimate.high else estimate


def bootstrap(
    statistics: Statistics,
    num_images: int,
    rounds: int = 1000,
    seed: int = 0,
    groups: Sequence[int] | None = None,
) -> dict[str, ArrayEstimate]:
    """Every statistic over all images, with its 95 % interval over images resampled with replacement.

    statistics: weights [num_images], how often each image counts -> named arrays. Rounds in which an element is nan (there
    is nothing to measure) are left out of its interval. groups: one number per image; images with equal numbers show the
    same cells, so they are resampled together. With a single image or group there is no interval: its ends are nan.
    """
    rng = np.random.default_rng(seed)
    group_of_image = np.arange(num_images) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    num_groups = int(group_of_image.max()) + 1
    values = statistics(np.ones(num_images))
    if num_groups == 1:
        undefined = {name: np.full(np.shape(value), np.nan) for name, value in values.items()}
        return {name: ArrayEstimate(value, undefined[name], undefined[name]) for name, value in values.items()}
    weights = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), rounds)[:, group_of_image]
    samples = [statistics(row) for row in weights.astype(float)]
    return {
        name: ArrayEstimate(value, *_interval(np.stack([sample[name] for sample in samples])))
        for name, value in values.items()
    }


def exact_interval(part: NDArray[np.float64], whole: NDArray[np.float64]) -> ArrayEstimate:
    """part / whole with its interval, see `clopper_pearson`. That of a single count says nothing, so it is nan; so is all
    where whole is 0. part, whole: counts of one shape.
    """
    value = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    low, high = (np.where(whole > 1, end, np.nan) for end in clopper_pearson(part, whole))
    return ArrayEstimate(value, low, high)


def _interval(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 2.5 % and 97.5 % percentiles over the first axis, without nan; nan where all are nan."""
    low, high = np.full(samples.shape[1:], np.nan), np.full(samples.shape[1:], np.nan)
    defined = ~np.isnan(samples).all(axis=0)
    if defined.any():
        low[defined], high[defined] = np.nanpercentile(samples[:, defined], (2.5, 97.5), axis=0)
    return low, high
