"""What is measured on the device for an objective, of one run and of several draws together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, log

import numpy as np
from numpy.typing import NDArray

from bench.simulation.setup import Setup
from bench.tuning.device.race import Measured
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
from results.run.metrics import Metrics as RunMetrics
from results.run.record import Run, RunRecord
from results.run.validity import Finding, FindingCode
from results.statistics.paired import Effect, effect_of
from results.tuning.device_record import Gain, Interval, MeasuredArm, RunFinding, Unit, shown_in
from results.tuning.metrics import STATISTICS, Metrics, latency_field
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
        return shown_in(self.unit, value)

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


def measured_metrics(runs: Sequence[Run], limit: Limit | None) -> Metrics:
    """What is kept of a setting that was measured, named as simulation does."""
    latency_s = np.sort(np.concatenate([all_latencies(run) for run in runs]))
    late = None if limit is None else latency_s > limit.limit_s
    return Metrics(
        offered_rps=_mean([run.metrics.offered_rps for run in runs]),
        device_s_per_request=_mean([run.metrics.device.busy_s_per_request for run in runs]),
        energy_j_per_request=_mean([run.metrics.device.energy_j_per_request for run in runs]),
        busy_fraction=_mean([run.metrics.device.busy_fraction for run in runs]),
        throughput_rps=_mean([run.metrics.throughput_rps for run in runs]),
        mean_batch_size=_mean([run.metrics.batch.mean_size for run in runs]),
        answered=float(np.isfinite(latency_s).mean()) if len(latency_s) else None,
        late_share=None if late is None or not len(late) else float(late.mean()),
        **{
            latency_field(name): statistic_of(latency_s, Statistic.parse(name))
            for name in STATISTICS
        },
    )


def _overload(run: Run) -> float:
    """log(offered / served) of a run whose backlog grew; 0 of any other."""
    if all(finding.code != FindingCode.SATURATED for finding in run.record.findings):
        return 0.0
    served = run.metrics.throughput_rps
    return max(_BEYOND, excess_of(run.metrics.offered_rps / served if served else inf))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def measured_in(stage: str, runs: Sequence[RunRecord], statistic: Statistic) -> MeasuredArm:
    """What the runs of an arm measured, one a draw; shares are at most 1, with their intervals.

    A metric that is not known, or 0, in some run is left out: geometric means are of logs.
    """
    values = [_flat(run.metrics, statistic) for run in runs if run.metrics is not None]
    metrics: dict[str, Interval] = {}
    for name in values[0] if len(values) == len(runs) else ():
        known = [value for one in values if (value := one[name]) is not None and value > 0.0]
        if len(known) == len(values):
            metrics[name] = _interval(known, most=1.0 if name == "busy_fraction" else inf)
    faults = Counter(str(code) for run in runs for code in {f.code for f in run.findings})
    return MeasuredArm(
        stage=stage,
        runs=len(runs),
        not_valid=sum(bool(run.findings) for run in runs),
        reasons=dict(faults.most_common()),
        metrics=metrics,
    )


def _flat(metrics: RunMetrics, statistic: Statistic) -> dict[str, float | None]:
    """The metrics of one run that are expected of a setting in use."""
    counts, device = metrics.counts, metrics.device
    answered = counts.ok == counts.submitted - counts.cancelled
    latency = {
        latency_field(name): getattr(metrics.latency_s, name.replace(".", "_"))
        for name in dict.fromkeys(("p50", "p99", "mean", str(statistic)))
    }
    return {
        **(latency if answered else dict.fromkeys(latency)),
        "throughput_rps": metrics.throughput_rps,
        "device_s_per_request": device.busy_s_per_request,
        "busy_fraction": device.busy_fraction,
        "energy_j_per_request": device.energy_j_per_request,
        "mean_batch_size": metrics.batch.mean_size,
    }


def _interval(values: Sequence[float], *, most: float) -> Interval:
    """Geometric mean, and Student's interval of that where there are two values."""
    if len(values) < 2:
        return Interval(value=values[0])
    effect = effect_of([log(value) for value in values])
    low, high = effect.interval
    return Interval(value=effect.ratio, low=low, high=min(high, most))


# What a tuning decides by itself is not to be advised to who runs it.
_LONGER = "Give a longer --duration, and a --budget that holds draws of it."
_REMEDIES = {
    FindingCode.TOO_FEW_REQUESTS: _LONGER,
    FindingCode.NOT_STEADY: f"{_LONGER} If it keeps changing, the load or the machine does.",
    FindingCode.SATURATED: "A setting that cannot carry the load loses the race: nothing is to be "
    "done.",
}


def findings_of(runs: Sequence[RunRecord]) -> tuple[RunFinding, ...]:
    """What makes runs not valid, the most frequent first."""
    by_code: dict[FindingCode, list[Finding]] = {}
    for run in runs:
        for finding in run.findings:
            by_code.setdefault(finding.code, []).append(finding)
    return tuple(
        RunFinding(
            code=str(code),
            message=some[0].message,
            remedy=_REMEDIES.get(code, some[0].remedy),
            runs=len(some),
            of=len(runs),
        )
        for code, some in sorted(by_code.items(), key=lambda item: -len(item[1]))
    )


def gain_of(over: str, effect: Effect | None, *, unable: int, draws: int, maximise: bool) -> Gain:
    """The gain over an arm: better, worse, no difference worth having, or not known.

    Args:
        over: the arm's name.
        effect: winner / arm; None where a ratio cannot be given.
        unable: draws in which the arm left requests unanswered.
        draws: how many there were.
        maximise: whether more is better.
    """
    if effect is None:
        verdict = "better" if unable else "not known"
        return Gain(over=over, verdict=verdict, draws=draws, unable=unable)
    low, high = (-effect.high, -effect.low) if maximise else (effect.low, effect.high)
    verdict = "better" if high < 0.0 else "worse" if low > 0.0 else "no measurable difference"
    return Gain(
        over=over,
        verdict=verdict,
        ratio=effect.ratio,
        low=effect.interval[0],
        high=effect.interval[1],
        level=effect.level,
        draws=draws,
        unable=unable,
    )
