"""Stage 1: search in simulation, then look closely at what was found, on draws it never saw.

The search sees a few draws, and of hundreds of settings the luckiest on those comes out on top.
So the best of them are simulated again on more and other draws, from which one is chosen. Draws
are numbered: the first are the search's, those after them this one's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from bench.config import BatcherSettings
from bench.simulation.bounds import bounds
from bench.simulation.source import Source
from bench.tuning.choosing import (
    Candidate,
    Flatness,
    choose,
    facts_of,
    flatness,
    pareto,
    simplicity,
)
from bench.tuning.evaluation import Simulator, Traffic, draws_for
from bench.tuning.objectives import CapacityWithin, Objective
from bench.tuning.question import Question
from bench.tuning.search import Finished, Tuner, best_of
from bench.tuning.sensitivity import Variant, at_other_burstiness, at_other_loads
from bench.tuning.space import Space
from bench.tuning.studies import open_study
from workloads import DescribedTrace

if TYPE_CHECKING:
    import optuna

# Processes of which any stretch is like any other, so that a search may look at a shorter one.
_STATIONARY = frozenset(
    ("poisson", "gamma", "weibull", "constant", "mmpp", "on_off", "pareto", "hawkes")
)
_SHORTEST_S = 5.0
# The goals that were not asked for get a half of the trials.
_OTHERS = 2
# Of a study that time has ended: how many trials it was to have had.
_CUT_OFF = "cut_off"
_FINALISTS = 12
_MOST_FINALISTS = 48
_NEAR = 1.03


@dataclass(frozen=True, slots=True)
class Effort:
    """How many requests a setting meets.

    Attributes:
        search: while searching.
        capacity: while searching for a capacity, at each load that is tried.
        closely: when looked at closely.
        fewest, most: draws, whatever their requests.
    """

    search: int = 100_000
    capacity: int = 40_000
    closely: int = 600_000
    fewest: int = 4
    most: int = 24


@dataclass(frozen=True)
class Goal:
    """What was found for one objective.

    Attributes:
        objective: it.
        trials: every setting that the search tried.
        candidates: those that were looked at closely.
        chosen: the recommendation; None if none meets the SLO.
        nearest: what comes nearest to meeting it, where none does.
        flat: how much the choice matters.
    """

    objective: Objective
    trials: Sequence[Finished]
    candidates: Sequence[Candidate]
    chosen: Candidate | None
    nearest: Candidate | None
    flat: Flatness

    @property
    def answer(self) -> Candidate | None:
        """The recommendation, or what comes nearest."""
        return self.chosen or self.nearest


@dataclass(frozen=True)
class Findings:
    """All that was found in simulation.

    Attributes:
        goals: by name, the one that was asked for first.
        references: the settings to be beaten, looked at closely, by the objective asked for.
        front: trials that none beats in latency without costing more device time.
        load: what was offered, as the trace describes itself.
        bound: what no setting can beat.
        at_load: the recommended setting at other loads: share of the load -> facts.
        variants: the same under a calmer and a burstier version of the trace, by that name.
        measured: whether all this was measured on the device, and not simulated.
        remarks: what has to be said of the search.
    """

    goals: Mapping[str, Goal]
    references: Mapping[str, Candidate]
    front: Sequence[Finished]
    load: Mapping[str, Any]
    bound: Mapping[str, float]
    at_load: Mapping[float, dict[str, Any]]
    variants: Mapping[str, Variant] = field(default_factory=dict)
    measured: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def asked(self) -> Goal:
        """The goal that was asked for."""
        return next(iter(self.goals.values()))


Watch = Callable[[str, int, int, Finished | None], None]


@dataclass
class SimulatedSearch:
    """Stage 1.

    Attributes:
        question: what is asked.
        source: batch times.
        traffic: arrivals.
        storage: where trials are kept.
        name: of the studies; the goal's is added.
        identity: what must be the same on resuming, beside the question.
        watch: told of progress: what is being done, how far, of how much, the best so far.
        effort: how long to look.
        left: the share of the time for it that is left; at 0 the searches end as they are.
    """

    question: Question
    source: Source
    traffic: Traffic
    storage: "optuna.storages.BaseStorage"
    name: str
    identity: Mapping[str, Any] = field(default_factory=dict)
    watch: Watch = lambda *_: None
    effort: Effort = Effort()
    left: Callable[[], float] = lambda: 1.0
    _remarks: list[str] = field(default_factory=list)

    def run(self) -> Findings:
        """Search for every goal, and look closely at what was found.

        Raises:
            InputError: the space contradicts itself, or the studies are of something else.
        """
        references = self.question.references(self.source)
        goals: dict[str, Goal] = {}
        tried: list[Finished] = []
        for name, objective in self.question.goals.items():
            best = [goal.answer.settings for goal in goals.values() if goal.answer is not None]
            goals[name] = self._goal(
                name, objective, [*references.values(), *best], asked=not goals
            )
            tried += goals[name].trials
        asked = next(iter(goals.values()))
        closely = self._closely(asked.objective)
        judged = {
            name: self._candidate(closely, asked.objective, settings)
            for name, settings in references.items()
        }
        statistic = f"{self.question.statistic}_s"
        answer = asked.answer
        other = replace(closely, count=min(closely.count, self.effort.fewest), overload=False)
        limit = self.question.limit
        return Findings(
            goals=goals,
            references=judged,
            front=pareto(
                tried,
                lambda trial: trial.facts[statistic],
                lambda trial: trial.facts["device_s_per_request"],
            ),
            load=self.traffic.describe(),
            bound=self._bound(closely),
            at_load={} if answer is None else at_other_loads(answer.settings, other, limit),
            variants={} if answer is None else at_other_burstiness(answer.settings, other, limit),
            remarks=tuple(self._remarks),
        )

    def _goal(
        self,
        name: str,
        objective: Objective,
        first: Sequence[BatcherSettings],
        *,
        asked: bool,
    ) -> Goal:
        question = self.question
        space = question.space(self.source, objective)
        study = open_study(
            self.storage,
            f"{self.name} {name}",
            maximise=objective.maximise,
            identity={**self.identity, **question.describe(), "space": space.describe()},
        )
        trials = question.trials if asked else max(1, question.trials // _OTHERS)
        held = [knobs for knobs in map(space.knobs_of, first) if knobs is not None]
        tuner = Tuner(
            study,
            space,
            objective,
            trials=trials,
            patience=question.patience if asked else max(1, question.patience // _OTHERS),
            seed=question.seed,
            first=held,
        )
        simulator = self._searching(objective)
        if isinstance(objective, CapacityWithin):
            simulator.begin_at(question.references(self.source)["plain"], objective.limit)
        # What was asked for may take most of the time, and the others leave some for a closer look.
        reserve = 0.5 if asked else 0.3
        while not tuner.over:
            if len(tuner.finished) >= len(held) and self._out_of_time(study, reserve, trials):
                count = len(tuner.finished)
                self._remarks.append(
                    f"the search for {name} ended after {count} trials, out of time"
                )
                break
            proposal = tuner.ask()
            if proposal is None:
                break
            evidence = simulator.evidence(space.settings(proposal.knobs))
            score = objective.score(evidence)
            tuner.tell(proposal, score, facts_of(evidence, question.limit))
            self.watch(name, len(tuner.finished), trials, tuner.best)
        return self._judge(name, objective, space, tuner.finished, first)

    def _out_of_time(self, study: "optuna.Study", reserve: float, trials: int) -> bool:
        """Whether the search ends here; once it has, it does when resumed, unless for more trials.

        What it leads to has been raced, perhaps, and would change if it went on.
        """
        if study.user_attrs.get(_CUT_OFF) == trials:
            return True
        if self.left() >= reserve:
            return False
        study.set_user_attr(_CUT_OFF, trials)
        return True

    def _judge(
        self,
        name: str,
        objective: Objective,
        space: Space,
        trials: Sequence[Finished],
        others: Sequence[BatcherSettings],
    ) -> Goal:
        """Look closely at the best trials until one that violates nothing is among them."""
        closely = self._closely(objective)
        ranking = ranked(trials, objective, space)
        candidates: list[Candidate] = []
        for number, settings in zip(count(1), _unique([*ranking, *others]), strict=False):
            candidates.append(self._candidate(closely, objective, settings))
            self.watch(f"{name}, closely", number, min(len(ranking), _FINALISTS), None)
            found = any(candidate.score.feasible for candidate in candidates)
            if number >= (_FINALISTS if found else _MOST_FINALISTS):
                break
        sign = -1.0 if objective.maximise else 1.0
        chosen = choose(candidates, objective)
        nearest = min(
            candidates,
            key=lambda candidate: _distance(candidate, sign),
            default=None,
        )
        feasible = [trial.score.value for trial in trials if trial.score.feasible]
        flat = flatness(feasible, maximise=objective.maximise)
        return Goal(objective, trials, candidates, chosen, nearest, flat)

    def _candidate(
        self, closely: Simulator, objective: Objective, settings: BatcherSettings
    ) -> Candidate:
        evidence = closely.evidence(settings)
        score, per_draw = objective.score(evidence), objective.per_draw(evidence)
        return Candidate(settings, score, per_draw, facts_of(evidence, self.question.limit))

    def _searching(self, objective: Objective) -> Simulator:
        """Few draws, and of a process without seasons perhaps short ones."""
        effort = self.effort
        capacity = isinstance(objective, CapacityWithin)
        enough = effort.capacity if capacity else effort.search
        first = self.traffic.draws(0, 1)[0]
        draws = draws_for(first.requests, enough=enough, fewest=effort.fewest, most=effort.most)
        window_s = None
        spec = self.traffic.spec
        if isinstance(spec, DescribedTrace) and spec.process.kind in _STATIONARY:
            share = enough / (draws * first.requests)
            window_s = min(first.window_s, max(_SHORTEST_S, first.window_s * share))
        return self._simulator(objective, 0, draws, window_s)

    def _closely(self, objective: Objective) -> Simulator:
        """More draws, of full length, after those that the search may have seen."""
        effort = self.effort
        requests = self.traffic.draws(0, 1)[0].requests
        enough = effort.closely // (6 if isinstance(objective, CapacityWithin) else 1)
        draws = draws_for(requests, enough=enough, fewest=effort.fewest, most=effort.most)
        return self._simulator(objective, effort.most, draws, None, step=1.005)

    def _simulator(
        self,
        objective: Objective,
        first: int,
        draws: int,
        window_s: float | None,
        step: float = 1.01,
    ) -> Simulator:
        return Simulator(
            self.source,
            self.traffic,
            first,
            draws,
            window_s=window_s,
            overload=objective.name == "goodput",
            step=step,
        )

    def _bound(self, closely: Simulator) -> dict[str, float]:
        """What no setting can beat, on the first of the close draws."""
        draw = closely.draws[0]
        found = bounds(
            draw.trace.arrival_s[: draw.requests],
            self.source,
            replicas=self.question.base.replicas or 1,
            max_batch_size=None if self.source.max_batch_size < 1024 else 256,
        )
        share = self.question.statistic.share
        latency_s = found.mean_s if share is None else found.percentile_s(share)
        return {"capacity_rps": found.capacity_rps, "latency_s": latency_s}


def ranked(trials: Sequence[Finished], objective: Objective, space: Space) -> list[BatcherSettings]:
    """Trials in the order in which they deserve a closer look.

    In turn the best one left, and the simplest one left of those near the best; then, where there
    are any that violate something, the least violating.
    """
    sign = -1.0 if objective.maximise else 1.0
    best = best_of(trials, objective)
    by_value = sorted(
        (trial for trial in trials if trial.score.feasible),
        key=lambda trial: sign * trial.score.value,
    )
    made = {trial.number: space.settings(trial.knobs) for trial in trials}
    near = sorted(
        (t for t in by_value if best is not None and _ratio(t, best, sign) <= _NEAR),
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


def _ratio(trial: Finished, best: Finished, sign: float) -> float:
    if not best.score.value > 0.0 or not trial.score.value > 0.0:
        return 1.0
    return float((trial.score.value / best.score.value) ** sign)


def _distance(candidate: Candidate, sign: float) -> tuple[bool, float, float]:
    """How far a setting is from being usable: first of all it has to carry the load."""
    unable = candidate.facts["device_s_per_request"] is None
    score = candidate.score
    return unable, max(score.violations.values(), default=0.0), sign * score.value


def _unique(settings: Sequence[BatcherSettings]) -> list[BatcherSettings]:
    seen: dict[str, BatcherSettings] = {}
    for one in settings:
        seen.setdefault(one.model_dump_json(), one)
    return list(seen.values())
