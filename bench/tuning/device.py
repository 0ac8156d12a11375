"""Racing and confirming on the real device, within a budget of its time."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import exp, inf, log
from pathlib import Path
from typing import Any

import numpy as np

from bench.comparison.arms import Arm
from bench.config import Settings
from bench.errors import InputError
from bench.simulation.runner import Setup
from bench.simulation.source import Source
from bench.tuning.choosing import simplicity
from bench.tuning.evaluation import Traffic
from bench.tuning.objectives import CapacityWithin, DeviceTime, Goodput, Limit, Objective, Statistic
from bench.tuning.racing import Measured, Race
from bench.tuning.racing import Run as RaceRun
from results.analysis import analyse
from results.comparison.observation import all_latencies
from results.paired import Effect
from results.run import RECORD, Run
from workloads import ResolvedTrace

MOST_RACE_DRAWS = 6
CONFIRM_DRAWS = (4, 10)
SHORTEST_S, OVERHEAD_S = 2.0, 2.5
# Arrivals go on past a window by a tenth, and by a quarter of a second at the least.
TAIL = 1.15
_FIRST_LOOK = 3
# The share of the budget that a race may take; the rest confirms.
RACE_SHARE = 0.55
# Of a setting's predicted capacity: the load at which it is verified that it carries it.
VERIFIED_AT = 0.95
NEAR_ENOUGH = 0.25
FEW_REQUESTS = 459

RunArm = Callable[[Arm, ResolvedTrace, Path], Run]


@dataclass(frozen=True)
class Yardstick:
    """What is measured on the device for an objective, and at which load.

    A capacity takes many loads to measure. It is verified at one, 95 % of what is predicted for
    the best setting: there the SLO has to be met, and the arm with the least latency wins.
    """

    objective: Objective
    statistic: Statistic
    limit: Limit | None

    @property
    def label(self) -> str:
        """What its values are."""
        if isinstance(self.objective, DeviceTime):
            return "device time a request"
        if isinstance(self.objective, Goodput):
            return "goodput"
        return f"{self._statistic} latency"

    @property
    def maximise(self) -> bool:
        """Whether more of it is better."""
        return isinstance(self.objective, Goodput)

    @property
    def _statistic(self) -> Statistic:
        if isinstance(self.objective, CapacityWithin):
            return self.objective.limit.statistic
        return self.statistic

    def of(self, run: Run) -> Measured:
        """Reduce a run."""
        latency_s = all_latencies(run)
        excess = 0.0
        if self.limit is not None and not isinstance(self.objective, Goodput):
            value = _statistic_of(latency_s, self.limit.statistic)
            excess = log(value / self.limit.limit_s) if 0.0 < value < inf else inf
        if isinstance(self.objective, DeviceTime):
            return Measured(run.metrics.device.busy_s_per_request, excess)
        if isinstance(self.objective, Goodput):
            within = float((latency_s <= self.objective.limit.limit_s).sum())
            return Measured(within / run.record.window_s or None, excess)
        value = _statistic_of(latency_s, self._statistic)
        return Measured(value if value < inf else None, excess)

    def predicted(self, setup: Setup, draw: ResolvedTrace) -> float:
        """The same from a simulation of the same arrivals."""
        outcome = setup.outcome(draw, 0)
        if isinstance(self.objective, DeviceTime):
            return outcome.device_s_per_request
        if isinstance(self.objective, Goodput):
            return outcome.within(self.objective.limit.limit_s) / draw.window_s
        return self._statistic.of([outcome])


def _statistic_of(
    latency_s: "np.ndarray[Any, np.dtype[np.float64]]", statistic: Statistic
) -> float:
    """The statistic of latencies in ascending order; infinite where there is none."""
    if not len(latency_s):
        return inf
    if statistic.share is None:
        return float(latency_s.mean())
    rank = -(-round(statistic.share * 1_000_000) * len(latency_s) // 1_000_000)
    return float(latency_s[rank - 1])


@dataclass(frozen=True, slots=True)
class Gain:
    """The recommended setting against another over fresh draws: a ratio of the yardstick.

    Attributes:
        over: the other one's name.
        effect: recommended / other; None where a ratio cannot be given.
        unable: draws in which the other one left requests unanswered.
        draws: how many there were.
    """

    over: str
    effect: Effect | None
    unable: int
    draws: int

    def verdict(self, *, maximise: bool) -> str:
        """Better, worse, no difference worth having, or not known."""
        if self.effect is None:
            return "better" if self.unable else "not known"
        low, high = self.effect.low, self.effect.high
        if maximise:
            low, high = -high, -low
        if high < 0.0:
            return "better"
        if low > 0.0:
            return "worse"
        return "no measurable difference"


@dataclass(frozen=True)
class Verified:
    """What the device said.

    Attributes:
        label: of the yardstick.
        rate_rps, window_s: of the draws.
        winner: by name; None if nobody met the SLO.
        race: what each arm was measured to do, and when it was dropped.
        predicted: the same yardstick, simulated on the same arrivals, by arm.
        gains: over the default and the current setting.
        measured: of the winner in the confirmation: value and its interval, over draws.
        spent_s: device time.
        remarks: what has to be said.
    """

    label: str
    rate_rps: float
    window_s: float
    winner: str | None
    race: Mapping[str, dict[str, Any]]
    predicted: Mapping[str, float]
    gains: tuple[Gain, ...]
    measured: dict[str, Any]
    spent_s: float
    remarks: tuple[str, ...]


def affordable_window_s(budget_s: float, arms: int) -> float:
    """How long the draws of a race may be, seconds.

    It is planned for three draws of all arms, three more of half of them at most, and a
    confirmation of three arms.

    Raises:
        InputError: the shortest draws would not fit.
    """
    most = _FIRST_LOOK * arms + (MOST_RACE_DRAWS - _FIRST_LOOK) * 3 + CONFIRM_DRAWS[0] * 3
    window_s = (budget_s / most - OVERHEAD_S) / TAIL
    if window_s < SHORTEST_S:
        least_s = most * (TAIL * SHORTEST_S + OVERHEAD_S)
        raise InputError(
            f"budget must leave {least_s:.0f} s to race {arms} settings and confirm the best, "
            f"but leaves {budget_s:.0f} s: give more, or --no-race"
        )
    return window_s


@dataclass
class Verification:
    """Stage 2.

    Attributes:
        arms: the settings in the race, by name; the recommendation of the simulation first.
        yardstick: what is measured.
        traffic: the arrivals, at the load to verify at.
        source: for predictions.
        folder: where the runs are kept. Those that are there already are not made again.
        budget_s: device time there is.
        first: the number of the first draw that nothing has seen yet.
        make_runner: loads the model for these arms; called once, before the first run.
        watch: told of each run.
    """

    arms: Mapping[str, Settings]
    yardstick: Yardstick
    traffic: Traffic
    source: Source
    folder: Path
    budget_s: float
    first: int
    make_runner: Callable[[list[Arm]], RunArm]
    watch: Callable[[str], None] = lambda _: None
    seed: int = 0
    _spent_s: float = 0.0
    _remarks: list[str] = field(default_factory=list)

    def run(self) -> Verified:
        """Race, then confirm.

        Raises:
            InputError: the budget holds no race.
        """
        window_s = self.window_s()
        race = Race(
            list(self.arms), MOST_RACE_DRAWS, maximise=self.yardstick.maximise, seed=self.seed
        )
        runner = self.make_runner([Arm(name, its) for name, its in self.arms.items()])
        draws = self.traffic.draws(self.first, MOST_RACE_DRAWS, window_s=window_s)
        self._remark_on(draws[0])
        self._play("race", race, draws, self._runs("race", runner), RACE_SHARE * self.budget_s)
        winner = race.winner(lambda name: simplicity(self.arms[name].batcher))
        predicted = {name: self._predicted(name, draws, race) for name in self.arms}
        self._trust(race, predicted)
        gains: tuple[Gain, ...] = ()
        measured: dict[str, Any] = {}
        if winner is not None:
            gains, measured = self._confirm(winner, runner, window_s)
        return Verified(
            label=self.yardstick.label,
            rate_rps=draws[0].offered_rps,
            window_s=window_s,
            winner=winner,
            race={name: self._told(race, name) for name in self.arms},
            predicted=predicted,
            gains=gains,
            measured=measured,
            spent_s=self._spent_s,
            remarks=tuple(self._remarks),
        )

    def window_s(self) -> float:
        """How long a draw may be: as asked, or as the budget allows.

        Raises:
            InputError: the shortest draws would not fit.
        """
        asked_s = self.traffic.draws(0, 1)[0].window_s
        return min(asked_s, affordable_window_s(self.budget_s, len(self.arms)))

    def _play(
        self,
        name: str,
        race: Race,
        draws: list[ResolvedTrace],
        run: Callable[[RaceRun, ResolvedTrace], Run],
        budget_s: float,
    ) -> None:
        """Run a race until it is over, or until the next draw would not fit the budget."""
        began_s, made, drawn = self._spent_s, 0, -1
        while (asked := race.ask()) is not None:
            took_s = self._spent_s - began_s
            next_s = took_s / max(1, made) * len(race.alive)
            if asked.draw != drawn and asked.draw >= 2 and took_s + next_s > budget_s:
                self._remarks.append(f"the {name} ended after {asked.draw} draws, by its budget")
                break
            drawn = asked.draw
            before_s = time.monotonic()
            measured = self.yardstick.of(run(asked, draws[asked.draw]))
            self._spent_s += time.monotonic() - before_s
            made += 1
            race.tell(asked, measured)
            value = "no answer" if measured.value is None else f"{measured.value:.6g}"
            self.watch(f"{name}, draw {asked.draw + 1}, {asked.arm}: {value}")

    def _runs(self, name: str, runner: RunArm) -> Callable[[RaceRun, ResolvedTrace], Run]:
        """What makes a run, or finds it whole and with its arrivals from before an interruption."""

        def run(asked: RaceRun, draw: ResolvedTrace) -> Run:
            folder = self.folder / name / asked.folder
            if (folder / RECORD).exists():
                kept = analyse(folder)
                if kept.record.trace.get("sha256") == draw.trace.fingerprint():
                    return kept
            if folder.exists():
                shutil.rmtree(folder)
            return runner(Arm(asked.arm, self.arms[asked.arm]), draw, folder)

        return run

    def _confirm(
        self, winner: str, runner: RunArm, window_s: float
    ) -> tuple[tuple[Gain, ...], dict[str, Any]]:
        """The winner against the default and the current setting, on as many draws as there are.

        How many is settled before the first of them, and nobody is dropped: only such a comparison
        gives gains that mean what they say.
        """
        others = [name for name in ("default", "current") if name in self.arms and name != winner]
        names = [winner, *others]
        each_s = (TAIL * window_s + OVERHEAD_S) * len(names)
        fewest, most = CONFIRM_DRAWS
        affordable = int((self.budget_s - self._spent_s) / each_s)
        if affordable < 2:
            self._remarks.append("the budget left no time to confirm the winner: --budget for more")
            return (), {}
        count = min(most, affordable)
        if count < fewest:
            self._remarks.append(f"only {count} draws fitted the budget to confirm the winner")
        confirmation = Race(
            names, count, maximise=self.yardstick.maximise, seed=self.seed + 1, drop=False
        )
        draws = self.traffic.draws(self.first + MOST_RACE_DRAWS, count, window_s=window_s)
        self._play("confirm", confirmation, draws, self._runs("confirm", runner), inf)
        level = 0.05 / max(1, len(others))
        gains = tuple(
            Gain(
                over=name,
                effect=confirmation.effect(winner, name, level),
                unable=sum(one.value is None for one in confirmation.of(name)),
                draws=count,
            )
            for name in others
        )
        excess = [one.excess for one in confirmation.of(winner)]
        met = None
        if self.yardstick.limit is not None:
            met = sum(excess) / len(excess) <= 0.0
        return gains, {
            "value": confirmation.typical(winner),
            "draws": count,
            "meets_slo": met,
            "values": {name: [one.value for one in confirmation.of(name)] for name in names},
        }

    def _predicted(self, name: str, draws: list[ResolvedTrace], race: Race) -> float:
        """The yardstick simulated on the arrivals that an arm was raced on: a geometric mean."""
        batcher = self.arms[name].batcher
        setup = Setup(batcher, self.source, batcher.replicas or 1)
        values = [
            self.yardstick.predicted(setup, draw) for draw in draws[: len(race.of(name)) or 1]
        ]
        if any(not 0.0 < value < inf for value in values):
            return inf
        return exp(sum(map(log, values)) / len(values))

    def _trust(self, race: Race, predicted: Mapping[str, float]) -> None:
        """Say so where the simulation is too far off for its ranking to be relied on."""
        errors = {
            name: log(predicted[name] / value)
            for name in self.arms
            if (value := race.typical(name)) is not None and predicted[name] < inf
        }
        if not errors:
            return
        # A machine that is slower than its profile by the same factor everywhere ranks alike.
        middle = float(np.median(list(errors.values())))
        worst = max(errors, key=lambda name: abs(errors[name] - middle))
        if abs(errors[worst] - middle) > NEAR_ENOUGH:
            self._remarks.append(
                f"the simulation is off by {100 * (exp(errors[worst]) - 1):+.0f} % for {worst} and "
                f"by {100 * (exp(middle) - 1):+.0f} % for a typical setting: settings that were "
                "not raced may be better than it says"
            )

    def _remark_on(self, draw: ResolvedTrace) -> None:
        if draw.requests < FEW_REQUESTS:
            self._remarks.append(
                f"a draw has {draw.requests} requests only, few for a tail: --budget for more"
            )

    def _told(self, race: Race, name: str) -> dict[str, Any]:
        return {
            "value": race.typical(name),
            "draws": len(race.of(name)),
            "slo_excess": _mean_excess(race.of(name)),
            "dropped_after": race.dropped.get(name),
            "dropped_why": race.reasons.get(name),
            "values": [one.value for one in race.of(name)],
        }


def _mean_excess(measured: list[Measured]) -> float | None:
    """The mean log of statistic / limit over draws; None where a draw had no value."""
    excess = sum(one.excess for one in measured) / max(1, len(measured))
    return excess if excess < inf else None
