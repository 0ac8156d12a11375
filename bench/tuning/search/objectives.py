"""What a setting is judged by: a value to make small or large, and what it must not violate.

Every objective is computed from the same evidence, several draws of the arrivals that each setting
meets alike. Statistics of latency are pooled: they are of all requests of all draws together, one
without an answer counting as infinitely late, so that they estimate the process's own and shedding
cannot buy a tail.

A violation is 0 or less where a constraint holds. Constraints are given to the sampler as such and
never mixed into the value: a setting that cannot carry the load has no meaningful latency at all,
only that of the trace's length.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf, isfinite, log
from typing import Protocol

from bench.errors import InputError
from bench.simulation.capacity import STABLE, pooled_percentile_s
from bench.simulation.outcome import Outcome

LOAD, ANSWERED, SLO = "load", "answered", "slo"
# How far beyond its limit is as bad as any: e^3 is a factor of twenty.
_WORST = 3.0
_PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic of latency over all requests.

    Attributes:
        share: 0.99 for the p99; None for the mean.
    """

    share: float | None = 0.99

    @classmethod
    def parse(cls, text: str) -> "Statistic":
        """Read "99", "p99.9" or "mean".

        Raises:
            InputError: it is none of those that runs report.
        """
        if text == "mean":
            return cls(None)
        try:
            value = float(text.removeprefix("p"))
        except ValueError:
            value = inf
        if value not in _PERCENTILES:
            known = ", ".join(f"{known:g}" for known in _PERCENTILES)
            raise InputError(f"percentile must be one of {known} or mean, but got {text!r}")
        return cls(round(value / 100.0, 6))

    @property
    def fewest(self) -> int:
        """How many requests it takes at the least to judge it at 99 % confidence.

        The smallest N for which share ** N <= 0.01: 459 for a p99. One for the mean.
        """
        return 1 if self.share is None else ceil(log(0.01) / log(self.share))

    def of(self, outcomes: Sequence[Outcome]) -> float:
        """The statistic of all requests of all draws, seconds; infinite if it has no value."""
        if self.share is not None:
            return pooled_percentile_s(outcomes, self.share)
        requests = sum(outcome.requests for outcome in outcomes)
        if not requests or any(outcome.ok < outcome.requests for outcome in outcomes):
            return inf
        return sum(float(outcome.latency_s.sum()) for outcome in outcomes) / requests

    def __str__(self) -> str:
        return "mean" if self.share is None else f"p{100.0 * self.share:g}"


@dataclass(frozen=True, slots=True)
class Limit:
    """An SLO on latency: `statistic` at most `limit_s` seconds."""

    statistic: Statistic
    limit_s: float

    def violation(self, outcomes: Sequence[Outcome]) -> float:
        """log(statistic / limit): 0 where it is just met, 0.1 where it is missed by 10.5 %."""
        return excess_of(self.statistic.of(outcomes) / self.limit_s)

    def met(self, outcomes: Sequence[Outcome]) -> bool:
        """Whether the requests of all draws, taken together, meet it."""
        return self.statistic.of(outcomes) <= self.limit_s

    def late_share(self, outcomes: Sequence[Outcome]) -> float:
        """The share of requests that took longer, or got no answer."""
        requests = sum(outcome.requests for outcome in outcomes)
        within = sum(outcome.within(self.limit_s) for outcome in outcomes)
        return 1.0 - within / requests if requests else 1.0

    def __str__(self) -> str:
        return f"{self.statistic} <= {1e3 * self.limit_s:g} ms"


@dataclass(frozen=True)
class Evidence:
    """What the simulator says of one setting at the trace's load.

    Attributes:
        offered_rps: the load.
        limit_rps: what the setting serves with a queue that never empties.
        outcomes: one a draw; empty if it cannot carry the load and refuses nothing.
        window_s: length of a draw.
        capacity_rps: works out the highest load at which a limit is met, 0 if there is none.
    """

    offered_rps: float
    limit_rps: float
    outcomes: tuple[Outcome, ...]
    window_s: float
    capacity_rps: Callable[[Limit], float]

    @property
    def device_s_per_request(self) -> float:
        """Execution time of all workers / answers, over all draws; infinite if unknown."""
        if not self.outcomes:
            return inf
        answers = [outcome.throughput_rps * self.window_s for outcome in self.outcomes]
        busy_s = [
            outcome.device_s_per_request * count
            for outcome, count in zip(self.outcomes, answers, strict=True)
            if count
        ]
        return sum(busy_s) / sum(answers) if sum(answers) else inf

    @property
    def unanswered(self) -> float:
        """The share of requests that got no answer."""
        requests = sum(outcome.requests for outcome in self.outcomes)
        answered = sum(outcome.ok for outcome in self.outcomes)
        return 1.0 - answered / requests if requests else 1.0

    def carries(self) -> dict[str, float]:
        """The constraints of an objective that takes all of the load for granted.

        Of the load: log(offered / limit). A setting that refuses some requests so as to carry the
        rest violates the other.
        """
        load = excess_of(self.offered_rps / (STABLE * self.limit_rps)) if self.limit_rps else _WORST
        violations = {LOAD: load}
        if load <= 0.0:
            violations[ANSWERED] = self.unanswered
        return violations


