"""Exact intervals of proportions of counted cells (Clopper and Pearson 1934)."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

LEVEL = 0.95


def clopper_pearson(
    part: NDArray[np.float64], whole: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and the highest proportion that would give counts `part` of `whole` as high, or as low, as these with a
    probability of 2.5 % or more. Means nothing where whole is 0."""
    tail = (1 - LEVEL) / 2
    # Where none or all are counted, one end is 0 or 1, and the distribution of the other arguments undefined.
    low = np.where(part > 0, betaincinv(np.maximum(part, 1), whole - part + 1, tail), 0.0)
    high = np.where(part < whole, betaincinv(part + 1, np.maximum(whole - part, 1), 1 - tail), 1.0)
    return low, high
