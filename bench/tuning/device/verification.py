"""Racing and confirming on the real device, within a budget of its time."""

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from bench.live.arms import Arm
from bench.profiling.service_times import Source
from bench.settings import BatcherSettings, Settings
from bench.tuning.budget import (
    CONFIRM_DRAWS,
    FIRST_LOOK,
    MOST_RACE_DRAWS,
    OVERHEAD_S,
    TAIL,
    affordable_window_s,
    shortfall,
)
from bench.tuning.device.metric import DeviceMetric, findings_of, gain_of, measured_in
from bench.tuning.device.pinned_plan import PLAN, pinned
from bench.tuning.device.prediction_check import PredictionCheck
from bench.tuning.device.race import Measured, Race
from bench.tuning.device.race import Run as RaceRun
from bench.tuning.device.search import RunArm
from bench.tuning.search.engines import Setting, name_of, with_setting
from bench.tuning.search.selection import simplicity
from bench.tuning.simulated.simulator import Traffic
from results import format as fmt
from results.errors import ResultsError
from results.run.analysis import analyse
from results.run.record import RECORD, Run, RunRecord
from results.tuning.device_record import (
    CONFIRM,
    RACE,
    SECOND_RACE,
    Confirmation,
    DeviceRecord,
    Gain,
    Judged,
    MeasuredArm,
    RaceArm,
)
from results.tuning.metrics import Metrics
from workloads import ResolvedTrace


def ran_with(run: Run, batcher: BatcherSettings) -> bool:
    """Whether a run was of these settings; the number of replicas was settled when it was made.

    So was what an engine captures that is left to do as usual.
    """
    fixed_then = {"replicas"}
    if isinstance(batcher, Setting) and not batcher.captured_batch_sizes:
        fixed_then.add("captured_batch_sizes")
    wanted = batcher.model_dump(mode="json", exclude=fixed_then)
    return all(run.record.config.get(key) == value for key, value in wanted.items())


# The share of the budget that a race may take; the rest confirms.
RACE_SHARE = 0.55
# Of a setting's predicted capacity: the load at which it is verified that it carries it.
VERIFIED_AT = 0.95

Explore = Callable[[RunArm, float], Sequence[BatcherSettings]]
"""Searches on the device for so many seconds; gives the best settings it found, best first."""


