"""A two-state MMPP from the counts of a trace."""

import math
from dataclasses import dataclass

import numpy as np

from workloads.processes.base import LONGEST_PHASE_S, SHORTEST_PHASE_S
from workloads.processes.dispersion import relaxation
from workloads.processes.mmpp import Mmpp
from workloads.statistics.counts import Scale
from workloads.trace import Times

# No scale counts as known better than this (standard deviation of log IDC): a real trace has
# no MMPP behind it, and its shortest scales, with millions of windows, must not decide alone.
FLOOR = 0.03
SMALLEST_VARIANCE, LARGEST_VARIANCE = 1e-6, 1e4
GRID, ZOOMS = 41, 6


@dataclass(frozen=True)
class Modulation:
    """What the dispersion curve says of an MMPP.

    Attributes:
        variance: Variance over time of the rate / mean rate, v.
        relaxation_s: 1 / q, the time after which the rate is forgotten, in seconds.
    """

    variance: float
    relaxation_s: float


def fit_mmpp(scales: tuple[Scale, ...], rate_rps: float) -> Mmpp:
    """The MMPP of two states whose dispersion curve is nearest to the measured one.

    The curve of an MMPP, 1 + (2 r v / q) (1 - (1 - exp(-q t)) / (q t)), tells the variance v of
    its relative rate and its relaxation rate q, but not how much of the time is bursts, p: few
    high bursts and many low ones can have the same curve (Heffes and Lucantoni, IEEE JSAC 4,
    1986, therefore match a third moment too). So v and q come from the curve, see `modulation`,
    and p from the third factorial cumulants of the counts, see `burst_share`.

    Args:
        scales: Of the trace, two or more with arrivals.
        rate_rps: Mean rate of the trace, requests per second.
    """
    found = modulation(scales, rate_rps)
    variance = found.variance
    # A phase longer than the trace was not seen to end.
    longest_s = _longest_s(scales)
    least = found.relaxation_s / longest_s
    share = min(max(burst_share(scales, rate_rps, found), least), 1 - least)
    burst_factor = 1 + math.sqrt(variance * (1 - share) / share)
    burst_s = min(found.relaxation_s / (1 - share), longest_s)
    calm_s = min(found.relaxation_s / share, longest_s)
    most = (burst_s + calm_s) / burst_s
    return Mmpp(min(burst_factor, most), burst_s, calm_s)


def modulation(scales: tuple[Scale, ...], rate_rps: float) -> Modulation:
    """Find v and 1 / q by least squares of the logarithm of the dispersion curve.

    A residual is weighted by the standard error of its scale, or FLOOR where that is smaller.
    What is matched is not the curve itself but what its estimate is expected to be in a trace
    of m windows, m / (m - 1) (IDC(t) - IDC(m t) / m). The minimum is found on a grid of both
    parameters' logarithms that is narrowed a few times: two parameters and a few dozen scales
    need nothing cleverer, and it cannot diverge.
    """
    span_s = np.array([scale.span_s for scale in scales])
    windows = np.array([scale.windows for scale in scales])
    measured, noise = measured_logs(scales)
    low = np.log([SMALLEST_VARIANCE, max(span_s[0] / 10, SHORTEST_PHASE_S)])
    high = np.log([LARGEST_VARIANCE, _longest_s(scales) / 4])
    least, most = low, high
    best = low
    for _ in range(ZOOMS):
        axes = [np.linspace(a, b, GRID) for a, b in zip(low, high, strict=True)]
        log_v, log_relaxation_s = np.meshgrid(*axes, indexing="ij")
        q = np.exp(-log_relaxation_s)[..., None]
        amplitude = 2 * rate_rps * np.exp(log_v)[..., None] / q
        curve = 1 + amplitude * relaxation(q * span_s)
        whole = 1 + amplitude * relaxation(q * span_s * windows)
        expected = np.log(windows / (windows - 1) * (curve - whole / windows))
        cost = (((expected - measured) / noise) ** 2).sum(axis=-1)
        where = np.unravel_index(np.argmin(cost), cost.shape)
        best = np.array([log_v[where], log_relaxation_s[where]])
        half = 3 * (high - low) / (GRID - 1)
        low, high = np.maximum(least, best - half), np.minimum(most, best + half)
    return Modulation(float(np.exp(best[0])), float(np.exp(best[1])))


def _longest_s(scales: tuple[Scale, ...]) -> float:
    return min(scales[0].span_s * scales[0].windows, LONGEST_PHASE_S)


def measured_logs(scales: tuple[Scale, ...]) -> tuple[Times, Times]:
    """The log of the IDC at each scale and its standard deviation, FLOOR at least, each `[K]`."""
    dispersion = np.array([max(scale.dispersion or 0.0, 0.01) for scale in scales])
    error = np.array([scale.dispersion_error or 0.0 for scale in scales])
    return np.log(dispersion), np.maximum(error / dispersion, FLOOR)


def burst_share(scales: tuple[Scale, ...], rate_rps: float, found: Modulation) -> float:
    """Share of the time in bursts, p, from the skewness of the rate over time.

    The third factorial cumulant of the counts of an MMPP is that of its integrated rate,

        6 r^3 k (q t - 2 + (q t + 2) exp(-q t)) / q^3,

    k = v^(3/2) g being the third central moment of the relative rate: for two states the third
    joint moment at times a < b < c is k exp(-q (c - a)). g = (1 - 2 p) / sqrt(p (1 - p)) gives p.
    """
    q = 1 / found.relaxation_s
    x = q * np.array([scale.span_s for scale in scales])
    unit = 6 * (rate_rps / q) ** 3 * (x - 2 + (x + 2) * np.exp(-x))
    third = np.array([scale.third for scale in scales])
    # Shorter windows hold too few arrivals to be skewed by more than chance, longer ones average
    # the bursts away.
    near = (x > 0.3) & (x < 5)
    if not near.any():
        near = np.arange(len(x)) == np.argmin(np.abs(np.log(x)))
    k = float(np.mean(third[near] / unit[near]))
    skewness = k / found.variance**1.5
    share = (1 - skewness / math.sqrt(4 + skewness**2)) / 2
    return float(min(max(share, 1e-6), 1 / (1 + found.variance)))