@dataclass(frozen=True, slots=True)
class Score:
    """One setting, judged.

    Attributes:
        value: of the objective; infinite, or 0 where more is better, if it has none.
        violations: by constraint; above 0 where it is violated, and the more the worse.
    """

    value: float
    violations: Mapping[str, float]

    @property
    def feasible(self) -> bool:
        """Whether no constraint is violated."""
        return all(violation <= 0.0 for violation in self.violations.values())


class Objective(Protocol):
    """What is to be made small, or large."""

    @property
    def name(self) -> str:
        """As `--objective` takes it."""
        ...

    @property
    def maximise(self) -> bool:
        """Whether more is better."""
        ...

    def score(self, evidence: Evidence) -> Score:
        """Judge a setting."""
        ...

    def per_draw(self, evidence: Evidence) -> tuple[float, ...]:
        """The same for each draw by itself, for paired statistics; empty if there is no such."""
        ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Least latency at the trace's load, while all of it is answered, within the SLO if any."""

    statistic: Statistic = Statistic()
    limit: Limit | None = None
    name: str = "latency"
    maximise: bool = False

    def score(self, evidence: Evidence) -> Score:
        """The statistic, seconds."""
        violations = evidence.carries()
        if violations[LOAD] > 0.0:
            return Score(inf, violations)
        if self.limit is not None:
            violations[SLO] = self.limit.violation(evidence.outcomes)
        return Score(self.statistic.of(evidence.outcomes), violations)

    def per_draw(self, evidence: Evidence) -> tuple[float, ...]:
        """The statistic of each draw."""
        return tuple(self.statistic.of([outcome]) for outcome in evidence.outcomes)


@dataclass(frozen=True, slots=True)
class DeviceTime:
    """Least device time per request at the trace's load, within the SLO."""

    limit: Limit
    name: str = "device-time"
    maximise: bool = False

    def score(self, evidence: Evidence) -> Score:
        """Seconds per request."""
        violations = evidence.carries()
        if violations[LOAD] > 0.0:
            return Score(inf, violations)
        violations[SLO] = self.limit.violation(evidence.outcomes)
        return Score(evidence.device_s_per_request, violations)

    def per_draw(self, evidence: Evidence) -> tuple[float, ...]:
        """Seconds per request of each draw."""
        return tuple(outcome.device_s_per_request for outcome in evidence.outcomes)


@dataclass(frozen=True, slots=True)
class Energy(DeviceTime):
    """Least energy per request at the trace's load, within the SLO.

    Only a device can say what it takes. In simulation device time stands in for it: a device that
    is busy for less time takes less beside what it takes while it idles.
    """

    name: str = "energy"


@dataclass(frozen=True, slots=True)
class CapacityWithin:
    """The highest load of these arrivals at which the SLO is met."""

    limit: Limit
    name: str = "capacity"
    maximise: bool = True

    def score(self, evidence: Evidence) -> Score:
        """Requests per second; a setting that meets the SLO at no load violates it."""
        if evidence.limit_rps <= 0.0:
            return Score(0.0, {SLO: _WORST})
        capacity_rps = evidence.capacity_rps(self.limit)
        if capacity_rps > 0.0:
            return Score(capacity_rps, {SLO: 0.0})
        violation = self.limit.violation(evidence.outcomes) if evidence.outcomes else _WORST
        return Score(0.0, {SLO: max(violation, 1e-6)})

    def per_draw(self, evidence: Evidence) -> tuple[float, ...]:
        """None: the load at which a process meets its SLO is not an average over draws."""
        return ()


@dataclass(frozen=True, slots=True)
class Goodput:
    """Most answers within the SLO's limit, whether or not the load can be carried."""

    limit: Limit
    name: str = "goodput"
    maximise: bool = True

    def score(self, evidence: Evidence) -> Score:
        """Answers in time per second; nothing is violated."""
        return Score(_mean(self.per_draw(evidence)), {})

    def per_draw(self, evidence: Evidence) -> tuple[float, ...]:
        """Answers in time per second of each draw."""
        limit_s = self.limit.limit_s
        return tuple(outcome.within(limit_s) / evidence.window_s for outcome in evidence.outcomes)


def make_objective(name: str | None, statistic: Statistic, limit: Limit | None) -> Objective:
    """The objective of that name; by default capacity with an SLO, and latency without.

    Raises:
        InputError: there is none, or it needs an SLO.
    """
    known = ("latency", "device-time", "capacity", "goodput", "energy")
    chosen = name or ("latency" if limit is None else "capacity")
    if chosen not in known:
        raise InputError(f"objective must be one of {', '.join(known)}, but got {chosen!r}")
    if chosen == "latency":
        return Latency(statistic, limit)
    if limit is None:
        raise InputError(f"objective {chosen} must be with an SLO, such as p99<=50ms, but got none")
    within: dict[str, type[DeviceTime | CapacityWithin | Goodput]] = {
        "device-time": DeviceTime,
        "capacity": CapacityWithin,
        "goodput": Goodput,
        "energy": Energy,
    }
    return within[chosen](limit)


def excess_of(ratio: float) -> float:
    """The log of a ratio >= 0 that may be infinite, within +-3."""
    if not isfinite(ratio):
        return _WORST
    return min(_WORST, max(-_WORST, log(ratio))) if ratio > 0.0 else -_WORST


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
