"""Measured batches, and what a handful of them says about a median."""

from collections.abc import Sequence
from math import hypot, inf, sqrt
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Fewer samples than this say nothing about how far off their median may be.
LEAST_FOR_ERROR = 8
# The 99.5 % quantile of the normal distribution.
_Z = 2.5758
# A difference of so many standard errors is no chance.
_CERTAIN = 3.0


class BatchSample(NamedTuple):
    """One measured batch; times in seconds, to the nanosecond.

    Attributes:
        at_s: when it was taken, after the measurement's start.
        size: requests in it.
        length: the length every request was given; None: as the model makes them.
        wake_s: its last request submitted -> taken by the worker.
        collate_s: taken -> inputs staged on the device.
        execute_s: started -> completion seen on the host.
        deliver_s: completed -> results handed over.
    """

    at_s: float
    size: int
    length: int | None
    wake_s: float
    collate_s: float
    execute_s: float
    deliver_s: float

    @property
    def total_s(self) -> float:
        """How long the worker had it: T."""
        return self.collate_s + self.execute_s + self.deliver_s


def relative_error(times_s: Sequence[float]) -> float:
    """Standard error of the median of `times_s`, as a share of it; infinite below 8 samples.

        se = (x_(n-c+1) - x_(c)) / (2 z),   c = (n + 1)/2 - z sqrt(n)/2, rounded

    x_(i) is the i-th smallest of n times in seconds and z = 2.5758. It assumes nothing about their
    distribution, but that they are independent: in slow phases of the machine it is too small.
    (McKean and Schrader 1984, "A comparison of methods for studentizing the sample median")
    """
    n = len(times_s)
    if n < LEAST_FOR_ERROR:
        return inf
    ordered = sorted(times_s)
    c = round((n + 1) / 2 - _Z * sqrt(n) / 2)  # at least 1, from 8 samples on
    spread_s = ordered[n - c] - ordered[c - 1]
    middle_s = median(ordered)
    return spread_s / (2 * _Z) / middle_s if middle_s > 0 else 0.0


def falling_by_no_chance(
    values: Sequence[float], weights: Sequence[float], errors: Sequence[float]
) -> list[float]:
    """The closest sequence that falls only where that is certain: weighted, by pooling violators.

    Isotonic regression (Ayer et al. 1955, Barlow et al. 1972), but for falls of more than three
    standard errors of the difference, which stay: libraries do multiply matrices of 16 rows faster
    than of 15. Values that rise already are returned as they are.

    Args:
        values: `[N]`.
        weights: what each counts for, > 0, `[N]`.
        errors: standard error of each value, in its unit; infinite where it is not known, `[N]`.
    """
    blocks: list[tuple[float, float, float, int]] = []  # mean, weight, error, how many
    for value, weight, error in zip(values, weights, errors, strict=True):
        mean, total, spread, count = value, weight, error, 1
        while blocks and 0.0 < blocks[-1][0] - mean <= _CERTAIN * hypot(blocks[-1][2], spread):
            below, below_weight, below_spread, below_count = blocks.pop()
            both = total + below_weight
            mean = (mean * total + below * below_weight) / both
            spread = hypot(spread * total, below_spread * below_weight) / both
            total, count = both, count + below_count
        blocks.append((mean, total, spread, count))
    return [mean for mean, _, _, count in blocks for _ in range(count)]


def correlation_length(series: NDArray[np.float64]) -> int:
    """The first lag at which the autocorrelation of `series` `[N]` is below 1/e; at least 1.

    At most a quarter of the series: beyond that there is nothing to tell it by.
    """
    centred = series - series.mean()
    power = float(centred @ centred)
    longest = max(1, len(series) // 4)
    if power <= 0.0:
        return 1
    for lag in range(1, longest):
        if float(centred[:-lag] @ centred[lag:]) / power < 1 / np.e:
            return lag
    return longest
