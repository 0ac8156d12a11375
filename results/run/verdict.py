"""Whether a run shows that an SLO is met or missed, or shows neither.

`judge` takes latencies as they are; `judge_run` a run's logs. Both look at what the run says of the
process (or recording) that its arrivals came from, not at the run alone: that a run's own p99 is
below the limit is no verdict.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from results.arrays import BoolArray, FloatArray
from results.errors import InvalidInputError
from results.run.slo import Kind, Slo
from results.statistics.correction import holm
from results.statistics.correlated import BATCHES, batch_means, discount, mean_of_means
from results.statistics.ranks import nearest_rank
from results.statistics.shares import Bounds, percentile_interval
from results.statistics.tail import SPARE, TailEvidence, companion_of, evidence_of

CONFIDENCE = 0.99
"""A decision is wrong with probability 1 - this at most, as far as the run holds its promises."""

MEAN_S = 460.0
"""A run this long may say of a mean of times that it is met without a factor to spare."""

_LONGEST_SCALE = 1000.0


class Decision(StrEnum):
    """What a run says about an SLO."""

    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided"


class Verdict(BaseModel):
    """A decision on one SLO and what it rests on.

    Args:
        slo: The objective, as text.
        decision: met, missed or undecided.
        confidence: At which it was decided; higher where several SLOs or looks share the error.
        population: What it is about.
        estimate: The metric over the run, an unanswered request counting as infinitely late; None
            where that is infinite or nothing was measured.
        low, high: Two-sided interval for the metric at `confidence`; None: not bounded.
        requests: Requests that were looked at.
        past_limit: How many of them were over the limit, where it is about a share of them.
        effective_requests: How many independent ones they count for; None for means and rates.
        excluded: Requests that their callers cancelled.
        more_requests, more_s: How much more, of the same kind, would decide; None if it is decided
            or a thousand times as much would not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    slo: str
    decision: Decision
    confidence: float
    population: str = "this process"
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    requests: int = 0
    past_limit: int | None = None
    effective_requests: float | None = None
    excluded: int = 0
    more_requests: int | None = None
    more_s: float | None = None


def judge(
    latency_s: npt.ArrayLike, slo: Slo, *, window_s: float, confidence: float = CONFIDENCE
) -> Verdict:
    """Judge an SLO on a percentile or the mean of latency.

    Args:
        latency_s: Latency of every request in the order of arrival, `[N]`, seconds; infinity for
            one that was not answered. NaN is not allowed.
        slo: Of a kind `Kind.LATENCY`.
        window_s: How long the arrivals took, seconds, > 0.
        confidence: 0.99, or more where several verdicts are to hold together.

    Raises:
        InvalidInputError: The SLO is on another metric, or an argument is out of its range.
    """
    if slo.objective.kind is not Kind.LATENCY:
        raise InvalidInputError(f"the SLO must be on latency, but got {slo}")
    values = np.asarray(latency_s, dtype=np.float64)
    if np.isnan(values).any():
        raise InvalidInputError("latency_s must be numbers or infinity, but has NaN")
    return judge_values(values, slo, window_s=window_s, confidence=confidence)


def judge_values(
    values: FloatArray, slo: Slo, *, window_s: float, confidence: float = CONFIDENCE
) -> Verdict:
    """Judge a percentile or the mean of one value a request, `[N]` in the order of time."""
    _check(window_s, confidence)
    level = slo.objective.level
    if level is None:
        means = batch_means(values, BATCHES) if len(values) >= BATCHES else None
        verdict = judge_means(means, slo, window_s=window_s, confidence=confidence)
        return verdict.model_copy(
            update={
                "requests": len(values),
                "estimate": _finite(values.mean()) if len(values) else None,
                "more_requests": _more(verdict.more_s, len(values) / window_s),
            }
        )
    past = values > slo.limit if slo.op == "<=" else values >= slo.limit
    allowed = round(1.0 - level, 12)
    companion = companion_of(values, allowed)
    evidence = evidence_of(past, companion, allowed, window_s, values > slo.limit / SPARE)
    verdict = _judge_evidence(evidence, past, slo, window_s, confidence)
    ordered = np.sort(values)
    bounds = percentile_interval(ordered, level, confidence, number=evidence.effective)
    rank = nearest_rank(level, len(values))
    estimate = float(ordered[rank - 1]) if len(values) else math.inf
    return _with_interval(verdict, estimate, bounds)


def judge_share(
    occurred: BoolArray,
    values: FloatArray,
    slo: Slo,
    *,
    window_s: float,
    confidence: float = CONFIDENCE,
) -> Verdict:
    """Judge an SLO on the share of requests to which something occurred, or did not.

    Args:
        occurred: Whether it did, bool `[N]` in the order of time.
        values: Latency of the same requests `[N]`: what shows bursts before they do any harm.
        slo: With its limit as a share.
        window_s: How long the arrivals took, seconds.
        confidence: As for `judge`.
    """
    _check(window_s, confidence)
    past, allowed = (occurred, slo.limit) if slo.from_above else (~occurred, 1.0 - slo.limit)
    companion = companion_of(values, max(allowed, 0.01))
    evidence = evidence_of(past, companion, allowed, window_s)
    verdict = _judge_evidence(evidence, past, slo, window_s, confidence)
    share = float(occurred.mean()) if len(occurred) else math.nan
    return _with_interval(verdict, share, _share_bounds(share, evidence.effective, confidence))


