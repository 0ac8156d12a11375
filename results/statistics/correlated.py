"""Averages of values that depend on each other, as those of a queue do."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from results.arrays import FloatArray
from results.errors import InvalidInputError
from results.statistics.ranks import nearest_rank
from results.statistics.shares import Bounds

BATCHES = 20
"""Batches of a run. Few, so that each is long against the correlation; 20 to 30 is the usual advice
(Schmeiser, Batch size effects in the analysis of simulation output, Operations Research 30, 1982).
"""

DISCOUNT_ERROR = 0.05


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean and how far it can be trusted.

    Args:
        value: The mean.
        standard_error: Its standard error, from the spread of the batch means.
        batches: How many batches that is from.
    """

    value: float
    standard_error: float
    batches: int

    def bounds(self, confidence: float) -> Bounds:
        """Return the two-sided interval mean -+ t(1 - alpha / 2, batches - 1) * standard error."""
        half = self.half_width((1.0 - confidence) / 2.0)
        return Bounds(self.value - half, self.value + half)

    def half_width(self, alpha: float, *, scale: float = 1.0) -> float:
        """Return the distance of the one-sided bound of error `alpha` from the mean.

        Args:
            alpha: The one-sided error.
            scale: As if the run were that many times as long.
        """
        from scipy.special import stdtrit

        quantile = float(stdtrit(self.batches - 1, 1.0 - alpha))
        return quantile * self.standard_error / math.sqrt(scale)


def batch_means(values: npt.ArrayLike, batches: int = BATCHES) -> FloatArray:
    """Return the means of consecutive batches of equal size, `[batches]`.

    What does not fill the last batch is left out, at the start.

    Raises:
        InvalidInputError: There are fewer values than batches, or fewer than 2 batches.
    """
    array = np.asarray(values, dtype=np.float64)
    if batches < 2:
        raise InvalidInputError(f"batches must be >= 2, but got {batches}")
    if len(array) < batches:
        raise InvalidInputError(f"values must be {batches} or more, but got {len(array)}")
    size = len(array) // batches
    means: FloatArray = array[len(array) - size * batches :].reshape(batches, size).mean(axis=1)
    return means


def mean_of(values: npt.ArrayLike, batches: int = BATCHES) -> Mean:
    """Return the mean of values in the order of time, with the error of its batch means.

    SE = sqrt(S^2 / m), S^2 the sample variance of the m batch means. It assumes a stationary
    sequence whose batches are long against its correlation, so that their means are near
    independent and normal (Law, Simulation Modeling and Analysis, 5th ed. 2015, section 9.5.3).
    Where they are not, the error comes out too small: with rare slow phases the one-sided 99 %
    bound on 60 s fails far more often than in 1 % of runs (docs/verdicts.md has the table).

    Raises:
        InvalidInputError: There are fewer values than batches.
    """
    means = batch_means(values, batches)
    return mean_of_means(means)


def mean_of_means(means: FloatArray) -> Mean:
    """Return the mean of equally long batches whose own means are given, `[m]`, m >= 2."""
    spread = float(means.std(ddof=1)) / math.sqrt(len(means))
    return Mean(float(means.mean()), spread, len(means))


def effective_number(occurred: npt.ArrayLike, batches: int = BATCHES) -> float:
    """Return how many independent yes-or-no values would fix their share as well as these do.

    N_eff = p (1 - p) / (S^2 / m), p the share of yes, S^2 the sample variance of the m batch means;
    at most N. With no yes, or nothing else, there is no variance to see and the answer is N: that
    says nothing of what the run happened to miss, so a verdict needs a second opinion.

    Args:
        occurred: Yes or no in the order of time, bool `[N]`.
        batches: m.
    """
    array = np.asarray(occurred, dtype=np.float64)
    if len(array) < batches:
        return 0.0
    means = batch_means(array, batches)
    share, variance = float(means.mean()), float(means.var(ddof=1)) / batches
    if variance == 0.0:
        return float(len(array))
    return min(float(len(array)), share * (1.0 - share) / variance)


def discount(batches: int = BATCHES, error: float = DISCOUNT_ERROR) -> float:
    """Return the factor on an effective number that makes it too large with probability `error`.

    S^2 of m batch means varies as chi-square with m - 1 degrees of freedom, so N_eff times
    chi2(error, m - 1) / (m - 1) is its lower confidence bound: 0.53 for 20 batches and 5 %.
    """
    from scipy.special import chdtri

    freedom = batches - 1
    return float(chdtri(freedom, 1.0 - error)) / freedom


def block_bootstrap(
    values: npt.ArrayLike,
    level: float | None,
    confidence: float,
    *,
    blocks: int = BATCHES,
    draws: int = 1000,
    seed: int = 0,
) -> Bounds:
    """Return a percentile-bootstrap interval for the mean or a percentile, resampling whole blocks.

    Blocks of consecutive values are drawn with replacement, so that dependence within a block is
    kept (Carlstein, The use of subseries values for estimating the variance of a general statistic,
    Annals of Statistics 14, 1986). It needs no formula for the statistic, but knows nothing that
    the run does not hold, and is no substitute for `share_upper` at the edge of the data.

    Args:
        values: In the order of time, `[N]`, N >= blocks.
        level: 0.99 for p99, above 0 and below 1; None for the mean.
        confidence: Two-sided.
        blocks: How many blocks the run is cut into.
        draws: Bootstrap repetitions.
        seed: Of the draws.

    Raises:
        InvalidInputError: There are fewer values than blocks.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < blocks:
        raise InvalidInputError(f"values must be {blocks} or more, but got {len(array)}")
    size = len(array) // blocks
    parts = array[len(array) - size * blocks :].reshape(blocks, size)
    picks = np.random.default_rng(seed).integers(0, blocks, (draws, blocks))
    if level is None:
        drawn = parts.mean(axis=1)[picks].mean(axis=1)
    else:
        drawn = _percentiles(parts, picks, level)
    alpha = (1.0 - confidence) / 2.0
    low, high = np.quantile(drawn, (alpha, 1.0 - alpha))
    return Bounds(float(low), float(high))


def _percentiles(parts: FloatArray, picks: npt.NDArray[np.int64], level: float) -> FloatArray:
    """Return the percentile of each resample, by nearest rank, `[draws]`.

    Only how often each block was drawn matters, so the values are sorted once.
    """
    blocks, size = parts.shape
    order = np.argsort(parts, axis=None, kind="stable")
    ordered, owner = parts.ravel()[order], order // size
    rank = nearest_rank(level, blocks * size)
    found = np.empty(len(picks))
    for i, pick in enumerate(picks):
        weights = np.bincount(pick, minlength=blocks)
        found[i] = ordered[np.searchsorted(np.cumsum(weights[owner]), rank)]
    return found
