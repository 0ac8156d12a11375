"""Racing and confirming on the real device, within a budget of its time."""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
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
    runs_planned,
)
from bench.tuning.device.metric import DeviceMetric, expected_of, metrics_of
from bench.tuning.device.prediction_check import PredictionCheck
from bench.tuning.device.race import Measured, Race
from bench.tuning.device.race import Run as RaceRun
from bench.tuning.device.search import RunArm
from bench.tuning.findings import Gain, Interval, Verified
from bench.tuning.search.engines import Setting, with_setting
from bench.tuning.search.selection import simplicity
from bench.tuning.simulated.simulator import Traffic
from results import format as fmt
from results.errors import ResultsError
from results.files import write_text
from results.run.analysis import analyse
from results.run.record import RECORD, Run
from workloads import ResolvedTrace


def settled(
    path: Path, matching: dict[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What a file says, if it was settled for the same; else made now, and written.

    Args:
        path: of the file; the folders above it are made.
        matching: what it has to have been settled for, JSON-able.
        make: settles it, JSON-able.
    """
    wanted = json.loads(json.dumps(matching))
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = None
    if isinstance(known, dict) and known.get("of") == wanted and isinstance(known.get("is"), dict):
        return dict(known["is"])
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"of": wanted, "is": made}, indent=1) + "\n")
    return made


def ran_with(run: Run, batcher: BatcherSettings) -> bool:
    """Whether a run was of these settings; the number of replicas was settled when it was made.

    So was what an engine captures that is left to do as usual.
    """
    settled_then = {"replicas"}
    if isinstance(batcher, Setting) and not batcher.captured_batch_sizes:
        settled_then.add("captured_batch_sizes")
    wanted = batcher.model_dump(mode="json", exclude=settled_then)
    return all(run.record.config.get(key) == value for key, value in wanted.items())


PLAN = "plan.json"
# The share of the budget that a race may take; the rest confirms.
RACE_SHARE = 0.55
# Of a setting's predicted capacity: the load at which it is verified that it carries it.
VERIFIED_AT = 0.95
FEW_REQUESTS = 459

Explore = Callable[[RunArm, float], Sequence[BatcherSettings]]
"""Searches on the device for so many seconds; gives the best settings it found, best first."""


@dataclass
class Verification:
    """Stage 2.

    Attributes:
        arms: the settings in the race, by name; the recommendation of the search first.
        settings: of the runs, what the arms say apart.
        device_metric: what is measured.
        traffic: the arrivals, at the load to verify at.
        source: for predictions; None for none.
        folder: where the runs are kept. Those that are there already are not made again.
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
    _metrics: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)

    def run(self) -> Verified:
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
        self._play("race", race, draws, self._runs("race", runner), RACE_SHARE * self.budget_s)
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
        measured: dict[str, Any] = {}
        if winner is not None:
            gains, measured = self._confirm(winner, runner, window_s)
        return Verified(
            label=self.device_metric.label,
            unit=self.device_metric.unit,
            rate_rps=draws[0].offered_rps,
            window_s=window_s,
            winner=winner,
            race={name: self._told(race, name) for name in race.arms},
            predicted=predicted,
            gains=gains,
            measured=measured,
            expected=self._expected(),
            found=found,
            spent_s=self._spent_s,
            distrust=doubt,
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
            settled(self.folder / "race" / PLAN, self._settings(self.arms), make)["window_s"]
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
            self._metrics.setdefault(name, {}).setdefault(asked.arm, []).append(
                metrics_of(made_run)
            )
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
        self._remarks.append(f"the simulation's ranking is not to be trusted here: {doubt}")
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
        self._play("second race", race, draws, self._runs("second race", runner), left_s)
        return self._winner(race)

    def _confirm(
        self, winner: str, runner: RunArm, window_s: float
    ) -> tuple[tuple[Gain, ...], dict[str, Any]]:
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
        count = int(settled(path, self._settings(names), lambda: {"draws": affordable})["draws"])
        if count < 2:
            path.unlink()  # there may be time when it is resumed
            self._remarks.append("the budget left no time to confirm the winner: --budget for more")
            return (), {}
        if count < fewest:
            self._remarks.append(f"only {count} draws fitted the budget to confirm the winner")
        confirmation = self._new_race(names, self.seed + 1, draws=count, drop=False)
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
        if self.device_metric.limit is not None:
            met = sum(excess) / len(excess) <= 0.0
        return gains, {
            "value": confirmation.typical(winner),
            "draws": count,
            "meets_slo": met,
            "values": {name: [one.value for one in confirmation.of(name)] for name in names},
        }

    def _expected(self) -> dict[str, dict[str, Interval]]:
        """By arm, its metrics in the confirmation if it was there, else in the race."""
        found: dict[str, dict[str, Interval]] = {}
        for stage in ("race", "second race", "confirm"):
            for name, draws in self._metrics.get(stage, {}).items():
                found[name] = expected_of(draws)
        return found

    def _remark_on(self, draw: ResolvedTrace) -> None:
        asked_s = self.traffic.draws(0, 1)[0].window_s
        if draw.window_s < asked_s:
            self._remarks.append(
                f"draws were cut to {fmt.duration(draw.window_s)} of {fmt.duration(asked_s)}, to "
                "fit --budget"
            )
        if draw.requests < FEW_REQUESTS:
            long_s = ceil(FEW_REQUESTS / draw.offered_rps)
            race_s = runs_planned(len(self.arms)) * (TAIL * long_s + self.overhead_s)
            self._remarks.append(
                f"a draw has {draw.requests} requests only, few for a tail: {FEW_REQUESTS} would "
                f"take a --duration of {long_s} and a --budget of {ceil(race_s / 60.0)}m for the "
                "race alone"
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
