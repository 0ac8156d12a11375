"""Statistics of a paired comparison: B against A, over draws that both served.

For each draw k both are given the same arrivals, and x_k = log(metric of B / metric of A). The
effect is the mean of x_1 .. x_K: the log of a ratio that belongs to draws of the length that was
run. Nothing is pooled across draws, so dependence within a draw, which queueing makes strong, does
no harm; draws are independent of each other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

import numpy as np

from results.arrays import FloatArray
from results.errors import InvalidInputError

LEVEL = 0.05
"""How often, at most, two equal things may be called different."""

POWER = 0.8
"""With this probability a difference as large as the one called detectable is found."""

_LOOKS = (4, 6, 8, 10, 14, 20, 28, 40, 56, 80)
# By the number of looks: the level of each that keeps 5 % over all of them.
# `python -m tests.calibration.paired` simulates what they come to.
_LOOK_LEVELS = (
    0.05, 0.0285, 0.0216, 0.018, 0.015, 0.0126, 0.0109, 0.0096, 0.0086, 0.0078, 0.0069,
)  # fmt: skip
MOST_DRAWS = 200
_FEWEST_FOR_SIGN_FLIP = 6
_MOST_SIGNS_ENUMERATED = 14
MOST_DRAWS_PLANNED = 1000
"""A plan with more draws than this is none."""


class Verdict(StrEnum):
    """What can be said of one metric of B against A."""

    BETTER = "better"
    WORSE = "worse"
    DIFFERENT = "different"
    """Of a metric that is neither good nor bad by itself, such as the batch size."""
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Plan:
    """How many draws, when they are looked at, and how sure a look must be.

    Looking after every draw and stopping at the first difference would call 13 to 16 % of equal
    pairs different. Looks at K = 4, 6, 8 and 10 only, each at level 0.018, keep 5 % over all four;
    longer plans look further apart and each at a lower level still.

    Args:
        draws: Most draws, >= 2.
        margin: B is equivalent when its ratio to A lies within 1 / (1 + margin) .. 1 + margin; > 0.
        exact: Run all draws, and look once.
        challengers: How many arms are compared with the first; the level is divided by it
            (Bonferroni), so that 5 % holds for all of them together.
    """

    draws: int = 10
    margin: float = 0.05
    exact: bool = False
    challengers: int = 1

    def __post_init__(self) -> None:
        if self.draws < 2:
            raise InvalidInputError(
                f"draws must be >= 2, since one says nothing of chance, but got {self.draws}"
            )
        if self.draws > MOST_DRAWS:
            raise InvalidInputError(f"draws must be <= {MOST_DRAWS}, but got {self.draws}")
        if not 0.0 < self.margin < math.inf:
            raise InvalidInputError(f"margin must be > 0, but got {self.margin:g}")
        if self.challengers < 1:
            raise InvalidInputError(f"challengers must be >= 1, but got {self.challengers}")

    @property
    def looks(self) -> tuple[int, ...]:
        """After how many draws a verdict may be given, ascending; the last is `draws`."""
        if self.exact:
            return (self.draws,)
        return (*(look for look in _LOOKS if look < self.draws), self.draws)

    @property
    def level(self) -> float:
        """The two-sided level of each look and of each challenger."""
        return _LOOK_LEVELS[len(self.looks) - 1] / self.challengers

    @property
    def log_margin(self) -> float:
        """The margin on the scale of log ratios."""
        return math.log1p(self.margin)


@dataclass(frozen=True, slots=True)
class Effect:
    """The mean log ratio of B to A over draws, with its interval.

    Args:
        log_ratio: The mean of the log ratios.
        low, high: Its interval at confidence 1 - level.
        level: The two-sided level.
        draws: K, the number of pairs.
        noise: Their standard deviation: the noise of a pair.
        p: Two-sided p-value of "no difference", Student t.
        sign_flip_p: The same by sign flips; None with fewer than 6 pairs.
    """

    log_ratio: float
    low: float
    high: float
    level: float
    draws: int
    noise: float
    p: float
    sign_flip_p: float | None

    @property
    def ratio(self) -> float:
        """B / A; a geometric mean over the draws."""
        return math.exp(self.log_ratio)

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the ratio."""
        return math.exp(self.low), math.exp(self.high)

    def p_outside(self, log_margin: float) -> float:
        """P-value of "the ratio lies outside the margin": two one-sided tests (Schuirmann 1987).

        Doubled, so that it is <= level exactly when the interval lies inside the margin.
        """
        distance = log_margin - abs(self.log_ratio)
        if distance <= 0.0:
            return 1.0
        return two_sided_p(distance, self.noise, self.draws)


