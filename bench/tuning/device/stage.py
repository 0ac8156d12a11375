"""What a tuning does on the device: race and confirm, and search where it is told to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from batching import Clock
from bench.errors import InputError
from bench.live.arms import Arm, LiveArms
from bench.profiling.load import Loaded
from bench.settings import BatcherSettings, Settings
from bench.tuning.budget import (
    CONFIRM_DRAWS,
    MOST_DRAWS,
    MOST_RACE_DRAWS,
    SEARCH_SHARE,
    SHORTEST_S,
    SIMULATION_SHARE,
    TAIL,
    Budget,
    Plan,
    affordable_window_s,
    overhead_s,
    runs_planned,
    shortfall,
    warm_up_s,
)
from bench.tuning.device.finalists import BEST, THIRD, finalists
from bench.tuning.device.metric import DeviceMetric
from bench.tuning.device.pinned_plan import PLAN, pinned
from bench.tuning.device.search import DeviceSearch, RunArm
from bench.tuning.device.verification import VERIFIED_AT, Verification
from bench.tuning.findings import Findings, Goal
from bench.tuning.request import Question
from bench.tuning.search.engines import in_every_engine, setup_of, with_setting
from bench.tuning.search.objectives import (
    CapacityWithin,
    Latency,
    Objective,
    Score,
)
from bench.tuning.search.sampler import Finished, Tuner, best_of
from bench.tuning.search.selection import Candidate, flatness, front_of
from bench.tuning.search.storage import open_study
from bench.tuning.simulated.simulator import SimulationBudget, Traffic
from results import format as fmt
from results.run.record import RECORD
from results.tuning.device_record import RACE, DeviceRecord
from results.tuning.metrics import Metrics
from results.tuning.record import CURRENT, DEFAULT, NO_DELAY, WINDOW
from workloads import ResolvedTrace

if TYPE_CHECKING:
    import optuna

SEARCH = "search"
# Every second power of two: on the device a trial takes seconds.
_RIDGE = 2
_STARTUP = 2
_ARMS_PLANNED = 4
# Draws are numbered: those of the simulation, of race, confirmation and second race, and then of a
# search on the device where simulation was wrong. Without a simulation that search comes first.
_RACE_AFTER_SIMULATION = 2 * SimulationBudget().most
_SEARCH_AFTER_RACE = _RACE_AFTER_SIMULATION + 2 * MOST_RACE_DRAWS + CONFIRM_DRAWS[1]


@dataclass
class OnDevice:
    """The device, and what is asked of it.

    Attributes:
        question: what is asked.
        settings: of the runs, the batcher's knobs apart.
        loaded: batch times, for bounds and for predictions.
        traffic: arrivals.
        storage: of the trials.
        folder: of the tuning.
        identity: what must be the same on resuming, beside the question.
        clock: real time.
        console: where to say what is being done.
        budget: the time of the tuning.
        seed: of the orders.
    """

    question: Question
    settings: Settings
    loaded: Loaded
    traffic: Traffic
    storage: "optuna.storages.BaseStorage"
    folder: Path
    identity: Mapping[str, Any]
    clock: Clock
    console: Console
    budget: Budget
    seed: int = 0
    make_runner: Callable[[list[Arm]], RunArm] | None = None
    _runner: RunArm | None = field(default=None, init=False)

    def search(self) -> Findings:
        """Search on the device, as long as the share of the budget for it allows.

        Raises:
            InputError: the space contradicts itself, or the budget holds no search.
            RunFailedError: the model raised.
        """
        objective = self.question.asked
        reserve_s = self.least_race_s(_ARMS_PLANNED)
        part = self.budget.part(
            min(SEARCH_SHARE * self.budget.left_s, self.budget.left_s - reserve_s)
        )
        plan = self._plan(part.left_s)
        trial_s = plan.draws * (TAIL * plan.window_s + overhead_s(self.loaded.source))
        if part.left_s < 1.1 * trial_s:
            needed_s = reserve_s + 8 * trial_s
            raise InputError(
                f"budget must leave {needed_s:.0f} s to search on the device, race and confirm, "
                f"but leaves {self.budget.left_s:.0f} s: give more"
            )
        self._say(
            f"searching on {self.loaded.device}: {part.left_s:.0f} s at most, "
            f"{plan.draws} x {fmt.duration(plan.window_s)} a setting"
        )
        draws = self.traffic.draws(0, plan.draws, window_s=plan.window_s)
        finished = self._search(objective, draws, part, self._runner_for([]))
        return self._findings(objective, finished)

    def verify(self, findings: Findings) -> DeviceRecord | str:
        """Race and confirm; gives the reason instead where the budget holds no race.

        Raises:
            RunFailedError: the model raised.
        """
        objective = findings.asked.objective
        traffic = self.traffic.at(self._verified_at(findings))
        offered_rps = traffic.rate_rps / self.settings.replay.time_scale
        arms = self._arms(findings, offered_rps)
        beside_s = overhead_s(self.loaded.source)
        for name in (THIRD, BEST, WINDOW, NO_DELAY):  # the first to stay behind where time is short
            if _lacking(self.budget.left_s, len(arms), beside_s):
                arms.pop(name, None)
        if lacking := _lacking(self.budget.left_s, len(arms), beside_s):
            return f"not raced on the device: {lacking}"
        verification = Verification(
            arms=arms,
            settings=self.settings,
            device_metric=self._metric(objective),
            traffic=traffic,
            source=None if findings.measured else self.loaded.source,
            folder=self.folder,
            budget_s=self.budget.left_s,
            first=MOST_DRAWS if findings.measured else _RACE_AFTER_SIMULATION,
            make_runner=self._runner_for,
            explore=None if findings.measured else self._explore(findings, traffic),
            overhead_s=beside_s,
            watch=self._say,
            seed=self.seed,
        )
        there = len(list((self.folder / RACE).glob(f"draw-*/*/{RECORD}")))
        rest = f"{self.budget.left_s:.0f} s at most"
        self._say(
            f"racing {', '.join(arms)} on {self.loaded.device}: draws of "
            f"{fmt.duration(verification.window_s())} at {offered_rps:,.0f} req/s, "
            f"{f'{there} runs are there already' if there else rest}"
        )
        return verification.run()

    def warn_of_short_draws(self, *, simulate: bool) -> None:
        """Say before anything is spent that the race's draws will be too short to judge by.

        A capacity is raced at a load that nobody knows yet.
        """
        metric = self._metric(self.question.asked)
        budget_s = self.budget.left_s * (1.0 - SEARCH_SHARE)
        if simulate:
            budget_s = self.budget.left_s - SIMULATION_SHARE * self.budget.total_s
        beside_s = overhead_s(self.loaded.source)
        begun = (self.folder / RACE / PLAN).exists()
        if begun or isinstance(metric.objective, CapacityWithin):
            return
        window_s = SHORTEST_S  # of fewer arms
        if not _lacking(budget_s, _ARMS_PLANNED, beside_s):
            window_s = affordable_window_s(budget_s, _ARMS_PLANNED, beside_s)
        asked_s = self.traffic.draws(0, 1)[0].window_s
        [draw] = self.traffic.draws(0, 1, window_s=min(asked_s, window_s))
        if said := shortfall(metric.judged, draw, _ARMS_PLANNED, beside_s):
            self._say(said)

    def _metric(self, objective: Objective) -> DeviceMetric:
        return DeviceMetric(objective, self.question.statistic, self.question.limit)

    def _verified_at(self, findings: Findings) -> float:
        """The share of the trace's load at which settings are raced."""
        asked = findings.asked
        if not isinstance(asked.objective, CapacityWithin) or asked.chosen is None:
            return 1.0
        return VERIFIED_AT * asked.chosen.score.value / (asked.chosen.metrics.offered_rps or inf)

    def _arms(self, findings: Findings, offered_rps: float) -> dict[str, BatcherSettings]:
        """The finalists that can carry the load, as far as is known."""
        overload = findings.asked.objective.name == "goodput"
        return {
            name: candidate.settings
            for name, candidate in finalists(findings).items()
            if overload or (candidate.metrics.limit_rps or inf) > offered_rps
        }

    def _runner_for(self, arms: list[Arm]) -> RunArm:
        """Load the model, once for each engine; arms of another load are run at it all the same.

        Engines that no arm of the race has are loaded too, for the search that may follow: loaded
        in the midst of it they would be taken for slow runs.
        """
        if self._runner is None:
            if self.make_runner is not None:
                self._runner = self.make_runner(arms)
            else:
                rate = self.settings.replay.model_copy(update={"rate": self.traffic.rate_rps})
                base = self.question.references(self.loaded.source)[DEFAULT]
                engines = [
                    Arm(f"search {number}", with_setting(self.settings, setting))
                    for number, setting in enumerate(in_every_engine(base, self.loaded.source))
                ]
                self._runner = LiveArms(
                    [
                        Arm(arm.name, arm.settings.model_copy(update={"replay": rate}))
                        for arm in [*arms, *engines]
                    ],
                    self.clock,
                    self.console,
                    warm_up_budget_s=warm_up_s(self.loaded.source),
                )
        return self._runner

    def _explore(
        self, findings: Findings, traffic: Traffic
    ) -> Callable[[RunArm, float], Sequence[BatcherSettings]]:
        """What searches on the device once the race has shown that simulation is off."""
        objective = searchable(findings.asked.objective)

        def explore(runner: RunArm, seconds: float) -> Sequence[BatcherSettings]:
            part = self.budget.part(seconds)
            plan = self._plan(seconds)
            draws = traffic.draws(_SEARCH_AFTER_RACE, plan.draws, window_s=plan.window_s)
            tried = self._search(objective, draws, part, runner)
            space = self.question.space(self.loaded.source, objective)
            sign = -1.0 if objective.maximise else 1.0
            useful = [trial for trial in tried if trial.score.feasible and not _was_ended(trial)]
            useful.sort(key=lambda trial: sign * trial.score.value)
            return [space.settings(trial.knobs) for trial in useful]

        return explore

    def _search(
        self, objective: Objective, draws: list[ResolvedTrace], part: Budget, runner: RunArm
    ) -> Sequence[Finished]:
        question, source = self.question, self.loaded.source
        space = question.space(source, objective)
        study = open_study(
            self.storage,
            f"{self.folder.resolve().name} {SEARCH}",
            maximise=objective.maximise,
            identity={
                **self.identity,
                **question.describe(),
                "space": space.describe(),
                "search": "device",
            },
        )
        references = question.references(source)
        first = [references[name] for name in (NO_DELAY, DEFAULT, CURRENT) if name in references]
        tuner = Tuner(
            study,
            space,
            objective,
            trials=question.trials,
            patience=question.patience,
            seed=question.seed,
            first=[knobs for knobs in map(space.knobs_of, first) if knobs is not None],
            ridge=_RIDGE,
            startup=_STARTUP,
        )
        return DeviceSearch(
            tuner=tuner,
            space=space,
            device_metric=self._metric(objective),
            draws=draws,
            settings=self.settings,
            runner=runner,
            folder=self.folder / SEARCH,
            left_s=lambda: part.left_s,
            overhead_s=overhead_s(source),
            watch=self._say,
            check=lambda settings: setup_of(settings, source),
            seed=self.seed,
        ).run()

    def _findings(self, objective: Objective, finished: Sequence[Finished]) -> Findings:
        """What was measured, in the form that simulation gives its findings."""
        question, source = self.question, self.loaded.source
        space = question.space(source, objective)
        candidates = [
            Candidate(space.settings(trial.knobs), trial.score, (), trial.metrics)
            for trial in sorted(finished, key=lambda trial: _rank(trial, objective))
        ]
        best = best_of([trial for trial in finished if not _was_ended(trial)], objective)
        chosen = None
        if best is not None:
            wanted = space.settings(best.knobs)
            chosen = next(one for one in candidates if one.settings == wanted)
        values = [trial.score.value for trial in finished if trial.score.feasible]
        known = {one.settings.model_dump_json(): one for one in candidates}
        references = {
            name: known.get(
                settings.model_dump_json(), Candidate(settings, Score(inf, {}), (), Metrics())
            )
            for name, settings in question.references(source).items()
        }
        return Findings(
            goals={
                next(iter(question.goals)): Goal(
                    objective,
                    finished,
                    candidates,
                    chosen,
                    candidates[0],
                    flatness(values, maximise=objective.maximise),
                )
            },
            references=references,
            front=front_of(finished, question.statistic),
            load=self.traffic.describe(),
            bound={},
            measured=True,
        )

    def _plan(self, seconds: float) -> Plan:
        """How many draws a trial meets and of which length; as it was if resumed."""

        def make() -> dict[str, Any]:
            longest_s = self.traffic.draws(0, 1)[0].window_s
            return asdict(Plan.of(seconds, overhead_s(self.loaded.source), longest_s))

        return Plan(**pinned(self.folder / SEARCH / PLAN, dict(self.identity), make))

    def least_race_s(self, arms: int) -> float:
        """What the shortest race and confirmation of so many settings take."""
        each_s = TAIL * SHORTEST_S + overhead_s(self.loaded.source)
        return runs_planned(arms) * each_s

    def _say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)


def searchable(objective: Objective) -> Objective:
    """What is searched for at one load: instead of a capacity the least latency within the SLO."""
    if isinstance(objective, CapacityWithin):
        return Latency(objective.limit.statistic, objective.limit)
    return objective


def _was_ended(trial: Finished) -> bool:
    return trial.metrics.ended is not None


def _rank(trial: Finished, objective: Objective) -> tuple[bool, float, float]:
    """Sorts trials: those that violate nothing by value, then the least violating."""
    sign = -1.0 if objective.maximise else 1.0
    violation = max(trial.score.violations.values(), default=0.0)
    return not trial.score.feasible, max(0.0, violation), sign * trial.score.value


def _lacking(budget_s: float, arms: int, beside_s: float) -> str:
    """What the budget lacks for a race of so many; empty if nothing."""
    try:
        affordable_window_s(budget_s, arms, beside_s)
    except InputError as error:
        return str(error)
    return ""
