"""What `tune.json` keeps for its report beside what `tune_json.as_json` says.

The schema is that of `results.tuning.record`, which reads it. From here are, in it:

`goals.*.history`: every trial in its order: `number`, `ended` (why a run on the device was ended
early, if it was), `knobs`, `value`, `violations`, and of its facts the latency that was asked
about, `device_s_per_request`, `limit_rps`, `mean_batch_size`.

`goals.*.importance`: by knob, a share of 1: how much its values among the best trials differ from
those among all that were tried, by Optuna's PED-ANOVA (Watanabe et al., IJCAI 2023); null where
there are too few trials to tell, a single knob, or nothing to choose between.

`capacity_rps` of a setting: the load at which it just meets the SLO, 0 if there is none; null
without an SLO, and of settings that have no name.

`verified.measured`: by arm, the latency that was asked about, device time, throughput and batch
size as its runs measured them: geometric mean over draws and its 95 % Student t interval, of the
confirmation where the arm is in it and of the race otherwise. Runs that left requests unanswered
have no latency, and an arm with one of those none either.

`verified.findings`: what makes runs not valid, each with its remedy and how many runs it concerns.
"""

import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import inf, isfinite, log
from pathlib import Path
from typing import Any

from bench.tuning.device.race import Run as RaceRun
from bench.tuning.findings import Goal
from bench.tuning.search.sampler import Finished
from bench.tuning.search.selection import TIE
from bench.tuning.search.space import (
    Choice,
    Space,
    Steps,
    Whole,
)
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
