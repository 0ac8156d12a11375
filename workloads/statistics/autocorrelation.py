"""How far the count in one window tells those in the windows after it."""

import math
from dataclasses import dataclass

import numpy as np

from workloads.statistics.counts import EDGE, is_known, occupied, power_of_ten
from workloads.trace import Times, Trace

FEWEST_WINDOWS = 100
MOST_WINDOWS = 1 << 20
MEAN_COUNT = 5.0
MOST_LAGS = 100


@dataclass(frozen=True)
class Autocorrelation:
    """Correlation of the counts in windows k apart.

    Attributes:
        span_s: Length of a window in seconds.
        windows: How many windows there are, m.
        values: Of the lags 1, 2, ..., a quarter of the windows or 100 at most:
            sum_i (N_i - M)(N_{i + k} - M) / sum_i (N_i - M)^2, M the mean count.
        noise: 1.96 / sqrt(m): where the counts are independent, 95 % of the values lie within
            +- this (Bartlett, Journal of the Royal Statistical Society B 8, 1946).
    """

    span_s: float
    windows: int
    values: tuple[float, ...]
    noise: float

    @property
    def correlated_s(self) -> float | None:
        """The first lag, in seconds, whose value is within the noise; None beyond all lags."""
        for lag, value in enumerate(self.values, start=1):
            if value <= self.noise:
                return lag * self.span_s
        return None


def autocorrelation(trace: Trace) -> Autocorrelation | None:
    """Of the counts at the shortest power of ten of a second with 5 requests a window or more.

    None where fewer than 100 such windows fit into the trace, all have the same count, or counts
    are not known at that length.
    """
    if not trace.rate_rps > 0:
        return None
    shortest_s = max(
        MEAN_COUNT / trace.rate_rps, trace.duration_s / MOST_WINDOWS, trace.resolution_s or 0.0
    )
    span_s = float(f"1e{power_of_ten(shortest_s)}")
    windows = math.floor(trace.duration_s / span_s * EDGE)
    if windows < FEWEST_WINDOWS or not is_known(trace, span_s):
        return None
    index, occupied_counts = occupied(trace.arrival_s, span_s)
    inside = np.searchsorted(index, windows)
    counts = np.zeros(windows)
    counts[index[:inside]] = occupied_counts[:inside]
    away = counts - counts.mean()
    if not away.any():
        return None
    values = _correlations(away, min(MOST_LAGS, windows // 4))
    return Autocorrelation(span_s, windows, tuple(values.tolist()), 1.96 / math.sqrt(windows))


def _correlations(away: Times, lags: int) -> Times:
    total = float(away @ away)
    return np.array([float(away[:-lag] @ away[lag:]) for lag in range(1, lags + 1)]) / total