@dataclass
class Verification:
    """Stage 2.

    Attributes:
        arms: the settings in the race, by name; the one that the search proposes first.
        settings: of the runs, what the arms say apart.
        device_metric: what is measured.
        traffic: the arrivals, at the load to verify at.
        source: for predictions; None for none.
        folder: run directory; existing runs are reused.
        budget_s: time there is, from when it begins.
        first: the number of the first draw that nothing has seen yet.
        make_runner: loads the model for these arms; called once, before the first run.
        explore: searches on the device where simulation turns out not to be trusted.
        overhead_s: what a run is thought to take beside its window.
        watch: told of each run.
    """

    arms: Mapping[str, BatcherSettings]
    settings: Settings
    device_metric: DeviceMetric
    traffic: Traffic
    source: Source | None
    folder: Path
    budget_s: float
    first: int
    make_runner: Callable[[list[Arm]], RunArm]
    explore: Explore | None = None
    overhead_s: float = OVERHEAD_S
    watch: Callable[[str], None] = lambda _: None
    seed: int = 0
    _began_s: float = 0.0
    _run_s: list[float] = field(default_factory=list)
    _remarks: list[str] = field(default_factory=list)
    _runs_of: dict[str, dict[str, list[RunRecord]]] = field(default_factory=dict)

    def run(self) -> DeviceRecord:
        """Race, search on the device if simulation was wrong, race again, confirm.

        Raises:
            InputError: the budget holds no race.
        """
        self._began_s = time.monotonic()
        window_s = self.window_s()
        self.arms = dict(self.arms)
        race = self._new_race(list(self.arms), self.seed)
        runner = self.make_runner([self._arm(name) for name in self.arms])
        draws = self.traffic.draws(self.first, MOST_RACE_DRAWS, window_s=window_s)
        self._remark_on(draws[0])
        self._play(RACE, race, draws, self._runs(RACE, runner), RACE_SHARE * self.budget_s)
        winner = self._winner(race)
        prediction_check = PredictionCheck(self.source, self.device_metric)
        predicted = prediction_check.of(race, self.arms, draws)
        doubt, remark = prediction_check.doubt(race, predicted)
        self._remarks += [remark] if remark else []
        found: dict[str, BatcherSettings] = {}
        if doubt:
            found = self._found_instead(doubt, runner, window_s)
        if found:
            winner = self._race_again(winner, found, runner, window_s) or winner
        gains: tuple[Gain, ...] = ()
        confirmation = Confirmation()
        if winner is not None:
            gains, confirmation = self._confirm(winner, runner, window_s)
        measured = self._measured()
        return DeviceRecord(
            label=self.device_metric.label,
            unit=self.device_metric.unit,
            rate_rps=draws[0].offered_rps,
            window_s=window_s,
            winner=winner,
            arms=self._settings(race.arms),
            found={name: self._judged(name, measured[name]) for name in found},
            distrust=doubt or None,
            race={name: self._told(race, name) for name in race.arms},
            predicted={k: value if value < inf else None for k, value in predicted.items()},
            confirmation=confirmation,
            gains=gains,
            measured=measured,
            findings=findings_of(self._every_run),
            spent_s=self._spent_s,
            remarks=tuple(self._remarks),
        )

    def window_s(self) -> float:
        """How long a draw may be: as asked, or as the budget allows; as it was if resumed.

        Raises:
            InputError: the shortest draws would not fit.
        """

        def make() -> dict[str, float]:
            asked_s = self.traffic.draws(0, 1)[0].window_s
            affordable_s = affordable_window_s(self.budget_s, len(self.arms), self.overhead_s)
            return {"window_s": min(asked_s, affordable_s)}

        return float(
            pinned(self.folder / "race" / PLAN, self._settings(self.arms), make)["window_s"]
        )

    def _settings(self, names: Iterable[str]) -> dict[str, Any]:
        return {name: self.arms[name].model_dump(mode="json") for name in names}

    def _arm(self, name: str) -> Arm:
        return Arm(name, with_setting(self.settings, self.arms[name]))

    @property
    def _spent_s(self) -> float:
        return time.monotonic() - self._began_s

    def _each_s(self, window_s: float) -> float:
        """About how long a run takes: as planned, or as the last ones did."""
        planned_s = TAIL * window_s + self.overhead_s
        recent_s = self._run_s[-6:]
        return max(planned_s, sum(recent_s) / len(recent_s)) if recent_s else planned_s

    def _new_race(self, names: list[str], seed: int, **how: Any) -> Race:
        draws = how.pop("draws", MOST_RACE_DRAWS)
        return Race(names, draws, maximise=self.device_metric.maximise, seed=seed, **how)

    def _winner(self, race: Race) -> str | None:
        return race.winner(lambda name: simplicity(self.arms[name]))

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
            made_run = run(asked, draws[asked.draw])
            self._runs_of.setdefault(name, {}).setdefault(asked.arm, []).append(made_run.record)
            measured = self.device_metric.of(made_run)
            made += 1
            race.tell(asked, measured)
            value = (
                "no answer" if measured.value is None else self.device_metric.shown(measured.value)
            )
            self.watch(f"{name}, draw {asked.draw + 1}, {asked.arm}: {value}")

    def _runs(self, name: str, runner: RunArm) -> Callable[[RaceRun, ResolvedTrace], Run]:
        """What makes a run, or finds it whole and with its arrivals from before an interruption."""

        def run(asked: RaceRun, draw: ResolvedTrace) -> Run:
            folder = self.folder / name.replace(" ", "-") / asked.folder
            kept = _whole(folder)
            if (
                kept is not None
                and kept.record.trace.get("sha256") == draw.trace.fingerprint()
                and ran_with(kept, self.arms[asked.arm])
            ):
                return kept
            if folder.exists():
                shutil.rmtree(folder)
            began_s = time.monotonic()
            made = runner(self._arm(asked.arm), draw, folder)
            self._run_s.append(time.monotonic() - began_s)
            return made

        return run

    def _found_instead(
        self, doubt: str, runner: RunArm, window_s: float
    ) -> dict[str, BatcherSettings]:
        """Search on the device with what is left, but for a second race and a confirmation."""
        self.watch(f"the simulation's ranking is not relied on: {doubt}")
        if self.explore is None:
            return {}
        reserve_s = (3 * FIRST_LOOK + 3 * CONFIRM_DRAWS[0]) * self._each_s(window_s)
        left_s = self.budget_s - self._spent_s - reserve_s
        if left_s < 4 * self._each_s(window_s):
            self._remarks.append(
                "the budget is spent, so there was no search on the device: --budget "
                f"{self.budget_s + 30 * self._each_s(window_s):.0f}s for one, or --no-simulate"
            )
            return {}
        self.watch(f"searching on the device instead, for {left_s:.0f} s at most")
        known = list(self.arms.values())
        found: dict[str, BatcherSettings] = {}
        for batcher in self.explore(runner, left_s):
            if batcher not in known and len(found) < 2:
                found["found on device" if not found else "second on device"] = batcher
        self.arms = {**self.arms, **found}
        return found

    def _race_again(
        self,
        winner: str | None,
        found: Mapping[str, BatcherSettings],
        runner: RunArm,
        window_s: float,
    ) -> str | None:
        """What was found against what had won, on draws that neither has seen."""
        names = [*([] if winner is None else [winner]), *found]
        if len(names) == 1:
            names.append(next(name for name in self.arms if name not in names))
        race = self._new_race(names, self.seed + 2)
        first = self.first + MOST_RACE_DRAWS + CONFIRM_DRAWS[1]
        draws = self.traffic.draws(first, MOST_RACE_DRAWS, window_s=window_s)
        left_s = self.budget_s - self._spent_s - 3 * CONFIRM_DRAWS[0] * self._each_s(window_s)
        self._play(SECOND_RACE, race, draws, self._runs(SECOND_RACE, runner), left_s)
        return self._winner(race)

    def _confirm(
        self, winner: str, runner: RunArm, window_s: float
    ) -> tuple[tuple[Gain, ...], Confirmation]:
        """The winner against the default and the current setting, on as many draws as there are.

        How many is settled before the first of them, and nobody is dropped: only such a comparison
        gives gains that mean what they say.
        """
        others = [name for name in ("default", "current") if name in self.arms and name != winner]
        names = [winner, *others]
        each_s = self._each_s(window_s) * len(names)
        fewest, most = CONFIRM_DRAWS
        affordable = min(most, int((self.budget_s - self._spent_s) / each_s))
        path = self.folder / "confirm" / PLAN
        count = int(pinned(path, self._settings(names), lambda: {"draws": affordable})["draws"])
        if count < 2:
            path.unlink()  # there may be time when it is resumed
            self._remarks.append("the budget left no time to confirm the winner: --budget for more")
            return (), Confirmation()
        if count < fewest:
            self._remarks.append(f"only {count} draws fitted the budget to confirm the winner")
        confirmation = self._new_race(names, self.seed + 1, draws=count, drop=False)
        draws = self.traffic.draws(self.first + MOST_RACE_DRAWS, count, window_s=window_s)
        self._play(CONFIRM, confirmation, draws, self._runs(CONFIRM, runner), inf)
        level = 0.05 / max(1, len(others))
        gains = tuple(
            gain_of(
                name,
                confirmation.effect(winner, name, level),
                unable=sum(one.value is None for one in confirmation.of(name)),
                draws=count,
                maximise=self.device_metric.maximise,
            )
            for name in others
        )
        excess = [one.excess for one in confirmation.of(winner)]
        met = None
        if self.device_metric.limit is not None:
            met = sum(excess) / len(excess) <= 0.0
        return gains, Confirmation(
            value=confirmation.typical(winner),
            draws=count,
            meets_slo=met,
            values={name: tuple(one.value for one in confirmation.of(name)) for name in names},
        )

    def _measured(self) -> dict[str, MeasuredArm]:
        """By arm, what was measured in the confirmation if it was there, else in the race."""
        statistic = self.device_metric.statistic
        return {
            name: measured_in(stage, runs, statistic)
            for stage in (RACE, SECOND_RACE, CONFIRM)
            for name, runs in self._runs_of.get(stage, {}).items()
        }

    @property
    def _every_run(self) -> list[RunRecord]:
        """Of all stages, arm by arm."""
        stages = self._runs_of.values()
        return [run for name in self.arms for arms in stages for run in arms.get(name, ())]

    def _judged(self, name: str, measured: MeasuredArm) -> Judged:
        """A setting that was found on the device, by what it was measured to do there."""
        values = {metric: known.value for metric, known in measured.metrics.items()}
        settings = self.arms[name]
        return Judged(
            settings=settings.model_dump(mode="json"),
            label=name_of(settings),
            metrics=Metrics.model_validate(values),
        )

    def _remark_on(self, draw: ResolvedTrace) -> None:
        """Say what is wrong with the draws at once, and keep it."""
        asked_s = self.traffic.draws(0, 1)[0].window_s
        if draw.window_s < asked_s:
            self._remarks.append(
                f"draws were cut to {fmt.duration(draw.window_s)} of {fmt.duration(asked_s)}, to "
                "fit --budget"
            )
        judged = self.device_metric.judged
        if said := shortfall(judged, draw, len(self.arms), self.overhead_s):
            self._remarks.append(said)
        for remark in self._remarks:
            self.watch(remark)

    def _told(self, race: Race, name: str) -> RaceArm:
        return RaceArm(
            value=race.typical(name),
            draws=len(race.of(name)),
            slo_excess=_mean_excess(race.of(name)),
            dropped_after=race.dropped.get(name),
            dropped_why=race.reasons.get(name),
            values=tuple(one.value for one in race.of(name)),
        )


def _whole(folder: Path) -> Run | None:
    """A run that was kept; None if there is none, or what there is cannot be read any more."""
    if not (folder / RECORD).exists():
        return None
    try:
        return analyse(folder)
    except ResultsError:
        return None


def _mean_excess(measured: list[Measured]) -> float | None:
    """The mean log of statistic / limit over draws; None where a draw had no value."""
    excess = sum(one.excess for one in measured) / max(1, len(measured))
    return excess if excess < inf else None
