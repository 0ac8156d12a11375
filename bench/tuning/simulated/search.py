"""Stage 1: search in simulation, then look closely at what was found, on draws it never saw.

The search sees a few draws, and of hundreds of settings the luckiest on those comes out on top.
So the best of them are simulated again on more and other draws, from which one is chosen. Draws
are numbered: the first are the search's, those after them this one's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import isfinite
from typing import TYPE_CHECKING, Any

from bench.profiling.service_times import Source
from bench.settings import BatcherSettings
from bench.simulation.bounds import bounds
from bench.tuning.findings import Findings, Goal
from bench.tuning.request import Question
from bench.tuning.search.objectives import CapacityWithin, Objective, Score
from bench.tuning.search.sampler import Finished, Tuner, search
from bench.tuning.search.selection import (
    Candidate,
    choose,
    flatness,
    front_of,
    leaders_by_engine,
    look_around,
    ranked,
    simulated_metrics,
)
from bench.tuning.search.space import Knobs, Space
from bench.tuning.search.storage import open_study
from bench.tuning.simulated.candidate_store import CandidateStore
from bench.tuning.simulated.sensitivity import at_other_traffic
from bench.tuning.simulated.simulator import (
    USUAL,
    Lens,
    SimulationBudget,
    Simulator,
    Traffic,
    draws_for,
)
from results import format as fmt
from results.tuning.metrics import Metrics
from results.tuning.record import NO_DELAY

if TYPE_CHECKING:
    import optuna

# The goals that were not asked for get a half of the trials.
_OTHERS = 2
# Of a study that time has ended: how many trials it was to have had.
_CUT_OFF = "cut_off"
_FINALISTS = 8
# Neighbours of the best of those, looked at as closely.
_AROUND = 8
_MOST_FINALISTS = 48
# Looked at closely whatever time is left.
_LEAST = 2


Watch = Callable[[str, int, int, str], None]


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
    effort: SimulationBudget = USUAL
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
            goals[name] = self._goal(name, objective, [*references.values()], best)
            tried += goals[name].trials
        asked = next(iter(goals.values()))
        closely = self._lens.closely(asked.objective)
        kept = self._kept(next(iter(goals)), asked.objective, closely)
        judged = {
            name: self._candidate(closely, asked.objective, settings, kept)
            for name, settings in references.items()
        }
        answer, limit = asked.answer, self.question.limit
        # As many draws as a search looks at: not as many as closely, but enough to tell.
        draws = draws_for(
            closely.draws[0].requests,
            enough=self.effort.search,
            fewest=self.effort.fewest,
            most=closely.count,
        )
        other = replace(closely, count=draws, overload=False)
        return Findings(
            goals=goals,
            references=judged,
            front=front_of(tried, self.question.statistic),
            load=self.traffic.describe(),
            bound=self._bound(closely),
            cases=() if answer is None else at_other_traffic(answer.settings, other, limit),
            capacities=self._capacities(goals, references),
            remarks=tuple(self._remarks),
        )

    @property
    def _lens(self) -> Lens:
        return Lens(self.source, self.traffic, self.effort)

    def _goal(
        self,
        name: str,
        objective: Objective,
        references: Sequence[BatcherSettings],
        named: Sequence[BatcherSettings],
    ) -> Goal:
        """Search for one goal; the first is the one that was asked for, and names no other yet."""
        asked, first = not named, [*references, *named]
        space = self.question.space(self.source, objective)
        study = open_study(
            self.storage,
            self.study_name(name),
            maximise=objective.maximise,
            identity=self.identity_of(space),
        )
        held = [knobs for knobs in map(space.knobs_of, first) if knobs is not None]
        tuner = self.tuner(study, space, objective, held, asked=asked)
        # What was asked for may take most of the time, and the others leave some for a closer look.
        reserve = 0.5 if asked else 0.3

        def is_late() -> bool:
            enough = len(tuner.finished) >= len(held) and not tuner.over
            return enough and self._out_of_time(study, reserve, tuner.most)

        if not self.search(name, objective, space, tuner, is_late=is_late):
            count = len(tuner.finished)
            self._remarks.append(f"the search for {name} ended after {count} trials, out of time")
        return self._judge(
            name, objective, space, tuner.finished, references=references, named=named
        )

    def study_name(self, goal: str) -> str:
        """The name of the study for a goal."""
        return f"{self.name} {goal}"

    def identity_of(self, space: Space) -> dict[str, Any]:
        """What must be the same for trials to be of the same search."""
        return {**self.identity, **self.question.describe(), "space": space.describe()}

    def tuner(
        self,
        study: "optuna.Study",
        space: Space,
        objective: Objective,
        first: Sequence[Knobs],
        *,
        asked: bool,
    ) -> Tuner:
        """A tuner for one goal; those that were not asked for get half of the trials."""
        question, share = self.question, 1 if asked else _OTHERS
        trials = max(1, question.trials // share)
        patience = max(1, question.patience // share)
        return Tuner(
            study,
            space,
            objective,
            trials=trials,
            patience=patience,
            seed=question.seed,
            first=first,
            polish=True,
        )

    def search(
        self,
        name: str,
        objective: Objective,
        space: Space,
        tuner: Tuner,
        *,
        is_late: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Simulate what the tuner proposes until the search for a goal is over.

        Args:
            name: of the goal.
            objective: of the goal.
            space: of the goal.
            tuner: proposes for it.
            is_late: whether to end it before it is over.

        Returns:
            Whether it is over, and did not end because it was late.
        """
        question = self.question
        simulator = self._lens.searching(objective)
        if isinstance(objective, CapacityWithin):
            simulator.begin_at(question.references(self.source)[NO_DELAY], objective.limit)

        def evaluate(knobs: Knobs) -> tuple[Score, Metrics]:
            evidence = simulator.evidence(space.settings(knobs))
            return objective.score(evidence), simulated_metrics(evidence, question.limit)

        def watch() -> None:
            self.watch(name, len(tuner.finished), tuner.most, _so_far(tuner.best, objective))

        return search(tuner, evaluate, watch=watch, is_late=is_late)

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
        *,
        references: Sequence[BatcherSettings],
        named: Sequence[BatcherSettings],
    ) -> Goal:
        """Look closely at the best trials until one that violates nothing is among them.

        The answers to other goals are looked at too: one that is as good keeps both names.
        """
        closely = self._lens.closely(objective)
        kept = self._kept(name, objective, closely)
        ranking = ranked(trials, objective, space)
        named = [settings for settings in named if space.knobs_of(settings) is not None]
        others = [settings for settings in references if space.knobs_of(settings) is not None]
        candidates: list[Candidate] = []

        def may_look(settings: BatcherSettings) -> bool:
            return len(candidates) < _LEAST or self._may_look(settings, kept)

        for number, settings in zip(count(1), _unique([*ranking, *others, *named]), strict=False):
            if not may_look(settings):
                break
            candidates.append(self._candidate(closely, objective, settings, kept))
            self.watch(f"{name}, closely", number, min(len(ranking), _FINALISTS), "")
            found = any(candidate.score.feasible for candidate in candidates)
            if number >= (_FINALISTS if found else _MOST_FINALISTS):
                break
        # What is there already, and the no-delay baseline, may be as good, and simpler. They are
        # evaluated in any case, for what was asked, and so is the best of each engine.
        besides = named or [*others, *leaders_by_engine(trials, objective, space)]
        known = {candidate.settings.model_dump_json() for candidate in candidates}
        candidates += [
            self._candidate(closely, objective, settings, kept)
            for settings in _unique(besides)
            if settings.model_dump_json() not in known
        ]
        candidates = look_around(
            candidates,
            space,
            objective,
            lambda settings: self._candidate(closely, objective, settings, kept),
            most=_AROUND,
            may_judge=may_look,
        )
        if kept.cut_off(self.question.trials):
            looked = f"{len(candidates)} settings"
            self._remarks.append(f"the re-evaluation for {name} ended after {looked}, out of time")
        sign = -1.0 if objective.maximise else 1.0
        chosen = choose(candidates, objective, named=named)
        nearest = min(
            candidates,
            key=lambda candidate: _distance(candidate, sign),
            default=None,
        )
        feasible = [trial.score.value for trial in trials if trial.score.feasible]
        flat = flatness(feasible, maximise=objective.maximise)
        return Goal(objective, trials, candidates, chosen, nearest, flat)

    def _may_look(self, settings: BatcherSettings, kept: CandidateStore) -> bool:
        """Whether there is time for a closer look, or there was; once there was none, none is."""
        if kept.get(settings) is not None:
            return True
        if not kept.cut_off(self.question.trials) and self.left() <= 0.0:
            kept.cut(self.question.trials)
        return not kept.cut_off(self.question.trials)

    def _kept(self, name: str, objective: Objective, closely: Simulator) -> CandidateStore:
        identity = {**self.identity, **self.question.describe()}
        identity["draws"] = [closely.first, closely.count]
        return CandidateStore(
            self.storage, f"{self.study_name(name)}, closely", objective, identity
        )

    def _candidate(
        self,
        closely: Simulator,
        objective: Objective,
        settings: BatcherSettings,
        kept: CandidateStore,
    ) -> Candidate:
        known = kept.get(settings)
        if known is not None:
            return known
        evidence = closely.evidence(settings)
        score, per_draw = objective.score(evidence), objective.per_draw(evidence)
        metrics = simulated_metrics(evidence, self.question.limit)
        found = Candidate(settings, score, per_draw, metrics)
        kept.add(found)
        return found

    def _capacities(
        self, goals: Mapping[str, Goal], references: Mapping[str, BatcherSettings]
    ) -> dict[str, float]:
        """The load at which each setting that has a name, or leads, just meets the SLO."""
        if self.question.limit is None:
            return {}
        objective = CapacityWithin(self.question.limit)
        closely = self._lens.closely(objective)
        closely.begin_at(references[NO_DELAY], objective.limit)
        found: dict[str, float] = {}
        named = [*references.values()]
        for goal in goals.values():
            if isinstance(goal.objective, CapacityWithin):
                found = {c.settings.model_dump_json(): c.score.value for c in goal.candidates}
            leader = choose(goal.candidates, goal.objective, tie=0.0)
            named += [one.settings for one in (goal.answer, leader) if one is not None]
        for settings in named:
            if (key := settings.model_dump_json()) not in found:
                found[key] = objective.score(closely.evidence(settings)).value
        return found

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


def _so_far(best: Finished | None, objective: Objective) -> str:
    """The best setting of a search, and how good it is; empty before there is one."""
    if best is None or not isfinite(best.score.value):
        return ""
    value = (fmt.rate if objective.maximise else fmt.duration)(best.score.value)
    knobs = ", ".join(f"{name} {knob}" for name, knob in best.knobs.items())
    return f"best so far {value} with {knobs}"


def _distance(candidate: Candidate, sign: float) -> tuple[bool, float, float]:
    """How far a setting is from being usable: first of all it has to carry the load."""
    unable = candidate.metrics.device_s_per_request is None
    score = candidate.score
    return unable, max(score.violations.values(), default=0.0), sign * score.value


def _unique(settings: Sequence[BatcherSettings]) -> list[BatcherSettings]:
    seen: dict[str, BatcherSettings] = {}
    for one in settings:
        seen.setdefault(one.model_dump_json(), one)
    return list(seen.values())
