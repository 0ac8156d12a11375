"""A listed trace at another mean rate, in three ways that differ in what becomes of its bursts.

With r the rate of the trace, R the rate asked for, k = R / r, and IDC(t) the index of dispersion
for counts at the scale of t seconds (variance / mean of the number of arrivals in t seconds):

time        All times are divided by k. The order and the relative sizes of gaps are kept, a
            burst of b seconds lasts b / k: IDC'(t) = IDC(k t).
thin        k < 1. Each request is kept with probability k, independently. A burst comes when it
            came and lasts as long, with fewer requests: IDC'(t) - 1 = k (IDC(t) - 1).
superpose   k > 1. Copies of the trace, rotated by random offsets, are laid over each other, the
            last one thinned. A burst lasts as long, but bursts of different copies seldom
            coincide: variances add up as means do, and the rate swings less around its mean, by
            1 / sqrt(k) relatively. On average over seeds IDC'(t) - 1 = c (IDC(t) - 1), with n - 1
            whole copies, a share q of the last, and c = (n - 1 + q^2) / (n - 1 + q): 1 for a
            whole k, and never below 0.82. At scales near the length of the trace the index
            depends much on the seed: there is one trend, and its copies may add up or cancel.
"""

import math
from typing import Literal, TypeAlias

import numpy as np

from workloads.checks import positive
from workloads.errors import TraceError
from workloads.operations.merging import merged
from workloads.trace import SAME, Trace, check_seed, check_size

RateMethod: TypeAlias = Literal["time", "thin", "superpose"]
RATE_BY = ("time", "thin", "superpose", "auto")


def check_rate_by(rate_by: str) -> None:
    """Raise TraceError for a word that is not in RATE_BY."""
    if rate_by not in RATE_BY:
        raise TraceError(f"rate_by must be one of {', '.join(RATE_BY)}, but got {rate_by!r}")


def rate_method(trace: Trace, rate_rps: float, rate_by: str) -> RateMethod:
    """`rate_by`, with auto resolved: thin to a lower rate, superpose to a higher one.

    Raises:
        TraceError: Another word, or a method that cannot get from the trace's rate to this one.
    """
    check_rate_by(rate_by)
    positive("rate_rps", rate_rps, TraceError)
    ratio = _ratio(trace, rate_rps)
    if rate_by == "auto":
        if abs(ratio - 1) <= SAME:
            return "time"
        return "thin" if ratio < 1 else "superpose"
    if rate_by == "thin" and ratio > 1 + SAME:
        raise TraceError(
            f"thinning must be to a rate below the {trace.rate_rps:.6g} req/s of {trace.name}, "
            f"but got {rate_rps:.6g}: superpose or time reaches it"
        )
    if rate_by == "superpose" and ratio < 1 - SAME:
        raise TraceError(
            f"superposing must be to a rate above the {trace.rate_rps:.6g} req/s of {trace.name}, "
            f"but got {rate_rps:.6g}: thin or time reaches it"
        )
    if rate_by == "thin":
        return "thin"
    return "superpose" if rate_by == "superpose" else "time"


def to_rate(trace: Trace, rate_rps: float, rate_by: str = "time", seed: int = 0) -> Trace:
    """The trace at the mean rate `rate_rps`; see the docstring of the module.

    `time` gets there exactly. What is thinned has a number of requests that is random, binomial
    with the mean asked for.

    Args:
        trace: Listed arrivals that have a rate.
        rate_rps: Mean rate in requests per second.
        rate_by: How; one of RATE_BY.
        seed: Seed of what is random in thinning and superposing.

    Raises:
        TraceError: A rate out of range or out of the method's reach, or a result too large.
    """
    method = rate_method(trace, rate_rps, rate_by)
    ratio = _ratio(trace, rate_rps)
    if method == "time" or abs(ratio - 1) <= SAME:
        return trace.at_rate(rate_rps)
    if method == "thin":
        return trace.thinned(ratio, seed)
    return superposed(trace, ratio, seed)


def superposed(trace: Trace, copies: float, seed: int) -> Trace:
    """`copies` (>= 1) copies of the trace laid over each other; of a last part, a thinned copy.

    The first copy is the trace as it is; every other is rotated by an offset of its own, uniform
    over the trace, which joins its end to its start. Offsets are independent on purpose: over
    all offsets, the covariance of a rotated series with the series itself averages to zero at
    every scale, so variances just add up. Evenly spaced offsets would cancel every slow swing.

    Raises:
        TraceError: `copies` below 1, a trace that spans no time, or a result too large.
    """
    if not 1 <= copies < math.inf:
        raise TraceError(f"copies must be >= 1 and finite, but got {copies:.12g}")
    if not trace.duration_s > 0:
        raise TraceError(f"{trace.name} must span some time to be superposed, but spans 0 s")
    check_seed(seed)
    check_size(len(trace) * copies)
    whole = math.ceil(copies * (1 - SAME))
    last_share = min(1.0, copies - (whole - 1))
    rng = np.random.default_rng(seed)
    offsets_s = rng.random(whole - 1) * trace.duration_s
    layers = [trace, *(trace.rotated(offset_s) for offset_s in offsets_s.tolist())]
    if last_share < 1:
        layers[-1] = layers[-1].thinned(last_share, int(rng.integers(2**32)))
    together = merged(layers, name=trace.name)
    return together.taking(
        slice(None),
        together.arrival_s,
        trace.duration_s,
        trace.source_after("superpose", copies=copies, seed=seed),
    )


def _ratio(trace: Trace, rate_rps: float) -> float:
    if not trace.rate_rps > 0:
        raise TraceError(
            f"only a trace with requests and a duration has a rate to change, but got "
            f"{len(trace)} requests over {trace.duration_s:.12g} s"
        )
    return rate_rps / trace.rate_rps
