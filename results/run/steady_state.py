"""Whether latency and backlog stayed at one level over the window."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.arrays import FloatArray
from results.run.logs import floats, has_status, inside
from results.run.queue_length import in_system

MSER_BATCH = 5


def mser5(values: FloatArray) -> int:
    """Return how many values at the start belong to a transient, by MSER-5.

    The values are averaged in batches of 5; the truncation point d minimises the standard error of
    what is left, sum over i >= d of (Z_i - mean of the rest)^2 / (k - d)^2, over d in the first
    half. A d at the end of that half says that no steady part was found. It assumes a transient at
    the start and none at the end (White, An effective truncation heuristic for bias reduction in
    simulation output, Simulation 69, 1997; White, Cobb and Spratt, WSC 2000).

    Args:
        values: In the order of time, `[N]`.

    Returns:
        5 d, at most N / 2; 0 for fewer than 20 values.
    """
    count = len(values) // MSER_BATCH
    if count < 4:
        return 0
    z = values[: count * MSER_BATCH].reshape(count, MSER_BATCH).mean(axis=1)
    left = np.arange(count, 0, -1, dtype=np.float64)
    sums, squares = np.cumsum(z[::-1])[::-1], np.cumsum((z**2)[::-1])[::-1]
    error = (squares - sums**2 / left) / left**2
    return MSER_BATCH * int(np.argmin(error[: count // 2 + 1]))


@dataclass(frozen=True, slots=True)
class Trend:
    """The trend of K values equally far apart.

    Args:
        p_value: Two-sided, of the Mann-Kendall test.
        rise: Sen's slope over the whole of them: how much the last exceeds the first.
        level: Their median.
    """

    p_value: float
    rise: float
    level: float


def mann_kendall(values: FloatArray) -> Trend:
    """Test K values for a monotonic trend, allowing for their autocorrelation.

    S = sum over i < j of sign(x_j - x_i); Var S = K (K - 1) (2K + 5) / 18 for independent values
    (Mann, Econometrica 13, 1945; Kendall 1975). Dependent ones vary more: with r the lag-1
    autocorrelation of the values less their Sen line, Var S is multiplied by
    1 + 2 sum over k of (1 - k / K) r^k, the variance factor of the mean of an AR(1) sequence (Yue
    and Wang, Water Resources Management 18, 2004; that r is taken after detrending, so that a
    trend does not hide itself), never below 1. Normal approximation with continuity correction.
    From 20 values r is poorly known: at a nominal 5 % and a true r of 0.7 the test errs in 12 % of
    sequences. `results.run.steady_state` asks for 0.1 %, and for a trend that matters.

    Args:
        values: `[K]`, K >= 8, finite.
    """
    from scipy.special import ndtr

    count = len(values)
    i, j = np.triu_indices(count, 1)
    differences = values[j] - values[i]
    s = float(np.sign(differences).sum())
    slope = float(np.median(differences / (j - i)))
    residue = values - slope * np.arange(count)
    residue = residue - residue.mean()
    power = float((residue**2).sum())
    r = float((residue[1:] * residue[:-1]).sum()) / power if power > 0.0 else 0.0
    # The estimate is biased low by about (1 + 4r) / K (Kendall, Biometrika 41, 1954).
    r = min(0.95, max(0.0, r + (1.0 + 4.0 * r) / count if r > 0.0 else 0.0))
    lags = np.arange(1, count)
    factor = 1.0 + 2.0 * float(((1.0 - lags / count) * r**lags).sum())
    variance = count * (count - 1) * (2 * count + 5) / 18.0 * factor
    z = max(0.0, abs(s) - 1.0) / math.sqrt(variance)
    return Trend(2.0 * float(ndtr(-z)), slope * (count - 1), float(np.median(values)))


P_VALUE = 0.001
LEAST_CHANGE = 0.5
"""A trend counts when its p-value is below the one and it changes the level by this share."""

TRANSIENT = 5.0
"""A start counts as a transient when it is this many times as high as any stretch after it."""

_STRETCHES = 20
_FINE_STRETCHES = 200
_FEWEST_REQUESTS = 1000
_MORE_ARRIVALS = 1.2


@dataclass(frozen=True, slots=True)
class Drift:
    """A trend or transient that was found.

    Args:
        what: "latency" or "the number in the system".
        first, last: Its level at the start and at the end of a trend, or in a transient and after
            it: seconds or requests.
        settles_s: When the transient was over; None for a trend.
    """

    what: str
    first: float
    last: float
    settles_s: float | None


def drift(requests: pd.DataFrame, window_s: float) -> Drift | None:
    """Return the trend or transient that shows that a run was not in steady state, or None.

    Looked at are the mean latency of the ok requests scheduled in each of equal stretches of the
    window, and the mean number in the system over each; `unsteady` says what counts. Below 1,000
    requests nothing is said.

    Args:
        requests: The request log.
        window_s: The window [0, window_s).
    """
    scheduled_s = floats(requests, "scheduled_s")
    rows = inside(scheduled_s, window_s) & has_status(requests, "ok")
    if int(rows.sum()) < _FEWEST_REQUESTS:
        return None
    latency_s = (floats(requests, "ended_s") - scheduled_s)[rows]
    fine = stretch_means(scheduled_s[rows], latency_s, window_s, _FINE_STRETCHES)
    arrivals = stretch_counts(scheduled_s[rows], window_s, _FINE_STRETCHES)
    found = unsteady("latency", fine, arrivals[arrivals > 0], window_s)
    if found is not None:
        return found
    edges_s = np.linspace(0.0, window_s, _FINE_STRETCHES + 1)
    present = in_system(requests).means(edges_s)
    return unsteady("the number in the system", present, arrivals, window_s)


def unsteady(
    what: str, fine: FloatArray, arrivals: npt.NDArray[np.int64], window_s: float
) -> Drift | None:
    """Return the trend or transient of a series of means, or None.

    - Trend: of the means of 20 stretches, `mann_kendall` has p < 0.001 and Sen's line changes the
      level by more than half.
    - Transient: `mser5` cuts something off in the first half, and the mean of the first tenth (or
      of what is cut, if less) is more than 5 times that of any as long a stretch of the rest,
      although no more requests came in it, by a fifth, than on average: a burst is no transient.

    On stationary queues at most 2 % of runs of 10 to 60 s are found, most of them at a load of 0.9
    under bursts (docs/verdicts.md has the table).

    Args:
        what: The series' name.
        fine: Means over equal stretches, 200 of them or a little fewer, `[K]`.
        arrivals: How many requests came in each of these, `[K]`.
        window_s: The length of all of them together.
    """
    size = len(fine) // _STRETCHES
    if size < 1:
        return None
    trend = mann_kendall(fine[len(fine) - size * _STRETCHES :].reshape(-1, size).mean(axis=1))
    if trend.p_value < P_VALUE and abs(trend.rise) > LEAST_CHANGE * trend.level:
        half = 0.5 * trend.rise
        return Drift(what, max(0.0, trend.level - half), max(0.0, trend.level + half), None)
    cut = mser5(fine)
    if not 0 < cut < len(fine) // 2:
        return None
    head = min(cut, len(fine) // 10)
    if float(arrivals[:head].mean()) > _MORE_ARRIVALS * float(arrivals.mean()):
        return None
    rest = np.concatenate(([0.0], np.cumsum(fine[cut:])))
    first = float(fine[:head].mean())
    if first <= TRANSIENT * float((rest[head:] - rest[:-head]).max()) / head:
        return None
    return Drift(what, first, float(fine[cut:].mean()), cut / len(fine) * window_s)


def stretch_counts(times_s: FloatArray, window_s: float, count: int) -> npt.NDArray[np.int64]:
    """Return how many of the times lie in each of `count` equal stretches of the window."""
    stretch = np.minimum((times_s * count / window_s).astype(np.int64), count - 1)
    return np.asarray(np.bincount(stretch, minlength=count), dtype=np.int64)


def stretch_means(
    times_s: FloatArray, values: FloatArray, window_s: float, count: int
) -> FloatArray:
    """Return the mean of the values in each stretch of the window that has any."""
    stretch = np.minimum((times_s * count / window_s).astype(np.int64), count - 1)
    number = np.bincount(stretch, minlength=count)
    sums = np.bincount(stretch, weights=values, minlength=count)
    means: FloatArray = sums[number > 0] / number[number > 0]
    return means
