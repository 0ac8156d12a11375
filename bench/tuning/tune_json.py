"""`tune.json`: all that a tuning found, for programs and for its report."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from math import inf, isfinite, log
from pathlib import Path
from typing import Any

from batching.profiles import ServiceProfile
from bench.tuning.conclusion import (
    final,
    keeps,
    maximised,
    name_of,
    sentence,
)
from bench.tuning.device.finalists import raced
from bench.tuning.device.race import Run as RaceRun
from bench.tuning.findings import Gain, Goal, Verified
from bench.tuning.search.sampler import Finished
from bench.tuning.search.selection import TIE, Candidate, best_by_engine
from bench.tuning.search.space import (
    Choice,
    Space,
    Steps,
    Whole,
)
from bench.tuning.tune import Result
from results.run.metrics import Metrics
from results.run.record import RECORD, RunDirectory, RunRecord
from results.run.validity import Finding, FindingCode
from results.statistics.paired import effect_of
from results.tuning.record import SCHEMA_VERSION

# Below this, "the best tenth" is a handful, and says nothing.
FEWEST_TRIALS = 30


_BEST = 0.1


_FEWEST_BEST = 5


# What a tuning decides by itself is not to be advised to who runs it.
_LONGER = "Give a longer --duration, and a --budget that holds draws of it."


_REMEDIES = {
    FindingCode.TOO_FEW_REQUESTS: _LONGER,
    FindingCode.NOT_STEADY: f"{_LONGER} If it keeps changing, the load or the machine does.",
    FindingCode.SATURATED: "A setting that cannot carry the load loses the race: nothing is to be "
    "done.",
}


_TRIAL_FACTS = ("device_s_per_request", "limit_rps", "mean_batch_size")


def origin(folder: Path, command: str) -> dict[str, Any]:
    """Which tuning it is, when it ended, and what made it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "id": folder.resolve().name,
        "created": datetime.now(UTC).replace(microsecond=0).isoformat(),
        "command": command,
    }


def history(goal: Goal, latency: str) -> list[dict[str, Any]]:
    """Every trial of a goal, JSON-able.

    Args:
        goal: it.
        latency: the fact that was asked about, such as "p99_s".
    """
    return [
        {
            "number": trial.number,
            "ended": trial.facts.get("ended"),
            "knobs": trial.knobs,
            "value": trial.score.value if isfinite(trial.score.value) else None,
            "violations": dict(trial.score.violations),
            **{name: trial.facts.get(name) for name in (latency, *_TRIAL_FACTS)},
        }
        for trial in goal.trials
    ]


def importance(
    trials: Sequence[Finished], space: Space, *, maximise: bool
) -> dict[str, float] | None:
    """How much each knob matters for being among the best trials; None if that cannot be told.

    Trials are ranked as the search ranks them: those that violate something come after all others,
    by how much. Only their order counts.
    """
    searched = [name for name in space.ranges if len({t.knobs.get(name) for t in trials}) > 1]
    if len(trials) < FEWEST_TRIALS or len(searched) < 2 or _alike(trials):
        return None
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    sign = -1.0 if maximise else 1.0
    ranks = {key: rank for rank, key in enumerate(sorted({_standing(t, sign) for t in trials}))}
    study = optuna.create_study(study_name="importance")
    for trial in trials:
        distributions = {name: _distribution(space, name) for name in trial.knobs}
        study.add_trial(
            optuna.create_trial(
                params=dict(trial.knobs),
                distributions=distributions,
                value=float(ranks[_standing(trial, sign)]),
            )
        )
    best = max(_BEST, _FEWEST_BEST / len(trials))
    try:
        with warnings.catch_warnings():
            # Then it calls all knobs equally important, which nothing has shown.
            warnings.filterwarnings("error", message="Target and region quantiles")
            shares = get_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator(target_quantile=best), params=searched
            )
    except (ValueError, RuntimeError, UserWarning):  # a space that it cannot take apart
        return None
    return {name: float(share) for name, share in shares.items() if isfinite(share)}


Draws = Mapping[str, Mapping[str, int]]


def draws_of(race: Mapping[str, Mapping[str, Any]], confirmation: Mapping[str, Any]) -> Draws:
    """How many draws of each stage an arm served, by arm and stage."""
    confirmed = confirmation.get("values", {})
    return {
        arm: {
            "confirm": len(confirmed.get(arm, ())),
            "race": race[arm]["draws"] if arm in race else 0,
        }
        for arm in dict.fromkeys([*race, *confirmed])
    }