def effect_of(log_ratios: Sequence[float], level: float = LEVEL) -> Effect:
    """Return the effect: mean +- t(1 - level / 2; K - 1) * s / sqrt(K).

    Assumes independent draws whose mean log ratio is near normal; `tests/calibration` shows what
    that is worth for p99s of bursty queues.

    Args:
        log_ratios: One a draw, `[K]`, finite, K >= 2.
        level: Two-sided, 0 < level < 1.

    Raises:
        InvalidInputError: Fewer than two values, one that is not finite, or a level out of range.
    """
    x = np.asarray(log_ratios, dtype=np.float64)
    if len(x) < 2 or not np.isfinite(x).all():
        raise InvalidInputError(f"an effect must have 2 finite log ratios or more, but got {x}")
    if not 0.0 < level < 1.0:
        raise InvalidInputError(f"level must be between 0 and 1, but got {level:g}")
    mean, noise = float(x.mean()), float(x.std(ddof=1))
    half = student_quantile(1.0 - level / 2.0, len(x) - 1) * noise / math.sqrt(len(x))
    return Effect(
        log_ratio=mean,
        low=mean - half,
        high=mean + half,
        level=level,
        draws=len(x),
        noise=noise,
        p=two_sided_p(abs(mean), noise, len(x)),
        sign_flip_p=sign_flip_p(x),
    )


def student_quantile(share: float, degrees: int) -> float:
    """Return the quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, share))


def two_sided_p(distance: float, noise: float, draws: int) -> float:
    """Return the two-sided p-value of a mean of `draws` values so far from what is supposed.

    Args:
        distance: >= 0.
        noise: Standard deviation of one value, >= 0.
        draws: K >= 2.
    """
    from scipy.special import stdtr

    if noise == 0.0:
        return 1.0 if distance == 0.0 else 0.0
    return min(1.0, 2.0 * float(stdtr(draws - 1, -distance * math.sqrt(draws) / noise)))


def sign_flip_p(log_ratios: Sequence[float] | FloatArray) -> float | None:
    """Return the two-sided p-value of the sign-flip (Fisher-Pitman) permutation test.

    If A and B are exchangeable, each x_k is as likely to be -x_k: p is the share of all 2^K sign
    patterns whose |mean| is at least the one seen. Needs no normality. With K = 5 it is never below
    2/32, so fewer than 6 pairs give None. From K = 15 on, 16,384 random patterns stand for all.
    """
    x = np.asarray(log_ratios, dtype=np.float64)
    if len(x) < _FEWEST_FOR_SIGN_FLIP:
        return None
    seen = abs(float(x.sum())) * (1.0 - 1e-12)
    if len(x) <= _MOST_SIGNS_ENUMERATED:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(x))))
        return float((np.abs(signs @ x) >= seen).mean())
    signs = np.random.default_rng(0).choice((-1.0, 1.0), (2**_MOST_SIGNS_ENUMERATED, len(x)))
    hits = int((np.abs(signs @ x) >= seen).sum())
    return (hits + 1) / (len(signs) + 1)  # the pattern that was seen is one of all


def verdict_of(effect: Effect, plan: Plan, direction: int) -> Verdict:
    """Return what the interval says.

    Different if it excludes 0, equivalent if it lies inside +- the margin (which wins: a
    difference smaller than the margin is nobody's concern), inconclusive otherwise.

    Args:
        effect: Of B against A, at the plan's level.
        plan: For its margin.
        direction: +1 where more is better, -1 where less is, 0 where neither.
    """
    margin = plan.log_margin
    if -margin < effect.low and effect.high < margin:
        return Verdict.EQUIVALENT
    if effect.low <= 0.0 <= effect.high:
        return Verdict.INCONCLUSIVE
    return difference(effect.log_ratio, direction)


def difference(log_ratio: float, direction: int) -> Verdict:
    """Return what a difference of this sign is called."""
    if direction == 0:
        return Verdict.DIFFERENT
    return Verdict.BETTER if log_ratio * direction > 0.0 else Verdict.WORSE


def claim_p(effect: Effect, plan: Plan) -> float:
    """Return the p-value of the best claim there is: "different" or "equivalent".

    Only one of the two can be false whatever the true effect is, so the smaller p-value is one for
    whichever is claimed.
    """
    return min(effect.p, effect.p_outside(plan.log_margin))


def detectable(noise: float, draws: int, level: float, power: float = POWER) -> float:
    """Return the smallest true log ratio that K draws find with the given probability.

    delta * noise / sqrt(K), where delta is the noncentrality at which a t test of K - 1 degrees of
    freedom at this level rejects with probability `power` (the far tail is left out: it is below
    level / 2 and shrinks with delta).

    Args:
        noise: Standard deviation of the log ratio of a pair, >= 0.
        draws: K >= 2.
        level: Two-sided.
        power: 0.5 <= power < 1.
    """
    from scipy.special import nctdtrinc

    critical = student_quantile(1.0 - level / 2.0, draws - 1)
    return float(nctdtrinc(draws - 1, 1.0 - power, critical)) * noise / math.sqrt(draws)


def draws_needed(effect: Effect, plan: Plan, power: float = POWER) -> int | None:
    """Return how many draws in all would decide, if effect and noise are what they seem to be.

    The smallest K whose detectable difference is no more than the distance to the farther doubt:
    |effect| for a difference, margin - |effect| for equivalence. A plan for a new comparison, not a
    licence to go on with this one. None if not even 1,000 would.
    """
    target = max(abs(effect.log_ratio), plan.log_margin - abs(effect.log_ratio))
    low, high = 2, MOST_DRAWS_PLANNED
    if detectable(effect.noise, high, effect.level, power) > target:
        return None
    while low < high:
        middle = (low + high) // 2
        if detectable(effect.noise, middle, effect.level, power) > target:
            low = middle + 1
        else:
            high = middle
    return high
