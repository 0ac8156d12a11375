"""Reads what earlier versions wrote into tune.json.

Version 1 had the metrics of a setting flat beside its own keys, the other arrivals in two mappings,
and what the race measured twice, under two kinds of names.
"""

import re
from collections.abc import Mapping
from typing import Any

from results.tuning.device_record import PROPOSED
from results.tuning.metrics import RUN_METRICS, Metrics, latency_field

_METRICS = {*Metrics.model_fields, "p99.9_s"}
# What version 1 called the setting that the search proposes, whatever was recommended in the end,
# and the baseline that waits for nothing.
_RENAMED = {"recommended": PROPOSED, "plain": "no delay"}
# The names that `expected` had, which are those of run.json.
_FIELDS = {name: field for field, name in RUN_METRICS.items()}


def from_version_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of tune.json as version 2 has it."""
    goals = {name: _goal(goal) for name, goal in content.get("goals", {}).items()}
    engines = content.get("engines", ())
    references = content.get("references", {})
    loads = content.get("other_loads", {})
    traffic = content.get("other_traffic", {})
    return {
        **content,
        "schema_version": 2,
        "goals": goals,
        "engines": [{**engine, "best": _setting(engine.get("best"))} for engine in engines],
        "references": _renamed({name: _setting(its) for name, its in references.items()}),
        "front": [_setting(trial) for trial in content.get("front", ())],
        "cases": [
            *({"case": f"load x {share}", "metrics": values} for share, values in loads.items()),
            *({"case": name, **_setting(values)} for name, values in traffic.items()),
        ],
        "verified": _verified(content.get("verified")),
    }


def _setting(values: Any) -> Any:
    """A setting, a trial or a case with its metrics together."""
    if values is None:
        return None
    own = {key: value for key, value in values.items() if key not in _METRICS}
    return {**own, "metrics": {key: values[key] for key in values if key in _METRICS}}


def _goal(goal: Mapping[str, Any]) -> dict[str, Any]:
    history = [_setting(trial) for trial in goal.get("history", ())]
    good = [
        trial
        for trial in history
        if trial.get("value") and max(trial.get("violations", {}).values(), default=0.0) <= 0.0
    ]
    return {
        **goal,
        "qualified": len(good) if history else goal.get("trials", 0),
        "best": _setting(goal.get("best")),
        "candidates": [_setting(candidate) for candidate in goal.get("candidates", ())],
        "history": history,
    }


def _verified(verified: Any) -> Any:
    if verified is None:
        return None
    confirmation = verified.get("confirmation", {})
    expected, measured = verified.get("expected", {}), verified.get("measured", {})
    race, winner = verified.get("race", {}), verified.get("winner")
    return {
        **verified,
        "winner": _RENAMED.get(winner, winner),
        **{name: _renamed(verified.get(name, {})) for name in ("arms", "predicted")},
        "race": {
            name: {**arm, "dropped_why": _reworded(arm.get("dropped_why"))}
            for name, arm in _renamed(race).items()
        },
        "distrust": _reworded(verified.get("distrust")),
        "remarks": [_reworded(remark) for remark in verified.get("remarks", ())],
        "found": {name: {"settings": its} for name, its in verified.get("found", {}).items()},
        "confirmation": {**confirmation, "values": _renamed(confirmation.get("values", {}))},
        "measured": _renamed(
            {
                arm: _measured(expected.get(arm, {}), measured.get(arm, {}), race.get(arm, {}))
                for arm in {**expected, **measured}
            }
        ),
    }


def _measured(
    expected: Mapping[str, Any], measured: Mapping[str, Any], race: Mapping[str, Any]
) -> dict[str, Any]:
    """Both of what was kept of an arm: the same figures, where both had one."""
    first: Mapping[str, Any] = next(iter(measured.values()), {})
    named = {_FIELDS[name]: value for name, value in expected.items() if name in _FIELDS}
    return {
        "stage": first.get("stage", "race"),
        "runs": first.get("draws", race.get("draws", 0)),
        "metrics": {**named, **{_field(name): value for name, value in measured.items()}},
    }


def _field(name: str) -> str:
    return latency_field(name.removesuffix("_s")) if name.startswith("p") else name


def _reworded(text: str | None) -> str | None:
    """A sentence that names arms."""
    for old, new in _RENAMED.items():
        text = text and re.sub(rf"\b{old}\b", new, text)
    return text


def _renamed(arms: Mapping[str, Any]) -> dict[str, Any]:
    return {_RENAMED.get(name, name): value for name, value in arms.items()}