def measured(folder: Path, draws: Draws, latency: str) -> dict[str, dict[str, Any]]:
    """What the runs below a tuning's folder measured, by arm and metric.

    Args:
        folder: of the tuning.
        draws: by arm and stage; the first stage of an arm that has any counts.
        latency: the fact that was asked about, such as "p99_s".
    """
    told: dict[str, dict[str, Any]] = {}
    for arm, stages in draws.items():
        stage = next((name for name, count in stages.items() if count), "race")
        runs = _runs(folder, stage, arm, stages[stage])
        values = [_values(run.metrics, latency) for run in runs if run.metrics is not None]
        found = {}
        for name in values[0] if values else ():
            known = [value for one in values if (value := one[name]) is not None and value > 0.0]
            if known and len(known) == len(values):
                found[name] = {**_over_draws(known), "draws": len(known), "stage": stage}
        if found:
            told[arm] = found
    return told


def findings_of(folder: Path, draws: Draws) -> list[dict[str, Any]]:
    """What makes runs below a tuning's folder not valid, the most frequent first."""
    runs = [
        run
        for arm, stages in draws.items()
        for stage, count in stages.items()
        for run in _runs(folder, stage, arm, count)
    ]
    by_code: dict[FindingCode, list[Finding]] = {}
    for run in runs:
        for finding in run.findings:
            by_code.setdefault(finding.code, []).append(finding)
    found = [
        {
            "code": str(code),
            "message": some[0].message,
            "remedy": _REMEDIES.get(code, some[0].remedy),
            "runs": len(some),
            "of": len(runs),
        }
        for code, some in by_code.items()
    ]
    return sorted(found, key=lambda one: -one["runs"])


def _runs(folder: Path, stage: str, arm: str, count: int) -> list[RunRecord]:
    """The records of an arm's runs, without those that an earlier attempt made beyond `count`."""
    folders = [folder / stage / RaceRun(draw, arm).folder for draw in range(count)]
    return [RunDirectory.open(its).read_record() for its in folders if (its / RECORD).is_file()]


def _values(metrics: Metrics, latency: str) -> dict[str, float | None]:
    """Of one run, under the names of facts."""
    counts = metrics.counts
    name = latency.removesuffix("_s").replace(".", "_")
    answered = counts.ok == counts.submitted - counts.cancelled
    return {
        latency: getattr(metrics.latency_s, name) if answered else None,
        "device_s_per_request": metrics.device.busy_s_per_request,
        "throughput_rps": metrics.throughput_rps,
        "mean_batch_size": metrics.batch.mean_size,
    }


def _over_draws(values: Sequence[float]) -> dict[str, float | None]:
    logs = [log(value) for value in values]
    if len(logs) < 2:
        return {"value": values[0], "low": None, "high": None}
    effect = effect_of(logs)
    low, high = effect.interval
    return {"value": effect.ratio, "low": low, "high": high}


def _alike(trials: Sequence[Finished]) -> bool:
    """Whether all trials are as good as each other, within what counts as a tie."""
    if not all(trial.score.feasible for trial in trials):
        return False
    values = [trial.score.value for trial in trials]
    return max(values) <= (1.0 + TIE) * min(values)


def _standing(trial: Finished, sign: float) -> tuple[float, float]:
    """Sorts trials from the best to the worst."""
    score = trial.score
    if score.feasible:
        return 0.0, sign * score.value
    return 1.0, max((v for v in score.violations.values() if v > 0.0), default=inf)


