"""A live comparison from its start, or from where it was interrupted, to its record."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from rich.console import Console

from batching import Clock
from bench.comparison.request import Request, check_same
from bench.comparison.schedule import RunSchedule, Trial, compare_arms
from bench.errors import InputError
from bench.live.arms import Arm, LiveArms, at_rate
from bench.settings import Settings
from bench.traces.source import tell_windows
from results import format as fmt
from results.comparison.observation import METRICS, expected_noise, metric_named, observe
from results.comparison.outcome import Judge, MetricEffect
from results.comparison.record import (
    ArmRecord,
    Comparison,
    ComparisonRecord,
    Detectable,
    draw_record,
    read_record,
    write_record,
)
from results.comparison.wording import letter, sentences, standing
from results.errors import RunCorruptError, RunError
from results.run.analysis import analyse
from results.run.record import RECORD as RUN_RECORD
from results.run.slo import goodput_limit_s
from results.statistics import paired
from results.statistics.paired import Plan
from workloads import ResolvedTrace

_FEWEST_FOR_INTERVAL = 4
# What is meant to run for longer than this says how to make it shorter.
_LONG_S = 300.0
State = Literal["running", "interrupted", "finished"]


class Experiment:
    """One comparison in its folder.

    Args:
        folder: Of the comparison.
        arms: The control first.
        record: What was asked for; its draws and outcome are kept up to date on disk.
    """

    def __init__(self, folder: Path, arms: Sequence[Arm], record: ComparisonRecord) -> None:
        self.folder = folder
        self.record = record
        self._arms = {arm.name: arm for arm in arms}
        self._plan = Plan(
            draws=record.most_draws,
            margin=record.margin,
            exact=record.exact,
            challengers=len(arms) - 1,
        )
        judge = Judge(tuple(self._arms), self._plan, record.metric)
        self.contest = RunSchedule(judge, seed=arms[0].settings.replay.seed or 0)

    @staticmethod
    def check(request: Request, arms: Sequence[Arm]) -> None:
        """Check the plan, so that a bad one is found before a folder is made.

        Raises:
            InvalidInputError: The plan or the metric is not usable.
            InputError: Goodput is to decide, and there is no SLO that it could be of.
        """
        record = Experiment.begin(request, Path("unused"), arms).record
        limit_s = goodput_limit_s(arms[0].settings.slo.parsed)
        if record.metric == "goodput" and limit_s is None:
            raise InputError("goodput must have a latency limit (--slo 'p99<=50ms'), but has none")

    @classmethod
    def begin(cls, request: Request, folder: Path, arms: Sequence[Arm]) -> "Experiment":
        """A new comparison.

        Raises:
            InvalidInputError: The plan or the metric is not usable.
        """
        record = ComparisonRecord(
            id=folder.resolve().name,
            command=request.command,
            arms={
                arm.name: ArmRecord(label=arm.label, settings=arm.settings.model_dump(mode="json"))
                for arm in arms
            },
            metric=metric_named(request.metric or "p99").name,
            exact=bool(request.exact),
            most_draws=10 if request.draws is None else request.draws,
            margin=0.05 if request.margin is None else request.margin,
            seed=arms[0].settings.replay.seed,
        )
        return cls(folder, arms, record)

    @classmethod
    def resume(cls, folder: Path, request: Request) -> "Experiment":
        """A comparison that was begun before, with all runs that were finished.

        Raises:
            InputError: The request differs from what was begun.
            RunError: There is no comparison in that folder, or it cannot be read.
        """
        record = read_record(folder)
        try:
            arms = [
                Arm(name, Settings.model_validate(arm.settings))
                for name, arm in record.arms.items()
            ]
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise RunCorruptError(
                f"{folder}: the settings of its arms are damaged: {where}"
            ) from error
        check_same(record, arms, request)
        experiment = cls(folder, arms, record)
        for draw in range(record.most_draws):
            for name in record.arms:
                experiment._recover(Trial(draw, name))
        return experiment

    def _recover(self, trial: Trial) -> None:
        """Take a run that is on disk; what is left of one that was cut off is removed."""
        path = self.folder / trial.folder
        if not path.exists():
            return
        if not (path / RUN_RECORD).is_file():
            shutil.rmtree(path)
            return
        try:
            self.contest.tell(trial, observe(analyse(path)))
        except RunError as error:
            raise RunCorruptError(
                f"{path} cannot be used: {error}; remove the folder to have it run again"
            ) from error

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to run."""
        return self.contest.ask() is None

    def run(self, clock: Clock, console: Console) -> None:
        """Run what is left; what was done is on disk whatever ends it early.

        Raises:
            KeyboardInterrupt: It was interrupted.
            RunFailedError: A run failed.
        """
        try:
            live, draws = self._prepare(clock, console)
        except KeyboardInterrupt:
            self._write("interrupted")
            raise
        self._announce(draws, console)
        self._write("running")
        try:
            compare_arms(
                self.contest,
                self._arms,
                draws,
                live,
                folder=self.folder,
                watch=lambda trial: self._watch(trial, console),
            )
        except BaseException:
            self._write("interrupted")
            raise
        self._write("finished")

    def close(self) -> None:
        """Write down a comparison that turned out to have nothing left to run."""
        self._write("finished")

    @property
    def comparison(self) -> Comparison:
        """What there is to report."""
        return Comparison(self.folder, self.record, self.contest.draws)

    def _prepare(self, clock: Clock, console: Console) -> tuple[LiveArms, list[ResolvedTrace]]:
        """Load the models and draw the arrivals, at the load of the first time."""
        load = self.record.load
        arms = list(self._arms.values())
        if load:
            arms = [
                replace(arm, settings=at_rate(arm.settings, float(load["rate_rps"])))
                for arm in arms
            ]
        live = LiveArms(arms, clock, console)
        draws = live.draws(self._plan.draws)
        if load:
            draws = [
                replace(draw, utilization=load["utilization"], peak_rps=load["peak_rps"])
                for draw in draws
            ]
        self._check_arrivals(draws)
        first = draws[0]
        described = first.describe()
        self.record = self.record.model_copy(
            update={
                "load": {
                    "rate_rps": first.rate_rps,
                    "utilization": first.utilization,
                    "peak_rps": first.peak_rps,
                    "window_s": first.window_s,
                    "time_scale": first.time_scale,
                },
                "trace": {
                    key: described[key] for key in ("name", "kind", "path", "process", "rate_by")
                },
                "detectable": self.record.detectable or self._detectable(self._noise(first)),
            }
        )
        return live, draws

    def _check_arrivals(self, draws: Sequence[ResolvedTrace]) -> None:
        for number, (seen, draw) in enumerate(zip(self.contest.draws, draws, strict=False), 1):
            if any(run.sha256 != draw.trace.fingerprint() for run in seen.values()):
                raise InputError(
                    f"draw {number} must have the arrivals it had before, but the trace "
                    f"{self.record.trace.get('name')} gives others now"
                )

    def _noise(self, draw: ResolvedTrace | None = None) -> float | None:
        """The noise of a pair: the largest that was seen of any arm, or else what is expected."""
        outcome = self.record.outcome
        if outcome is not None and outcome.draws >= self._plan.looks[0]:
            seen = [c.judged.noise for c in outcome.challengers if c.judged.noise is not None]
            if seen:
                return max(seen)
        return None if draw is None else expected_noise(METRICS[self.record.metric], draw.window_s)

    def _detectable(self, noise: float | None) -> Detectable | None:
        if noise is None:
            return None
        smallest = paired.detectable(noise, self._plan.draws, self._plan.level)
        return Detectable(
            noise=noise,
            lower=-(1.0 - exp(-smallest)),
            higher=exp(smallest) - 1.0,
            power=paired.POWER,
        )

    def _announce(self, draws: Sequence[ResolvedTrace], console: Console) -> None:
        """Say before it starts what it will take and what it can find."""
        plan, record = self._plan, self.record
        each_s = draws[0].window_s + draws[0].tail_s
        fewest, most = plan.looks[0], plan.draws
        number = f"{most}" if fewest == most else f"{fewest} to {most}"
        total_s = most * len(self._arms) * each_s
        minutes = f" ({total_s / 60:,.0f} min); --duration shortens it"
        shorter = minutes if total_s > _LONG_S else ""
        console.print(
            f"{number} draws of {len(self._arms)} arms, {draws[0].window_s:.6g} s each, at "
            f"{fmt.rate(draws[0].offered_rps)}: at most {fmt.duration(total_s)} of replay{shorter}"
        )
        tell_windows(draws, console)
        label = METRICS[record.metric].label
        found = self._detectable(self._noise(draws[0]))
        if found is None:
            console.print(f"what these draws can detect in {label} is known after the first few")
        else:
            seen = record.outcome is not None and record.outcome.draws >= plan.looks[0]
            source = "as seen so far" if seen else "as is usual of bursty traces"
            console.print(f"{self._power_of(found)}, {source}")

    def _power_of(self, found: Detectable) -> str:
        return (
            f"smallest difference in {METRICS[self.record.metric].label} that {self._plan.draws} "
            f"draws find with {fmt.percent(found.power)} probability: {100.0 * found.lower:+.0f} % "
            f"or {100.0 * found.higher:+.0f} %, if pairs scatter by {found.noise:.2g} (standard "
            "deviation of the log ratio)"
        )

    def _watch(self, trial: Trial, console: Console) -> None:
        self._write("running")
        metric = METRICS[self.record.metric]
        seen = self.contest.told[trial]
        said = f"draw {trial.draw + 1}, {letter(trial.arm)}: {metric.label} "
        said += metric.show(seen.values[metric.name])
        if seen.saturated:
            said += ", saturated"
        done = len(self.contest.draws)
        outcome = self.record.outcome
        if done == trial.draw + 1 and done >= 2 and outcome is not None:
            said += "".join(
                f"; {letter(c.arm)} / {letter(outcome.control)} so far {_so_far(c.judged)}"
                for c in outcome.challengers
                if c.judged.ratio is not None
            )
        console.print(said)
        at_look = done == trial.draw + 1 and done in self._plan.looks[:-1]
        found = self._detectable(self._noise()) if at_look else None
        if found is not None and outcome is not None and not outcome.decided:
            console.print(f"undecided; {self._power_of(found)}, as seen so far")

    def _write(self, state: State) -> None:
        finished = self.contest.draws
        runs: dict[int, dict[str, Any]] = {}
        for trial, observation in self.contest.told.items():
            runs.setdefault(trial.draw, {})[trial.arm] = observation
        update: dict[str, Any] = {
            "state": state,
            "draws": tuple(
                draw_record(seen, {arm: Trial(draw, arm).folder for arm in seen})
                for draw, seen in sorted(runs.items())
            ),
        }
        if finished:
            outcome = self.contest.outcome()
            update["outcome"] = outcome
            update["sentences"] = tuple(sentences(outcome))
            update["standing"] = standing(outcome, interrupted=state == "interrupted").line
        self.record = self.record.model_copy(update=update)
        write_record(self.folder, self.record)


def _so_far(effect: MetricEffect) -> str:
    """A ratio, with its interval once there are enough draws for it to say something."""
    if effect.draws < _FEWEST_FOR_INTERVAL:
        return fmt.number(effect.ratio)
    return f"{fmt.number(effect.ratio)} ({fmt.number(effect.low)}-{fmt.number(effect.high)})"
