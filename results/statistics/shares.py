"""Bounds on a share, and on a percentile, from a number of independent requests.

A percentile is a share turned round: p99 <= x says that at most 1 % of all requests take longer
than x. LoadGen, MLPerf's load generator, judges its latency limits so (MLCommons inference,
loadgen, early stopping): with t of N over the limit it accepts when P[Bin(N, 0.01) <= t] <= 0.01.
"""

import math
from dataclasses import dataclass

from results.errors import InvalidInputError
from results.log import FloatArray


@dataclass(frozen=True, slots=True)
class Bounds:
    """An interval; None is "not bounded on that side".

    Args:
        low: Its lower end.
        high: Its upper end.
    """

    low: float | None
    high: float | None


def share_upper(share: float, number: float, alpha: float) -> float:
    """Return the upper confidence bound on a share, by Clopper and Pearson.

    The largest s with P[Bin(N, s) <= t] >= alpha, t = share * N; by the identity of the binomial
    and the incomplete beta function it is the 1 - alpha quantile of Beta(t + 1, N - t), which also
    serves an N that is no whole number (Clopper and Pearson, The use of confidence or fiducial
    limits, Biometrika 26, 1934; the effective N: Korn and Graubard, Survey Methodology 24, 1998).

    Args:
        share: What was seen, 0 to 1.
        number: N, how many independent requests that is worth, >= 0.
        alpha: One-sided error, above 0 and below 1.
    """
    from scipy.special import betaincinv

    over = share * number
    if number - over <= 0.0:
        return 1.0
    return float(betaincinv(over + 1.0, number - over, 1.0 - alpha))


def share_lower(share: float, number: float, alpha: float) -> float:
    """Return the lower confidence bound on a share; see `share_upper`."""
    from scipy.special import betaincinv

    over = share * number
    if over <= 0.0:
        return 0.0
    return float(betaincinv(over, number - over + 1.0, alpha))


def fewest_requests(allowed: float, alpha: float) -> int:
    """Return the smallest N that bounds a share by `allowed` when none of N is over the limit.

    (1 - allowed)^N <= alpha; 459 for a p99 at 99 %, 4,603 for a p99.9.
    """
    return math.ceil(math.log(alpha) / math.log1p(-allowed))


def percentile_interval(
    ordered: FloatArray, level: float, confidence: float, *, number: float | None = None
) -> Bounds:
    """Return a confidence interval for a percentile, between two of the values.

    The share of values at or below the true percentile is binomial around `level`, so the values
    at the Clopper-Pearson bounds on that share enclose it, whatever the distribution (David and
    Nagaraja, Order Statistics, 3rd ed. 2003, section 7.1). Values of a queue are dependent: give
    the number of independent ones that they are worth.

    Args:
        ordered: The values, ascending, `[N]`; infinity is allowed.
        level: 0.99 for p99; above 0 and below 1.
        confidence: Probability to enclose it, two-sided, e.g. 0.99.
        number: Effective N, at most `N`; N itself if it is not given.

    Raises:
        InvalidInputError: An argument is out of its range.
    """
    _inside("level", level)
    _inside("confidence", confidence)
    count = len(ordered)
    if count == 0:
        return Bounds(None, None)
    worth = float(count) if number is None else min(number, float(count))
    alpha = (1.0 - confidence) / 2.0
    low_rank = math.floor(share_lower(level, worth, alpha) * count)
    high_rank = math.ceil(share_upper(level, worth, alpha) * count)
    low = float(ordered[low_rank - 1]) if low_rank >= 1 else None
    # With level^N > alpha even the largest of N values may lie below the percentile.
    bounded = level**worth <= alpha
    high = float(ordered[min(high_rank, count) - 1]) if bounded else None
    return Bounds(low, high)


def _inside(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise InvalidInputError(f"{name} must be between 0 and 1, but got {value:g}")
