"""What is measured on the device for an objective, of one run and of several draws together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.simulation.setup import Setup
from bench.tuning.device.race import Measured
from bench.tuning.findings import SHOWN, Interval, Unit
from bench.tuning.search.objectives import (
    ANSWERED,
    LOAD,
    SLO,
    CapacityWithin,
    DeviceTime,
    Energy,
    Goodput,
    Limit,
    Objective,
    Score,
    Statistic,
    excess_of,
)
from results.comparison.observation import all_latencies
from results.run.record import Run
from results.run.validity import FindingCode
from results.statistics.paired import effect_of
from workloads import ResolvedTrace

Floats = NDArray[np.float64]

# What a run that is beyond its setting's limits counts as violating at the least.
_BEYOND = 0.01


@dataclass(frozen=True)
class DeviceMetric:
    """What is measured on the device for an objective, and at which load.

    A capacity takes many loads to measure. It is verified at one, 95 % of what is predicted for
    the best setting: there the SLO has to be met, and the arm with the least latency wins.
    """

    objective: Objective
    statistic: Statistic
    limit: Limit | None

    @property
    def label(self) -> str:
        """What its values are."""
        if isinstance(self.objective, Energy):
            return "energy a request"
        if isinstance(self.objective, DeviceTime):
            return "device time a request"
        if isinstance(self.objective, Goodput):
            return "goodput"
        return f"{self.judged} latency"

    @property
    def unit(self) -> Unit:
        """Of its values: seconds, requests per second, or joules."""
        if isinstance(self.objective, Energy):
            return "j"
        return "rps" if isinstance(self.objective, Goodput) else "s"

    def shown(self, value: float) -> str:
        """One of its values as people read it."""
        return SHOWN[self.unit](value)

    @property
    def maximise(self) -> bool:
        """Whether more of it is better."""
        return isinstance(self.objective, Goodput)

    @property
    def judged(self) -> Statistic:
        """The statistic of latency that is measured, where it is a latency that is."""
        if isinstance(self.objective, CapacityWithin):
            return self.objective.limit.statistic
        return self.statistic

    @property
    def bound(self) -> Limit | None:
        """The SLO that has to be met; none where it is the goodput that counts."""
        return None if isinstance(self.objective, Goodput) else self.limit

    def of(self, run: Run) -> Measured:
        """Reduce a run."""
        score = self.score([run])
        excess = 0.0
        if self.bound is not None:
            value = statistic_of(all_latencies(run), self.bound.statistic)
            excess = log(value / self.bound.limit_s) if 0.0 < value < inf else inf
        known = isfinite(score.value) and score.value > 0.0
        return Measured(score.value if known else None, excess)

    def score(self, runs: Sequence[Run]) -> Score:
        """Judge a setting by its runs, one a draw, taken together.

        The constraints are those of the simulation, as far as a run shows them: `load`, that it
        ended without a growing backlog, and `answered`, that every request got its answer.
        """
        latency_s = np.sort(np.concatenate([all_latencies(run) for run in runs]))
        value = self._value(runs, latency_s)
        if isinstance(self.objective, Goodput):
            return Score(value, {})
        unanswered = 1.0 - float(np.isfinite(latency_s).mean()) if len(latency_s) else 1.0
        violations = {LOAD: max(map(_overload, runs)), ANSWERED: unanswered}
        if self.bound is not None:
            violations[SLO] = excess_of(
                statistic_of(latency_s, self.bound.statistic) / self.bound.limit_s
            )
        return Score(value, violations)

    def _value(self, runs: Sequence[Run], latency_s: Floats) -> float:
        objective = self.objective
        if isinstance(objective, Goodput):
            within = float((latency_s <= objective.limit.limit_s).sum())
            return within / sum(run.record.window_s for run in runs)
        if not isinstance(objective, DeviceTime):
            return statistic_of(latency_s, self.judged)
        spent = []
        for run in runs:
            device = run.metrics.device
            energy = isinstance(objective, Energy)
            each = device.energy_j_per_request if energy else device.busy_s_per_request
            answers = run.metrics.throughput_rps * run.record.window_s
            spent.append((inf if each is None else each * answers, answers))
        answers = sum(count for _, count in spent)
        return sum(total for total, _ in spent) / answers if answers else inf

    def predicted(self, setup: Setup, draw: ResolvedTrace) -> float | None:
        """The same from a simulation of the same arrivals; None of energy, which it knows not."""
        if isinstance(self.objective, Energy):
            return None
        outcome = setup.outcome(draw, 0)
        if isinstance(self.objective, DeviceTime):
            return outcome.device_s_per_request
        if isinstance(self.objective, Goodput):
            return outcome.within(self.objective.limit.limit_s) / draw.window_s
        return self.judged.of([outcome])


def statistic_of(latency_s: Floats, statistic: Statistic) -> float:
    """The statistic of latencies in ascending order; infinite where there is none."""
    if not len(latency_s):
        return inf
    if statistic.share is None:
        return float(latency_s.mean())
    rank = -(-round(statistic.share * 1_000_000) * len(latency_s) // 1_000_000)
    return float(latency_s[rank - 1])


def measured_facts(runs: Sequence[Run], limit: Limit | None) -> dict[str, Any]:
    """What is kept of a setting that was measured, under the names that simulation gives them."""
    latency_s = np.sort(np.concatenate([all_latencies(run) for run in runs]))
    facts: dict[str, float | None] = {
        "offered_rps": _mean([run.metrics.offered_rps for run in runs]),
        "limit_rps": None,
        **{
            f"{name}_s": _finite(statistic_of(latency_s, Statistic.parse(name)))
            for name in ("p50", "p90", "p95", "p99", "p99.9", "mean")
        },
        "device_s_per_request": _mean([run.metrics.device.busy_s_per_request for run in runs]),
        "energy_j_per_request": _mean([run.metrics.device.energy_j_per_request for run in runs]),
        "busy_fraction": _mean([run.metrics.device.busy_fraction for run in runs]),
        "throughput_rps": _mean([run.metrics.throughput_rps for run in runs]),
        "mean_batch_size": _mean([run.metrics.batch.mean_size for run in runs]),
        "answered": float(np.isfinite(latency_s).mean()) if len(latency_s) else None,
        "late_share": None,
    }
    if limit is not None and len(latency_s):
        facts["late_share"] = float((latency_s > limit.limit_s).mean())
    return facts


def _overload(run: Run) -> float:
    """log(offered / served) of a run whose backlog grew; 0 of any other."""
    if all(finding.code != FindingCode.SATURATED for finding in run.record.findings):
        return 0.0
    served = run.metrics.throughput_rps
    return max(_BEYOND, excess_of(run.metrics.offered_rps / served if served else inf))


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


# What is expected of a setting in use, by the names of run.json.
EXPECTED = (
    "latency_s.p50",
    "latency_s.p99",
    "latency_s.mean",
    "throughput_rps",
    "device.busy_s_per_request",
    "device.busy_fraction",
    "device.energy_j_per_request",
    "batch.mean_size",
)


_SHARES = ("device.busy_fraction",)


def metrics_of(run: Run) -> dict[str, float]:
    """The metrics of a run that are expected of a setting in use, where they were measured."""
    flat = run.metrics.model_dump()
    values: dict[str, float] = {}
    for name in EXPECTED:
        value: Any = flat
        for part in name.split("."):
            value = value[part]
        if value is not None:
            values[name] = float(value)
    return values


def expected_of(draws: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    """Each metric that all draws have: its geometric mean and Student's interval of that.

    Logs, because times and rates scale: a metric that is 0 in a draw is left out.
    """
    found: dict[str, Interval] = {}
    for name in EXPECTED:
        values = [draw[name] for draw in draws if draw.get(name, 0.0) > 0.0]
        if not values or len(values) < len(draws):
            continue
        if len(values) == 1:
            found[name] = Interval(values[0])
            continue
        effect = effect_of([log(value) for value in values])
        low, high = effect.interval
        most = 1.0 if name in _SHARES else inf
        found[name] = Interval(effect.ratio, low, min(high, most))
    return found