def _distribution(space: Space, name: str) -> Any:
    """What Optuna calls a knob's range."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    knob = space.ranges[name]
    if isinstance(knob, Whole):
        return IntDistribution(knob.low, knob.high, log=knob.log)
    if isinstance(knob, Steps):
        return FloatDistribution(knob.low, knob.high, step=knob.step)
    assert isinstance(knob, Choice)  # noqa: S101 - there are three kinds of range
    return CategoricalDistribution(knob.values)


def as_json(result: Result, command: str = "") -> dict[str, Any]:
    """Everything that was found, JSON-able; times in seconds.

    `results.tuning.record` has the schema, `bench.tuning.tune_json` what is there for the report.
    """
    findings, verified = result.findings, result.verified
    chosen, limit = final(result), result.question.limit
    return {
        "kind": "tuning",
        **origin(result.folder, command),
        "sentence": sentence(result),
        "met": result.met,
        "objective": findings.asked.objective.name,
        "statistic": str(result.question.statistic),
        "slo": None if limit is None else str(limit),
        "slo_s": None if limit is None else limit.limit_s,
        "model": result.loaded.model,
        "device": result.loaded.device,
        "recommended": None if chosen is None else chosen.settings.model_dump(mode="json"),
        "keeps": keeps(result),
        "load": dict(findings.load),
        "bound": dict(findings.bound),
        "goals": {name: _goal(goal, result) for name, goal in findings.goals.items()},
        "engines": engines_of(result),
        "references": {name: _candidate(c, result) for name, c in findings.references.items()},
        "front": [{"knobs": trial.knobs, **trial.facts} for trial in findings.front],
        "other_loads": {f"{share:g}": facts for share, facts in findings.at_load.items()},
        "searched": "on the device" if findings.measured else "in simulation",
        "other_traffic": {
            name: {
                "contrast": variant.contrast,
                "before": asdict(variant.before),
                "after": asdict(variant.after),
                **variant.facts,
            }
            for name, variant in findings.variants.items()
        },
        "remarks": list(findings.remarks),
        "unverified": result.unverified or None,
        "verified": None if verified is None else _verified(verified, result),
    }


def _verified(verified: Verified, result: Result) -> dict[str, Any]:
    draws = draws_of(verified.race, verified.measured)
    arms = raced(result.findings, verified)
    return {
        "label": verified.label,
        "unit": verified.unit,
        "rate_rps": verified.rate_rps,
        "window_s": verified.window_s,
        "winner": verified.winner,
        "arms": {name: arms[name].settings.model_dump(mode="json") for name in verified.race},
        "race": dict(verified.race),
        "predicted": {k: _known(v) for k, v in verified.predicted.items()},
        "confirmation": verified.measured,
        "gains": [_gain(gain, result) for gain in verified.gains],
        "expected": {
            name: {metric: asdict(interval) for metric, interval in known.items()}
            for name, known in verified.expected.items()
        },
        "distrust": verified.distrust or None,
        "found": {
            name: settings.model_dump(mode="json") for name, settings in verified.found.items()
        },
        "measured": measured(result.folder, draws, f"{result.question.statistic}_s"),
        "findings": findings_of(result.folder, draws),
        "spent_s": verified.spent_s,
        "remarks": list(verified.remarks),
    }


def engines_of(result: Result) -> list[dict[str, Any]]:
    """Each engine that was searched, the one that was there first; none where none was."""
    if not result.engines.searched:
        return []
    asked = result.findings.asked
    best = best_by_engine(asked.candidates, asked.objective)
    return [
        {
            "engine": str(engine),
            "best": _candidate(best[engine], result) if engine in best else None,
            **_times(loaded.profile),
        }
        for engine, loaded in result.engines.engines.items()
    ]


def _times(profile: ServiceProfile | None) -> dict[str, Any]:
    """How fast an engine is, and what making it takes; seconds, bytes, requests per second."""
    if profile is None:
        return {}
    cold = profile.cold_start
    return {
        "peak_rps": profile.peak_rps,
        "peak_batch_size": profile.peak_batch_size,
        "rates_rps": {str(size): profile.rate_rps(size) for size in profile.sizes},
        "cold_start_s": cold.total_s,
        "engine_s": cold.engine_s,
        "engine_bytes": cold.engine_bytes,
    }


def _goal(goal: Goal, result: Result) -> dict[str, Any]:
    space = result.question.space(result.loaded.source, goal.objective)
    return {
        "objective": goal.objective.name,
        "trials": len(goal.trials),
        "best": None if goal.answer is None else _candidate(goal.answer, result),
        "within": {f"{tie:g}": number for tie, number in goal.flat.within.items()},
        "worst_ratio": goal.flat.worst,
        "candidates": [_candidate(candidate, result) for candidate in goal.candidates],
        "history": history(goal, f"{result.question.statistic}_s"),
        "importance": importance(goal.trials, space, maximise=goal.objective.maximise),
    }


def _candidate(candidate: Candidate, result: Result) -> dict[str, Any]:
    return {
        "settings": candidate.settings.model_dump(mode="json"),
        "label": name_of(candidate.settings),
        "value": _known(candidate.score.value),
        "violations": dict(candidate.score.violations),
        "capacity_rps": result.findings.capacities.get(candidate.settings.model_dump_json()),
        **candidate.facts,
    }


def _gain(gain: Gain, result: Result) -> dict[str, Any]:
    effect = gain.effect
    return {
        "over": gain.over,
        "verdict": gain.verdict(maximise=maximised(result)),
        "ratio": None if effect is None else effect.ratio,
        "low": None if effect is None else effect.interval[0],
        "high": None if effect is None else effect.interval[1],
        "level": None if effect is None else effect.level,
        "draws": gain.draws,
        "unable": gain.unable,
    }


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
