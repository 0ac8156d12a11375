"""Whether a run was in steady state: a transient at its start, or a trend over all of it."""

import math
from dataclasses import dataclass

import numpy as np

from results.run.logs import FloatArray

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
