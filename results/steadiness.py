"""Whether latency and backlog stayed at one level over the window."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.backlog import in_system
from results.log import FloatArray, floats, has_status, inside
from results.statistics.steady import Trend, mann_kendall, mser5

P_VALUE = 0.001
LEAST_CHANGE = 0.5
"""A trend counts when its p-value is below the one and it changes the level by this share."""

_STRETCHES = 20
_FINE_STRETCHES = 200
_FEWEST_REQUESTS = 1000
_FEWEST_STRETCHES = 10


@dataclass(frozen=True, slots=True)
class Drift:
    """A trend that was found.

    Args:
        what: "latency" or "the number in the system".
        first, last: Its level at the start and at the end of the Sen line: seconds or requests.
        settles_s: When the transient was over, if what follows shows no trend; None if it does.
    """

    what: str
    first: float
    last: float
    settles_s: float | None


def drift(requests: pd.DataFrame, window_s: float) -> Drift | None:
    """Return the trend that shows that a run was not in steady state, or None.

    The window is cut into 20 stretches; the mean latency of the ok requests scheduled in each, and
    the mean number in the system over each, are tested by `mann_kendall`. Either counts. On
    stationary queues up to a load of 0.7 at most 0.3 % of runs of 10 to 60 s are found, at a load
    of 0.9 under bursts 1.3 % (docs/verdicts.md). Below 1,000 requests nothing is said.

    Args:
        requests: The request log.
        window_s: The window [0, window_s).
    """
    scheduled_s = floats(requests, "scheduled_s")
    rows = inside(scheduled_s, window_s) & has_status(requests, "ok")
    if int(rows.sum()) < _FEWEST_REQUESTS:
        return None
    latency_s = floats(requests, "ended_s") - scheduled_s

    backlog = in_system(requests)

    def latencies(count: int) -> FloatArray:
        return stretch_means(scheduled_s[rows], latency_s[rows], window_s, count)

    def present(count: int) -> FloatArray:
        return backlog.means(np.linspace(0.0, window_s, count + 1))

    for what, means in (("latency", latencies), ("the number in the system", present)):
        trend = _trend(means(_STRETCHES))
        if trend is not None:
            half = 0.5 * trend.rise
            settles_s = _settled(means(_FINE_STRETCHES), window_s)
            return Drift(
                what, max(0.0, trend.level - half), max(0.0, trend.level + half), settles_s
            )
    return None


def stretch_means(
    times_s: FloatArray, values: FloatArray, window_s: float, count: int
) -> FloatArray:
    """Return the mean of the values in each stretch of the window that has any."""
    stretch = np.minimum((times_s * count / window_s).astype(np.int64), count - 1)
    number = np.bincount(stretch, minlength=count)
    sums = np.bincount(stretch, weights=values, minlength=count)
    means: FloatArray = sums[number > 0] / number[number > 0]
    return means


def _trend(means: FloatArray) -> Trend | None:
    if len(means) < _FEWEST_STRETCHES:
        return None
    trend = mann_kendall(means)
    if trend.p_value < P_VALUE and abs(trend.rise) > LEAST_CHANGE * trend.level:
        return trend
    return None


def _settled(fine: FloatArray, window_s: float) -> float | None:
    """Return when the transient ended, by MSER-5, if no trend is left after it."""
    cut = mser5(fine)
    left = fine[cut:]
    if not 0 < cut < len(fine) // 2:
        return None
    usable = len(left) // _STRETCHES * _STRETCHES
    coarse = left[len(left) - usable :].reshape(_STRETCHES, -1).mean(axis=1)
    return cut / len(fine) * window_s if _trend(coarse) is None else None
