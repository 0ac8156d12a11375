"""Which setting to try next, and what has been found: ask, simulate, tell.

The tuner never evaluates a setting itself. Whoever does, in simulation or on a device, asks it for
a proposal and tells it the score.

The sampler is Optuna's TPE (tree-structured Parzen estimator; Bergstra et al., NeurIPS 2011), in
its multivariate form, with constraints inside: settings that violate some are ranked by how much,
below all that violate none. For each proposal it is made anew, seeded by the tuner's seed and the
number of finished trials, so that a search that was cut off goes on exactly as if it had not been.

Where the device is the cost, proposals are asked for several at a time, and those in hand count as
bad for those that follow (a constant liar), so that they differ. A Gaussian process would need
fewer trials, but with proposals in hand Optuna's takes seconds for each, about as long as the run
that it saves.

What is tried first is not left to chance: the settings the caller names, then timeout 0 with batch
sizes of powers of two. With late binding, timeout 0 is within a few percent of the least p99 for
most curves of time against batch size, so the search begins on the ridge that it is to beat. Where
a trial costs nothing, every other one after that is a neighbour of the best; see `polishing`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from bench.tuning.search.neighbours import neighbours
from bench.tuning.search.objectives import Objective, Score
from bench.tuning.search.space import (
    Choice,
    Knobs,
    Space,
    Value,
    Whole,
)
from results.tuning.metrics import Metrics

if TYPE_CHECKING:
    import optuna

TRIALS = 200
PATIENCE = 60
# By so much must a trial be better for patience to begin anew.
_PROGRESS = 0.002
_RANDOM = 6
_MOST_REPEATS = 50
# The attribute of a trial, as it has been called since the first version.
METRICS = "facts"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A setting to be tried.

    Attributes:
        number: of the trial in its study.
        knobs: what is searched, by knob.
    """

    number: int
    knobs: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Finished:
    """A trial that was told.

    Attributes:
        number: of the trial in its study.
        knobs: by knob.
        score: as it was judged.
        metrics: what else was told of it.
    """

    number: int
    knobs: dict[str, Value]
    score: Score
    metrics: Metrics


Evaluate = Callable[[Knobs], tuple[Score, Metrics]]


class Tuner:
    """The search for one objective.

    Args:
        study: empty, or with the trials of a search that was cut off.
        space: what is searched.
        objective: for its direction.
        trials: how many at most, those that are in the study already included.
        patience: it ends after so many without progress.
        seed: of all proposals.
        first: settings to try before any others; those that the space does not hold are left out.
        polish: make every other trial a neighbour of the best, as long as there are untried ones.
        ridge: try timeout 0 with every n-th power of two after those.
        startup: proposals at random after those, before the sampler learns from any.
    """

    def __init__(
        self,
        study: "optuna.Study",
        space: Space,
        objective: Objective,
        *,
        trials: int = TRIALS,
        patience: int = PATIENCE,
        seed: int = 0,
        first: Sequence[Knobs] = (),
        polish: bool = False,
        ridge: int = 1,
        startup: int = _RANDOM,
    ) -> None:
        self._study = study
        self._space = space
        self._objective = objective
        self._trials = self._most = trials
        self._patience = patience
        self._seed = seed
        self._polish = polish
        self._asked: dict[int, optuna.Trial] = {}
        self._open: dict[str, int] = {}
        self._finished = list(_finished(study))
        self._known = {_key(trial.knobs): trial for trial in self._finished}
        queued = [*map(dict, first), *_ridge(space, ridge)]
        self._random = len(queued) + startup
        for knobs in queued:
            study.enqueue_trial(knobs, skip_if_exists=True)

    def ask(self) -> Proposal | None:
        """The next setting to try; None once the search is over.

        A setting that was tried before is not proposed again. Several may be asked for before the
        first of them is told.
        """
        import optuna

        if self.over:
            return None
        self._queue_neighbour()
        for repeats in range(_MOST_REPEATS):
            self._study.sampler = self._sampler(self._sampler_seed(repeats))
            trial = self._study.ask()
            knobs = self._space.suggest(trial)
            key = _key(knobs)
            if key not in self._known and key not in self._open:
                self._asked[trial.number] = trial
                self._open[key] = trial.number
                return Proposal(trial.number, knobs)
            # Not told as finished: each setting would then weigh as often as it was proposed.
            first = self._known[key].number if key in self._known else self._open[key]
            trial.set_user_attr("repeats", first)
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        self._trials = 0  # whatever it proposes has been tried
        return None

    def tell(self, proposal: Proposal, score: Score, metrics: Metrics) -> None:
        """Take the score of a proposal.

        Args:
            proposal: as it was asked for.
            score: as the objective gave it.
            metrics: more about it that is to be kept.
        """
        trial = self._asked.pop(proposal.number)
        self._open.pop(_key(proposal.knobs), None)
        for name, violation in score.violations.items():
            trial.set_constraint(name, violation)
        trial.set_user_attr("knobs", proposal.knobs)
        trial.set_user_attr("violations", dict(score.violations))
        trial.set_user_attr(METRICS, metrics.model_dump(mode="json"))
        self._study.tell(trial, score.value)
        finished = Finished(proposal.number, proposal.knobs, score, metrics)
        self._finished.append(finished)
        self._known[_key(proposal.knobs)] = finished

    def _sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        import optuna

        return optuna.samplers.TPESampler(
            seed=seed,
            multivariate=True,
            n_startup_trials=self._random,
            constant_liar=bool(self._open),
        )

    @property
    def most(self) -> int:
        """How many trials there may be."""
        return self._most

    @property
    def finished(self) -> Sequence[Finished]:
        """All trials that were told, in order."""
        return self._finished

    @property
    def best(self) -> Finished | None:
        """The best trial that violates nothing; None if there is none."""
        return best_of(self._finished, self._objective)

    @property
    def nearest(self) -> Finished | None:
        """The trial that violates least, where all violate something."""
        return min(self._finished, key=lambda t: _violation(t.score), default=None)

    @property
    def over(self) -> bool:
        """Whether enough was tried, or nothing better was found for long enough."""
        done = len(self._finished)
        if done + len(self._open) >= self._trials:
            return True
        if done <= self._random:
            return False
        return done - self._last_progress() >= self._patience

    def _queue_neighbour(self) -> None:
        """Put the next neighbour of the best in front, if it is its turn and one is left."""
        best, done = self.best, len(self._finished)
        if not self._polish or best is None or done < self._random or done % 2:
            return
        tried = {*self._known, *self._open}
        left = (knobs for knobs in neighbours(self._space, best.knobs) if _key(knobs) not in tried)
        if (knobs := next(left, None)) is not None:
            self._study.enqueue_trial(knobs, skip_if_exists=True)

    def _last_progress(self) -> int:
        """How many trials there were when the best last got better by more than a trifle."""
        sign = -1.0 if self._objective.maximise else 1.0
        best, violation, at = inf, inf, 0
        for number, trial in enumerate(self._finished, 1):
            score = trial.score
            if not score.feasible:
                if best == inf and _violation(score) < violation - _PROGRESS:
                    violation, at = _violation(score), number
            elif best == inf or sign * score.value < best - _PROGRESS * abs(best):
                best, at = sign * score.value, number
        return at

    def _sampler_seed(self, repeats: int) -> int:
        progress = (self._seed, len(self._finished) + len(self._open), repeats)
        sequence = np.random.SeedSequence(progress)
        return int(sequence.generate_state(1)[0])


