"""The highest load at which a batcher meets an objective, found in simulation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from bench.errors import InputError
from bench.simulation.outcome import Outcome, ranked
from bench.simulation.setup import Setup
from results.errors import InvalidInputError
from results.run.record import Run
from results.run.slo import Kind, Slo
from results.run.verdict import judge
from results.statistics.ranks import nearest_rank
from workloads import ResolvedTrace

# Beyond this share of what a full queue is served at, a queue has no end worth simulating.
STABLE = 0.995


@dataclass(frozen=True, slots=True)
class Trial:
    """One load that was tried.

    Attributes:
        rate_rps: mean rate offered.
        met: whether the objective was met.
        outcomes: what came of each draw.
    """

    rate_rps: float
    met: bool
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Capacity:
    """Where a batcher stops meeting its objective.

    Attributes:
        limit_rps: what it serves with a queue that never empties; no load above can be carried.
        met: the highest load that met the objective; None if the lowest tried did not.
        missed: the lowest that did not; None if it is met up to the limit.
        trials: all that were tried, in order.
    """

    limit_rps: float
    met: Trial | None
    missed: Trial | None
    trials: tuple[Trial, ...]


def find_capacity(
    setup: Setup,
    draws: Callable[[float], Sequence[ResolvedTrace]],
    meets: Callable[[Sequence[Outcome]], bool],
    *,
    seed: int = 0,
    lowest: float = 0.01,
    tolerance: float = 0.01,
) -> Capacity:
    """Bracket and bisect the load, on a geometric scale.

    The draws of every load come from the same seeds, so that what differs between two loads is
    the load. Latency need not grow with it everywhere (a fuller batch can be cheaper than a wait),
    so the answer is the boundary that bisection meets, from below.

    Args:
        setup: the batcher.
        draws: rate in requests per second -> arrivals at that mean rate.
        meets: whether the outcomes of the draws, taken together, meet the objective.
        seed: of the service times.
        lowest: where to begin, as a share of the limit.
        tolerance: relative width of the bracket to stop at.
    """
    limit_rps = setup.limit_rps(seed)
    trials: list[Trial] = []
    if not limit_rps > 0.0:
        return Capacity(0.0, None, None, ())

    def attempt(rate_rps: float) -> Trial:
        outcomes = tuple(
            setup.outcome(arrivals, seed + i) for i, arrivals in enumerate(draws(rate_rps))
        )
        trials.append(Trial(rate_rps, meets(outcomes), outcomes))
        return trials[-1]

    met: Trial | None = None
    missed: Trial | None = None
    rate_rps = 0.5 * STABLE * limit_rps
    while missed is None or met is None:
        trial = attempt(rate_rps)
        if trial.met:
            met = trial
            if rate_rps >= STABLE * limit_rps:
                break
            rate_rps = STABLE * limit_rps
        else:
            missed = trial
            if rate_rps <= lowest * limit_rps:
                break
            rate_rps = max(lowest * limit_rps, rate_rps / 4.0) if met is None else rate_rps
    while met and missed and missed.rate_rps > (1.0 + tolerance) * met.rate_rps:
        trial = attempt((met.rate_rps * missed.rate_rps) ** 0.5)
        met, missed = (trial, missed) if trial.met else (met, trial)
    return Capacity(limit_rps, met, missed, tuple(trials))


def pooled_percentile_s(outcomes: Sequence[Outcome], share: float) -> float:
    """Latency by nearest rank over the requests of all draws; one without an answer is infinite."""
    requests = sum(o.requests for o in outcomes)
    if not requests:
        return inf
    latency_s = np.concatenate([o.latency_s for o in outcomes])
    return ranked(latency_s, nearest_rank(share, requests))


def pooled_mean_s(outcomes: Sequence[Outcome]) -> float:
    """Mean latency over the requests of all draws; infinite if one got no answer."""
    if any(o.ok < o.requests for o in outcomes):
        return float("inf")
    return sum(float(o.latency_s.sum()) for o in outcomes) / sum(o.requests for o in outcomes)


@dataclass(frozen=True)
class LatencyObjective:
    """An SLO on a percentile or the mean of latency.

    A request without an answer took for ever, so turning requests away cannot meet it.
    """

    slo: Slo

    @classmethod
    def parse(cls, text: str) -> "LatencyObjective":
        """Read 'p99<=50ms'.

        Raises:
            InputError: it is no SLO, or one on something else than latency.
        """
        try:
            return cls(Slo.parse(text, (Kind.LATENCY,)))
        except InvalidInputError as error:
            raise InputError(f"slo: {error}") from None

    @property
    def name(self) -> str:
        """What is limited, for short: p99."""
        return self.slo.objective.name

    @property
    def limit_s(self) -> float:
        """Seconds."""
        return self.slo.limit

    def value_s(self, outcomes: Sequence[Outcome]) -> float:
        """What it came to over the requests of all draws together, seconds."""
        level = self.slo.objective.level
        return pooled_mean_s(outcomes) if level is None else pooled_percentile_s(outcomes, level)

    def met(self, outcomes: Sequence[Outcome]) -> bool:
        """Whether the draws, taken together, are within the limit."""
        return self.slo.holds(self.value_s(outcomes))

    def judged(self, run: Run) -> dict[str, Any]:
        """What a measured run says of it: the value in seconds, whether that is met, the verdict.

        `value_s` is null where a request without an answer decides it. A run at the very boundary
        is seldom long enough for a verdict at 99 % confidence: then `decision` is undecided.
        """
        window_s = run.record.window_s
        inside = run.requests[run.requests["scheduled_s"] < window_s]
        times_s = np.asarray(inside["ended_s"] - inside["scheduled_s"], dtype=np.float64)
        latency_s = np.where(inside["status"] == "ok", times_s, inf)
        verdict = judge(latency_s, self.slo, window_s=window_s)
        estimate_s = inf if verdict.estimate is None else verdict.estimate
        return {
            "value_s": verdict.estimate,
            "met": self.slo.holds(estimate_s),
            "decision": verdict.decision,
            "low_s": verdict.low,
            "high_s": verdict.high,
        }
