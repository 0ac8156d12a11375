"""`tune.json`: all that a tuning found, for programs and for its report."""

from dataclasses import asdict
from math import isfinite
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
from bench.tuning.findings import Goal
from bench.tuning.reporting import draws_of, findings_of, history, importance, measured, origin
from bench.tuning.search.selection import Candidate, best_by_engine
from bench.tuning.tune import Result
from bench.tuning.verified import Gain, Verified


def as_json(result: Result, command: str = "") -> dict[str, Any]:
    """Everything that was found, JSON-able; times in seconds.

    `results.tuning.record` has the schema, `bench.tuning.reporting` what is there for the report.
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
