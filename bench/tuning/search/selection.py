"""From trials to a recommendation: fronts, ties, and what is the simplest among equals."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, log, log1p
from typing import TypeVar

from bench.settings import BatcherSettings
from bench.tuning.search.engines import Engine, Setting, setting_of
from bench.tuning.search.neighbours import SHORT, neighbours
from bench.tuning.search.objectives import (
    Evidence,
    Limit,
    Objective,
    Score,
    Statistic,
)
from bench.tuning.search.sampler import Finished, best_of
from bench.tuning.search.space import Space
from results.statistics.paired import effect_of
from results.tuning.metrics import STATISTICS, Metrics, latency_field

TIE = 0.02
# A simpler setting has to be this near on the draws that decide, to be within a tie on others too.
NEAR = 0.01
# Of the trials that come so near to the best, the simplest are looked at closely too.
CLOSE = 1.03
_T = TypeVar("_T")
_PLAIN = setting_of(BatcherSettings(), Engine("eager")).model_dump()


def simplicity(settings: BatcherSettings) -> tuple[int, int, int, float]:
    """Sorts settings from simple to involved.

    First how many knobs other than batch size and timeout differ from their defaults (an engine
    other than eager, and sizes that it is told to capture, are one each), then whether anything is
    waited for at all, then the batch size, then the timeout.
    """
    values, defaults = settings.model_dump(), dict(_PLAIN)
    usual = {"max_batch_size", "batch_timeout_ms", "slo_ms"}
    defaults["replicas"] = values["replicas"] if values["replicas"] == 1 else None
    changed = sum(values[key] != defaults[key] for key in values if key not in usual)
    return (
        changed,
        int(settings.batch_timeout_ms > 0.0),
        settings.max_batch_size,
        settings.batch_timeout_ms,
    )


def simulated_metrics(evidence: Evidence, limit: Limit | None = None) -> Metrics:
    """What is kept of a setting that was simulated."""
    outcomes = evidence.outcomes
    if not outcomes:
        return Metrics(offered_rps=evidence.offered_rps, limit_rps=evidence.limit_rps)
    return Metrics(
        offered_rps=evidence.offered_rps,
        limit_rps=evidence.limit_rps,
        device_s_per_request=evidence.device_s_per_request,
        busy_fraction=_mean([outcome.busy_fraction for outcome in outcomes]),
        throughput_rps=_mean([outcome.throughput_rps for outcome in outcomes]),
        mean_batch_size=_mean([outcome.mean_batch_size for outcome in outcomes]),
        answered=1.0 - evidence.unanswered,
        late_share=None if limit is None else limit.late_share(outcomes),
        **{latency_field(name): Statistic.parse(name).of(outcomes) for name in STATISTICS},
    )


@dataclass(frozen=True)
class Candidate:
    """A setting that was re-evaluated, on draws that the search never saw.

    Attributes:
        settings: of the batcher.
        score: by the objective.
        per_draw: the objective of each draw; empty if there is no such.
        metrics: of the setting at the trace's load.
    """

    settings: BatcherSettings
    score: Score
    per_draw: tuple[float, ...]
    metrics: Metrics


def choose(
    candidates: Sequence[Candidate],
    objective: Objective,
    *,
    tie: float = NEAR,
    named: Sequence[BatcherSettings] = (),
) -> Candidate | None:
    """The best, or a simpler one that is as good; one that has a name already before all.

    The best is the one with the best value. Another is preferred if it is within `tie` of
    that, and surely so: where the objective has a value for each draw, the 95 % interval of the
    paired difference must lie within the tie as well.

    Returns:
        None if all violate something.
    """
    sign = -1.0 if objective.maximise else 1.0
    feasible = [candidate for candidate in candidates if candidate.score.feasible]
    if not feasible:
        return None
    best = min(feasible, key=lambda candidate: sign * candidate.score.value)
    as_good = [
        candidate
        for candidate in feasible
        if candidate is best or _within(candidate, best, sign, log1p(tie))
    ]
    return min(
        as_good,
        key=lambda candidate: (candidate.settings not in named, *simplicity(candidate.settings)),
    )


def _within(candidate: Candidate, best: Candidate, sign: float, log_tie: float) -> bool:
    """Whether one is surely worse by no more than the tie."""
    if not (candidate.score.value > 0.0 and best.score.value > 0.0):
        return False
    if sign * log(candidate.score.value / best.score.value) > log_tie:
        return False
    pairs = [
        sign * log(mine / its)
        for mine, its in zip(candidate.per_draw, best.per_draw, strict=True)
        if isfinite(mine) and isfinite(its) and mine > 0.0 and its > 0.0
    ]
    if len(pairs) != len(best.per_draw):
        return False
    return len(pairs) < 2 or effect_of(pairs).high <= log_tie


def surely_better(candidate: Candidate, other: Candidate, *, maximise: bool) -> bool:
    """Whether it is better by more than the draws differ: the 95 % interval of the paired effect.

    Where the objective has no value for each draw, its value decides.
    """
    sign = -1.0 if maximise else 1.0
    if len(candidate.per_draw) != len(other.per_draw) or len(other.per_draw) < 2:
        return sign * candidate.score.value < sign * other.score.value
    pairs = list(zip(candidate.per_draw, other.per_draw, strict=True))
    if not all(isfinite(value) and value > 0.0 for pair in pairs for value in pair):
        return sign * candidate.score.value < sign * other.score.value
    return effect_of([sign * log(mine / its) for mine, its in pairs]).high < 0.0


def ranked(trials: Sequence[Finished], objective: Objective, space: Space) -> list[BatcherSettings]:
    """Trials in the order in which they deserve a closer look.

    In turn the best one left, and the simplest one left of those near the best; then, where there
    are any that violate something, the least violating. Of those that did exactly the same, as
    where a batch always fills before its timeout, the simplest stands for all.
    """
    trials = different(trials, space)
    sign = -1.0 if objective.maximise else 1.0
    best = best_of(trials, objective)
    by_value = sorted(
        (trial for trial in trials if trial.score.feasible),
        key=lambda trial: sign * trial.score.value,
    )
    made = {trial.number: space.settings(trial.knobs) for trial in trials}
    near = sorted(
        (t for t in by_value if best is not None and _ratio(t, best, sign) <= CLOSE),
        key=lambda trial: simplicity(made[trial.number]),
    )
    rest = sorted(
        (trial for trial in trials if not trial.score.feasible),
        key=lambda trial: max(trial.score.violations.values()),
    )
    turns: list[Finished] = []
    for i, trial in enumerate(by_value):
        turns.append(trial)
        if i < len(near):
            turns.append(near[i])
    return [made[trial.number] for trial in {t.number: t for t in turns + rest}.values()]


def leaders_by_engine(
    trials: Sequence[Finished], objective: Objective, space: Space
) -> list[BatcherSettings]:
    """The best trial of each engine, so that engines can be compared by their best."""
    by_engine: dict[object, list[Finished]] = {}
    for trial in trials:
        setting = space.settings(trial.knobs)
        if isinstance(setting, Setting):
            by_engine.setdefault(setting.by, []).append(trial)
    best = (best_of(its, objective) for its in by_engine.values())
    return [space.settings(trial.knobs) for trial in best if trial is not None]


def best_by_engine(
    candidates: Iterable[Candidate], objective: Objective
) -> dict[Engine, Candidate]:
    """By engine, the best candidate that violates nothing; without engines that have none."""
    sign = -1.0 if objective.maximise else 1.0
    best: dict[Engine, Candidate] = {}
    for candidate in sorted(candidates, key=lambda one: sign * one.score.value):
        if isinstance(candidate.settings, Setting) and candidate.score.feasible:
            best.setdefault(candidate.settings.by, candidate)
    return best


def different(trials: Sequence[Finished], space: Space) -> list[Finished]:
    """Without those that did what a simpler one did: the same to the last digit in all respects."""
    simplest: dict[str, tuple[tuple[int, int, int, float], Finished]] = {}
    for trial in trials:
        did = f"{trial.score.value} {trial.metrics.model_dump_json()}"
        if trial.metrics == Metrics():  # nothing is known of it but its value
            did = str(trial.number)
        rank = simplicity(space.settings(trial.knobs))
        if did not in simplest or rank < simplest[did][0]:
            simplest[did] = (rank, trial)
    return [trial for _, trial in simplest.values()]


def _ratio(trial: Finished, best: Finished, sign: float) -> float:
    if not best.score.value > 0.0 or not trial.score.value > 0.0:
        return 1.0
    return float((trial.score.value / best.score.value) ** sign)


def pareto(
    items: Iterable[_T], first: Callable[[_T], float | None], second: Callable[[_T], float | None]
) -> list[_T]:
    """Those that no other beats in one respect without being worse in the other; less is better.

    In order of the first respect. Items without a value in either are left out.
    """
    valued = [
        (a, b, item)
        for item in items
        if (a := first(item)) is not None and (b := second(item)) is not None
    ]
    front: list[_T] = []
    least = inf
    for _, b, item in sorted(valued, key=lambda entry: entry[:2]):
        if b < least:
            least = b
            front.append(item)
    return front


def front_of(trials: Iterable[Finished], statistic: Statistic) -> list[Finished]:
    """Trials that none beats in latency without taking more device time."""
    return pareto(
        trials,
        lambda trial: trial.metrics.latency_s(str(statistic)),
        lambda trial: trial.metrics.device_s_per_request,
    )


@dataclass(frozen=True, slots=True)
class Flatness:
    """How much the choice matters around the best.

    Attributes:
        within: share of a tie -> how many of the settings tried come that near to the best.
        tried: how many there were that violate nothing.
        worst: the worst of them, as a ratio to the best.
    """

    within: dict[float, int]
    tried: int
    worst: float


def flatness(values: Sequence[float], *, maximise: bool) -> Flatness:
    """Count how many settings come near the best."""
    sign = -1.0 if maximise else 1.0
    logs = sorted(sign * log(value) for value in values if value > 0.0 and isfinite(value))
    if not logs:
        return Flatness({}, 0, 1.0)
    away = [value - logs[0] for value in logs]
    within = {tie: sum(d <= log1p(tie) for d in away) for tie in (0.02, 0.05, 0.2)}
    return Flatness(within, len(away), exp(away[-1]))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def look_around(
    candidates: "Sequence[Candidate]",
    space: Space,
    objective: "Objective",
    judge: "Callable[[BatcherSettings], Candidate]",
    *,
    most: int,
    may_judge: "Callable[[BatcherSettings], bool]" = lambda _: True,
) -> "list[Candidate]":
    """Judge neighbours of the best candidate, and of whatever turns out to be better.

    Args:
        candidates: those that were judged; if none is feasible, there is nothing to look around.
        space: what is searched.
        objective: for its direction.
        judge: looks closely at a setting.
        most: how many to judge at most.
        may_judge: whether there is time for a setting; it ends with the first for which there is
            none.

    Returns:
        The candidates, with those that were judged.
    """
    sign = -1.0 if objective.maximise else 1.0
    judged = list(candidates)
    known = [candidate.settings for candidate in judged]
    while len(judged) < len(candidates) + most:
        feasible = [candidate for candidate in judged if candidate.score.feasible]
        best = min(feasible, key=lambda one: sign * one.score.value, default=None)
        knobs = None if best is None else space.knobs_of(best.settings)
        if knobs is None:
            break
        around = map(space.settings, neighbours(space, knobs, SHORT))
        settings = next((one for one in around if one not in known), None)
        if settings is None or not may_judge(settings):
            break
        known.append(settings)
        judged.append(judge(settings))
    return judged
