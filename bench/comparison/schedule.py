"""Which arm runs next, and when it is decided: ask, run, tell.

A contest runs nothing itself. What does may replay against the real batcher, simulate, or anything
else that gives a `Run`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench.errors import BenchError
from results.comparison.observation import Observation, observe
from results.comparison.outcome import Draw, Judge, Outcome
from results.run.record import Run
from workloads import ResolvedTrace

ArmT = TypeVar("ArmT")
RunArm = Callable[[ArmT, ResolvedTrace, Path], Run]
"""Runs an arm under arrivals; a run that is kept on disk is kept in the folder."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run to be made: this arm in this draw, counted from 0."""

    draw: int
    arm: str

    @property
    def folder(self) -> str:
        """Where it is kept within the comparison's folder: draw-03/a."""
        return f"draw-{self.draw + 1:02d}/{self.arm}"


class RunSchedule:
    """The course of one comparison.

    Two arms alternate as A B, B A, A B, ...; more run in a random order per draw and then in its
    reverse: a drift of the machine that is linear over two draws meets all arms alike.

    Args:
        judge: Knows the arms and when to stop.
        seed: Of the random orders.
    """

    def __init__(self, judge: Judge, *, seed: int = 0) -> None:
        self._judge = judge
        self._seed = seed
        self._told: dict[Trial, Observation] = {}

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms' names, the control first."""
        return self._judge.arms

    def order(self, draw: int) -> tuple[str, ...]:
        """In which order the arms run in a draw."""
        arms = list(self.arms)
        if len(arms) > 2:
            np.random.default_rng((self._seed, draw // 2)).shuffle(arms)
        return tuple(reversed(arms) if draw % 2 else arms)

    def ask(self) -> Trial | None:
        """Return the next run to be made; None once it is decided or all draws are done."""
        for draw in range(self._judge.plan.draws):
            for arm in self.order(draw):
                if Trial(draw, arm) not in self._told:
                    return Trial(draw, arm)
            if self._is_over(draw + 1):
                return None
        return None

    def tell(self, trial: Trial, observation: Observation) -> None:
        """Take the result of a run.

        Raises:
            BenchError: Its arrivals are not those that another arm had in this draw.
        """
        for arm in self.arms:
            other = self._told.get(Trial(trial.draw, arm))
            if other is not None and other.sha256 != observation.sha256:
                raise BenchError(
                    f"draw {trial.draw + 1} must have the same arrivals for all arms, but "
                    f"{arm} had {other.sha256} and {trial.arm} {observation.sha256}"
                )
        self._told[trial] = observation

    @property
    def draws(self) -> list[Draw]:
        """The finished draws, in order."""
        finished: list[Draw] = []
        for draw in range(self._judge.plan.draws):
            seen = {arm: self._told.get(Trial(draw, arm)) for arm in self.arms}
            complete = {arm: run for arm, run in seen.items() if run is not None}
            if len(complete) < len(seen):
                break
            finished.append(complete)
        return finished

    @property
    def told(self) -> Mapping[Trial, Observation]:
        """Every run there is, of unfinished draws too."""
        return self._told

    def outcome(self) -> Outcome:
        """Return what the finished draws say."""
        return self._judge.outcome(self.draws)

    def _is_over(self, draws: int) -> bool:
        finished = self.draws[:draws]
        if len(finished) < draws or draws < 2 or self._judge.plan.exact:
            return False
        return self._judge.outcome(finished).decided


def compare_arms(
    contest: RunSchedule,
    arms: Mapping[str, ArmT],
    draws: Sequence[ResolvedTrace],
    run_arm: RunArm[ArmT],
    *,
    folder: Path,
    watch: Callable[[Trial], None] = lambda _: None,
) -> Outcome:
    """Run a contest to its end and return its outcome.

    What it was told stays in it, so whatever ends this early loses nothing, and calling it again
    goes on.

    Args:
        contest: Perhaps told of some runs already.
        arms: By name, what `run_arm` is to run.
        draws: Arrivals, one for each draw of the plan.
        run_arm: Makes one run.
        folder: Of the comparison; each run has a folder of its own in it.
        watch: Called after each run.

    Raises:
        BenchError: A run did not have the arrivals it was given.
    """
    while (trial := contest.ask()) is not None:
        arrivals = draws[trial.draw]
        observation = observe(run_arm(arms[trial.arm], arrivals, folder / trial.folder))
        if observation.sha256 != arrivals.trace.fingerprint():
            raise BenchError(
                f"{trial.folder} must have the arrivals {arrivals.trace.fingerprint()}, "
                f"but has {observation.sha256}"
            )
        contest.tell(trial, observation)
        watch(trial)
    return contest.outcome()