def best_of(trials: Sequence[Finished], objective: Objective) -> Finished | None:
    """The trial with the best value of those that violate nothing; the first of equals."""
    sign = -1.0 if objective.maximise else 1.0
    feasible = [trial for trial in trials if trial.score.feasible]
    return min(feasible, key=lambda trial: sign * trial.score.value, default=None)


def _ridge(space: Space, every: int) -> Iterator[dict[str, Value]]:
    """Timeout 0 with batch sizes of powers of two, in each engine, all else at its first value."""
    sizes, timeouts = space.ranges["max_batch_size"], space.ranges.get("batch_timeout_ms")
    if not isinstance(sizes, Whole) or timeouts is None or not timeouts.holds(0.0):
        return
    others: dict[str, Value] = {}
    for name, knob in space.ranges.items():
        if name not in {"max_batch_size", "batch_timeout_ms"}:
            others[name] = knob.values[0] if isinstance(knob, Choice) else knob.low
    exponents = range(0, sizes.high.bit_length(), every)
    powers = [2**i for i in exponents if sizes.low <= 2**i <= sizes.high]
    engines = space.ranges.get("engine")
    for engine in engines.values if isinstance(engines, Choice) else (None,):
        fixed = others if engine is None else {**others, "engine": engine}
        for size in dict.fromkeys([*powers, sizes.high]):
            yield {**fixed, "max_batch_size": size, "batch_timeout_ms": 0.0}


def _finished(study: "optuna.Study") -> Iterator[Finished]:
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        attrs = trial.user_attrs
        value = trial.value
        score = Score(inf if value is None else value, attrs["violations"])
        yield Finished(trial.number, attrs["knobs"], score, Metrics.model_validate(attrs[METRICS]))


def _key(knobs: Knobs) -> str:
    return json.dumps(dict(knobs), sort_keys=True)


def _violation(score: Score) -> float:
    return sum(max(0.0, violation) for violation in score.violations.values())


def search(
    tuner: Tuner,
    evaluate: Evaluate,
    *,
    watch: Callable[[], None] = lambda: None,
    is_late: Callable[[], bool] = lambda: False,
) -> bool:
    """Ask, evaluate and tell until the search is over.

    Args:
        tuner: proposes and is told.
        evaluate: what a setting scores, and its metrics to be kept.
        watch: told of each trial that was finished.
        is_late: whether to end it before it is over.

    Returns:
        Whether it is over, and did not end because it was late.
    """
    while not is_late():
        proposal = tuner.ask()
        if proposal is None:
            return True
        tuner.tell(proposal, *evaluate(proposal.knobs))
        watch()
    return False
