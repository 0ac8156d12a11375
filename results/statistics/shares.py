"""Bounds on a share, and on a percentile, from a number of independent requests.

A percentile is a share turned round: p99 <= x says that at most 1 % of all requests take longer
than x. LoadGen, MLPerf's load generator, judges its latency limits so (MLCommons inference,
loadgen, early stopping): with t of N over the limit it accepts when P[Bin(N, 0.01) <= t] <= 0.01.
"""

import math
from dataclasses import dataclass

from results.arrays import FloatArray
from results.errors import InvalidInputError


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

    The number of values at or below the true percentile is Bin(N, level), whatever the
    distribution, so the interval from the l-th to the u-th smallest encloses it, l the largest with
    P[Bin <= l - 1] <= alpha / 2 and u the smallest with P[Bin >= u] <= alpha / 2 (David and
    Nagaraja, Order Statistics, 3rd ed. 2003, section 7.1). Values of a queue are dependent: give
    the number of independent ones that they are worth, and ranks are taken in proportion.

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
    worth = float(count) if number is None else math.floor(min(number, float(count)))
    alpha = (1.0 - confidence) / 2.0
    low_rank = _most(alpha, worth, level) + 1
    high_rank = _most(1.0 - alpha, worth, level) + 2
    low = ordered[math.floor(low_rank * count / worth) - 1] if low_rank >= 1 else None
    high = ordered[math.ceil(high_rank * count / worth) - 1] if high_rank <= worth else None
    return Bounds(None if low is None else float(low), None if high is None else float(high))


def _most(probability: float, number: float, level: float) -> int:
    """Return the largest k with P[Bin(number, level) <= k] <= probability, -1 if there is none."""
    from scipy.special import bdtr, bdtrik

    if (1.0 - level) ** number > probability:
        return -1
    # The root may be off by a rounding, on either side.
    k = min(int(number), math.floor(float(bdtrik(probability, number, level))) + 1)
    while bdtr(float(k), int(number), level) > probability:
        k -= 1
    return k


def _inside(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise InvalidInputError(f"{name} must be between 0 and 1, but got {value:g}")