def judge_means(
    means: FloatArray | None, slo: Slo, *, window_s: float, confidence: float = CONFIDENCE
) -> Verdict:
    """Judge an average from its batch means, equally long stretches of the run, `[m]`.

    Met when the one-sided bound of batch means lies within the limit, missed when the other one
    lies beyond it; see `correlated.mean_of`. The standard error is divided by sqrt(0.53), the
    square root of `correlated.discount`, for the error of its own estimate.

    A mean of times is made by rare slow phases, which a short run misses, and then its error is too
    small as well. So it is met only with twice the error, by a run of `MEAN_S` or longer, or with
    a factor of `SPARE` to spare. A single request without an answer makes it infinite, and missed.
    """
    _check(window_s, confidence)
    if means is None or not len(means):
        return Verdict(slo=str(slo), decision=Decision.UNDECIDED, confidence=confidence)
    if not np.isfinite(means).all():
        return Verdict(slo=str(slo), decision=Decision.MISSED, confidence=confidence)
    mean, alpha = mean_of_means(means), 1.0 - confidence

    of_times = slo.objective.kind in {Kind.LATENCY, Kind.PART}
    sign = 1.0 if slo.from_above else -1.0

    def met(half: float, scale: float) -> bool:
        if not of_times:
            return slo.holds(mean.value + sign * half)
        if window_s * scale >= MEAN_S and slo.holds(mean.value + 2.0 * half):
            return True
        return slo.holds((mean.value + half) * SPARE)

    def decide(scale: float) -> Decision:
        half = mean.half_width(alpha, scale=scale) / math.sqrt(discount(len(means)))
        if met(half, scale):
            return Decision.MET
        if slo.holds(mean.value - sign * half):
            return Decision.UNDECIDED
        return Decision.MISSED

    verdict = Verdict(
        slo=str(slo),
        decision=decide(1.0),
        confidence=confidence,
        more_s=_more_s(decide, window_s),
    )
    return _with_interval(verdict, mean.value, mean.bounds(confidence))


def judge_all(
    slos: Sequence[Slo],
    judge_one: Callable[[Slo, float], Verdict],
    *,
    confidence: float = CONFIDENCE,
) -> list[Verdict]:
    """Judge several SLOs with one error for all of them, by Holm's correction.

    Args:
        slos: The objectives.
        judge_one: Judges one of them at a confidence.
        confidence: That all decisions together are right.
    """
    return holm(
        slos,
        lambda slo, alpha: judge_one(slo, 1.0 - alpha),
        lambda verdict: verdict.decision is not Decision.UNDECIDED,
        1.0 - confidence,
    )


def overall(verdicts: Sequence[Verdict]) -> Decision | None:
    """Return missed if any is, else undecided if any is, else met; None without any."""
    decisions = {verdict.decision for verdict in verdicts}
    for decision in (Decision.MISSED, Decision.UNDECIDED, Decision.MET):
        if decision in decisions:
            return decision
    return None


def _check(window_s: float, confidence: float) -> None:
    if not 0.0 < window_s < math.inf:
        raise InvalidInputError(f"window_s must be > 0, but got {window_s:g}")
    if not 0.5 < confidence < 1.0:
        raise InvalidInputError(f"confidence must be between 0.5 and 1, but got {confidence:g}")


def _judge_evidence(
    evidence: TailEvidence, past: BoolArray, slo: Slo, window_s: float, confidence: float
) -> Verdict:
    alpha = 1.0 - confidence

    def decide(scale: float) -> Decision:
        if evidence.missed(alpha, scale):
            return Decision.MISSED
        return Decision.MET if evidence.met(alpha, scale) else Decision.UNDECIDED

    more_s = _more_s(decide, window_s)
    return Verdict(
        slo=str(slo),
        decision=decide(1.0),
        confidence=confidence,
        requests=len(past),
        past_limit=int(past.sum()),
        effective_requests=round(evidence.effective, 1),
        more_requests=_more(more_s, len(past) / window_s),
        more_s=more_s,
    )


def _more_s(decide: Callable[[float], Decision], window_s: float) -> float | None:
    """Return how much longer the run had to be to decide, if more of it were like it."""
    high = 1.0
    while decide(high) is Decision.UNDECIDED:
        high *= 2.0
        if high > _LONGEST_SCALE:
            return None
    if high == 1.0:
        return None
    low = high / 2.0
    for _ in range(12):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if decide(middle) is Decision.UNDECIDED else (low, middle)
    return (high - 1.0) * window_s


def _more(more_s: float | None, rate_rps: float) -> int | None:
    return None if more_s is None else max(1, math.ceil(more_s * rate_rps))


def _share_bounds(share: float, number: float, confidence: float) -> Bounds:
    from results.statistics.shares import share_lower, share_upper

    if math.isnan(share):
        return Bounds(None, None)
    alpha = (1.0 - confidence) / 2.0
    return Bounds(share_lower(share, number, alpha), share_upper(share, number, alpha))


def _with_interval(verdict: Verdict, estimate: float, bounds: Bounds) -> Verdict:
    values: Mapping[str, Any] = {
        "estimate": _finite(estimate),
        "low": _finite(bounds.low),
        "high": _finite(bounds.high),
    }
    return verdict.model_copy(update=values)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
