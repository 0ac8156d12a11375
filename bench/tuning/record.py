"""The record of a tuning, built from what its stages found."""

import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from batching.execution.devices import resolve_placement
from batching.profiles import ServiceProfile
from bench.hardware.environment import describe_environment
from bench.settings import Settings, beside
from bench.tuning.findings import Goal
from bench.tuning.search.engines import name_of, read_setting, with_setting
from bench.tuning.search.importance import importance
from bench.tuning.search.sampler import Finished
from bench.tuning.search.selection import Candidate, best_by_engine
from bench.tuning.tune import Result
from results.tuning.conclusion import headline
from results.tuning.device_record import Judged
from results.tuning.metrics import latency_field
from results.tuning.record import EngineRecord, GoalRecord, Trial, TuningRecord

# Of all trials, beside the latency that was asked about.
_OF_A_TRIAL = (
    "device_s_per_request", "limit_rps", "mean_batch_size", "ended", "ended_at_s",
)  # fmt: skip


def record_of(result: Result, command: str = "") -> TuningRecord:
    """All that was found, for programs, for its page, and for every other way to show it."""
    findings, limit, request = result.findings, result.question.limit, result.request
    recommended, loaded = result.recommended, result.loaded
    profile = loaded.profile
    environment = describe_environment(torch_threads=None, gpu_index=None)
    record = TuningRecord(
        id=result.folder.resolve().name,
        created=datetime.now(UTC).replace(microsecond=0),
        command=command,
        budget_s=request.budget_s,
        trials=request.trials,
        race=request.race,
        sentence="",
        met=result.met,
        objective=findings.asked.objective.name,
        statistic=str(result.question.statistic),
        slo=None if limit is None else str(limit),
        slo_s=None if limit is None else limit.limit_s,
        model=loaded.model,
        device=loaded.device,
        device_name="" if profile is None else profile.subject.device_name,
        versions={**environment["packages"], "python": platform.python_version()},
        recommended=recommended,
        config=_config(result) if result.met else None,
        keeps=result.keeps,
        load=dict(findings.load),
        bound=dict(findings.bound),
        goals={name: _goal(goal, result) for name, goal in findings.goals.items()},
        engines=tuple(_engines(result)),
        references={name: _judged(c, result) for name, c in findings.references.items()},
        front=tuple(Trial(knobs=trial.knobs, metrics=trial.metrics) for trial in findings.front),
        cases=findings.cases,
        searched="on the device" if findings.measured else "in simulation",
        remarks=findings.remarks,
        unverified=result.unverified or None,
        verified=result.verified,
    )
    return record.model_copy(update={"sentence": headline(record)})


def _config(result: Result) -> dict[str, dict[str, Any]]:
    """The tables of recommended.toml."""
    settings = with_setting(result.settings, read_setting(result.recommended or {}))
    model = settings.model.model_copy(update={"device": _measured_on(result, settings)})
    return tables_of(settings.model_copy(update={"model": model}), result.folder)


def tables_of(settings: Settings, folder: Path) -> dict[str, dict[str, Any]]:
    """Settings as the tables of a config file in that folder, with their paths as seen from it."""
    tables: dict[str, dict[str, Any]]
    tables = beside(settings, folder).model_dump(mode="json", exclude_none=True)
    return tables


def _measured_on(result: Result, settings: Settings) -> str:
    """The device that was measured, where it was left open: elsewhere "auto" may be another."""
    asked, profile = settings.model.device, result.loaded.profile
    if asked not in ("auto", "cuda"):
        return asked
    if profile is not None and profile.subject.engine != "python":
        return profile.subject.device
    return resolve_placement(asked).device


def _goal(goal: Goal, result: Result) -> GoalRecord:
    space = result.question.space(result.loaded.source, goal.objective)
    latency = latency_field(str(result.question.statistic))
    return GoalRecord(
        objective=goal.objective.name,
        trials=len(goal.trials),
        qualified=goal.flat.tried,
        best=None if goal.answer is None else _judged(goal.answer, result),
        within={f"{tie:g}": number for tie, number in goal.flat.within.items()},
        worst_ratio=goal.flat.worst,
        candidates=tuple(_judged(candidate, result) for candidate in goal.candidates),
        history=tuple(_trial(trial, latency) for trial in goal.trials),
        importance=importance(goal.trials, space, maximise=goal.objective.maximise),
    )


def _trial(trial: Finished, latency: str) -> Trial:
    return Trial(
        number=trial.number,
        knobs=trial.knobs,
        value=_known(trial.score.value),
        violations=dict(trial.score.violations),
        metrics=trial.metrics.only(latency, *_OF_A_TRIAL),
    )


def _judged(candidate: Candidate, result: Result) -> Judged:
    return Judged(
        settings=candidate.settings.model_dump(mode="json"),
        label=name_of(candidate.settings),
        value=_known(candidate.score.value),
        violations=dict(candidate.score.violations),
        capacity_rps=result.findings.capacities.get(candidate.settings.model_dump_json()),
        metrics=candidate.metrics,
    )


def _engines(result: Result) -> Iterator[EngineRecord]:
    """Each engine that was searched, the one that was there first; none where none was."""
    asked, engines = result.findings.asked, result.engines
    best = best_by_engine(asked.candidates, asked.objective)
    for engine, loaded in engines.engines.items() if engines.searched else ():
        its = best.get(engine)
        judged = None if its is None else _judged(its, result)
        yield EngineRecord(engine=str(engine), best=judged, **_times(loaded.profile))


def _times(profile: ServiceProfile | None) -> dict[str, Any]:
    if profile is None:
        return {}
    cold = profile.cold_start
    return {
        "peak_rps": profile.peak_rps,
        "peak_batch_size": profile.peak_batch_size,
        "rates_rps": {size: profile.rate_rps(size) for size in profile.sizes},
        "cold_start_s": cold.total_s,
        "engine_s": cold.engine_s,
        "engine_bytes": cold.engine_bytes,
    }


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
