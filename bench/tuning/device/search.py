"""Searching on the device itself: every trial is a replay of the same draws of the arrivals.

The tuner proposes and learns as it does in simulation. Proposals are tried in blocks: under the
first draw in a random order, under the second in its reverse, so that a drift of the machine meets
them alike. A setting is given up in the middle of a run once it certainly misses the SLO or
certainly does worse than the best so far (`bench.tuning.device.early_stop`); what is told of it
then is the bound that made it certain, which is worse than the best and better than the truth.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp, inf, isfinite
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bench.live.arms import Arm
from bench.live.measure import RunStopper
from bench.settings import BatcherSettings, Settings
from bench.tuning.budget import TAIL
from bench.tuning.device.early_stop import (
    Ended,
    Known,
    Threshold,
    TrialStopper,
)
from bench.tuning.device.metric import DeviceMetric, measured_metrics
from bench.tuning.search.engines import with_setting
from bench.tuning.search.objectives import (
    ANSWERED,
    LOAD,
    SLO,
    DeviceTime,
    Energy,
    Goodput,
    Limit,
    Score,
    excess_of,
)
from bench.tuning.search.sampler import Finished, Proposal, Tuner
from bench.tuning.search.space import Space
from results import format as fmt
from results.comparison.observation import all_latencies
from results.run.record import Run
from results.tuning.metrics import Metrics
from workloads import ResolvedTrace

BLOCK = 4
_A_TRIFLE = 1e-3


class RunArm(Protocol):
    """Replays a setting and keeps the run in a folder."""

    def __call__(
        self, arm: Arm, arrivals: ResolvedTrace, folder: Path, ender: RunStopper | None = None, /
    ) -> Run:
        """Make one run, which the ender may end before its time."""
        ...


@dataclass
class _Trial:
    """A proposal while it is tried."""

    proposal: Proposal
    settings: BatcherSettings
    known: Known
    runs: list[Run] = field(default_factory=list)
    guard: TrialStopper | None = None

    @property
    def ended(self) -> Ended | None:
        return None if self.guard is None else self.guard.ended


@dataclass
class DeviceSearch:
    """A search on the device.

    Attributes:
        tuner: proposes and learns.
        space: of its proposals.
        device_metric: what is measured.
        draws: the arrivals that every trial meets.
        settings: of the runs, the batcher's knobs apart.
        runner: makes a run.
        folder: where the runs are kept.
        left_s: how much time the search has left.
        overhead_s: what a run is thought to take beside its window.
        watch: told of each trial.
        check: raises for settings that no batcher can be made with.
        seed: of the order.
        remarks: what has to be said.
    """

    tuner: Tuner
    space: Space
    device_metric: DeviceMetric
    draws: Sequence[ResolvedTrace]
    settings: Settings
    runner: RunArm
    folder: Path
    left_s: Callable[[], float]
    overhead_s: float
    watch: Callable[[str], None] = lambda _: None
    check: Callable[[BatcherSettings], Any] = lambda _: None
    seed: int = 0
    _run_s: list[float] = field(default_factory=list)

    def run(self) -> Sequence[Finished]:
        """Try settings until the tuner or the time is at its end; returns all trials.

        Raises:
            RunFailedError: the model raised.
        """
        while room := min(BLOCK, int(self.left_s() / (self._each_s * len(self.draws)))):
            block: list[_Trial] = []
            while len(block) < room and (proposal := self.tuner.ask()) is not None:
                settings = self.space.settings(proposal.knobs)
                self.check(settings)
                requests = sum(draw.requests for draw in self.draws)
                block.append(_Trial(proposal, settings, Known(requests=requests)))
            if not block:
                break
            self._try(block)
        return self.tuner.finished

    @property
    def _each_s(self) -> float:
        """About how long a run takes that is not ended early."""
        planned_s = TAIL * self.draws[0].window_s + self.overhead_s
        return max(planned_s, *self._run_s[-BLOCK:]) if self._run_s else planned_s

    def _try(self, block: list[_Trial]) -> None:
        """Every draw for every proposal that is still of use, then tell what came of them."""
        bar = self._bar()
        order = list(block)
        np.random.default_rng((self.seed, block[0].proposal.number)).shuffle(order)
        for number, draw in enumerate(self.draws):
            for trial in reversed(order) if number % 2 else order:
                if trial.ended is None:
                    self._play(trial, draw, number, bar)
        for trial in block:
            score = self._score(trial)
            self.tuner.tell(trial.proposal, score, self._metrics(trial))
            self.watch(_said(trial, score, self.device_metric))

    def _play(self, trial: _Trial, draw: ResolvedTrace, number: int, bar: Threshold) -> None:
        folder = self.folder / f"trial-{trial.proposal.number + 1:03d}" / f"draw-{number + 1:02d}"
        if folder.exists():
            shutil.rmtree(folder)  # of a run that was cut off
        guard = trial.guard = TrialStopper(draw, bar, trial.known)
        settings = with_setting(self.settings, trial.settings)
        began_s = time.monotonic()
        run = self.runner(Arm(folder.parent.name, settings), draw, folder, guard)
        self._run_s.append(time.monotonic() - began_s)
        trial.known = guard.known
        if guard.ended is None:
            trial.runs.append(run)
            trial.known = self._known(trial)

    def _known(self, trial: _Trial) -> Known:
        """What a setting is known to have done under the draws that are over."""
        latency_s = np.concatenate([all_latencies(run) for run in trial.runs])
        spent_s = [
            (run.metrics.device.busy_fraction or 0.0) * run.record.window_s for run in trial.runs
        ]
        return Known(latency_s, trial.known.requests, (trial.settings.replicas or 1) * sum(spent_s))

    def _bar(self) -> Threshold:
        """What a setting has to reach: the SLO, and the best so far."""
        device_metric, best = self.device_metric, self.tuner.best
        bar = Threshold(limit=device_metric.bound)
        if best is None or not isfinite(best.score.value):
            return bar
        objective, value = device_metric.objective, best.score.value
        if isinstance(objective, Energy):
            return bar  # its counter says nothing of a run before its end
        if isinstance(objective, DeviceTime):
            return Threshold(bar.limit, device_s=value)
        if isinstance(objective, Goodput):
            answers = int(value * sum(draw.window_s for draw in self.draws))
            return Threshold(goodput=(objective.limit, answers))
        return Threshold(bar.limit, latency=Limit(device_metric.judged, value))

    def _score(self, trial: _Trial) -> Score:
        """By the whole of its runs, or by the bound at which the last was ended."""
        if trial.ended is None:
            return self.device_metric.score(trial.runs)
        objective, known, limit = (
            self.device_metric.objective,
            trial.known,
            self.device_metric.bound,
        )
        if isinstance(objective, Goodput):
            late = int((known.latency_s > objective.limit.limit_s).sum())
            return Score((known.requests - late) / sum(d.window_s for d in self.draws), {})
        violations = {LOAD: 0.0, ANSWERED: 0.0}
        if trial.ended is Ended.SATURATED and trial.guard is not None:
            violations[LOAD] = max(_A_TRIFLE, excess_of(trial.guard.overload))
        if limit is not None:
            violations[SLO] = excess_of(known.least_s(limit.statistic) / limit.limit_s)
        value = inf
        if not isinstance(objective, DeviceTime):
            value = known.least_s(self.device_metric.judged)
        elif trial.ended is Ended.LOSES:
            value = known.busy_s / known.requests
        return Score(value, violations)

    def _metrics(self, trial: _Trial) -> Metrics:
        """As simulation keeps them; of a run that was ended nothing but why and when."""
        if trial.ended is None or trial.guard is None:
            return measured_metrics(trial.runs, self.device_metric.limit)
        return Metrics(ended=str(trial.ended), ended_at_s=trial.guard.window_s)


def _said(trial: _Trial, score: Score, device_metric: DeviceMetric) -> str:
    """A line for a person who waits."""
    knobs = ", ".join(f"{name} {value}" for name, value in trial.proposal.knobs.items())
    said = f"trial {trial.proposal.number + 1}, {knobs}: "
    guard = trial.guard
    if trial.ended is not None and guard is not None and guard.window_s is not None:
        return said + f"{trial.ended}, seen after {fmt.duration(guard.window_s)}"
    missed = "" if score.feasible else ", which is not enough"
    if not score.feasible and score.violations.get(SLO, 0.0) > 0.0:
        missed = f", {100 * (exp(score.violations[SLO]) - 1):.0f} % over the SLO"
    return f"{said}{device_metric.label} {device_metric.shown(score.value)}{missed}"
