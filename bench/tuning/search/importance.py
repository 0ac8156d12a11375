"""How much each knob matters, by the trials of a search."""

import warnings
from collections.abc import Sequence
from math import inf, isfinite
from typing import Any

from bench.tuning.search.sampler import Finished
from bench.tuning.search.selection import TIE
from bench.tuning.search.space import Choice, Space, Steps, Whole

# Below this, "the best tenth" is a handful, and says nothing.
FEWEST_TRIALS = 30
_BEST = 0.1
_FEWEST_BEST = 5


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
