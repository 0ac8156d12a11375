"""The time a tuning has, what it will be spent on, and how fast things go here."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from batching import BatchRecord, Clock, Model, Placement
from batching.errors import BatchingError, describe
from batching.execution.choose import make_executor
from batching.models.synthetic import SyntheticModel
from bench.errors import InputError, RunFailedError
from bench.profiling.measure import load_subject
from bench.profiling.service_times import ProfileSource, Source
from bench.settings import ModelSettings
from bench.tuning.search.engines import CUDAGRAPH, every_source
from bench.tuning.search.objectives import Statistic
from bench.tuning.search.space import typical_s
from results import format as fmt
from workloads import ResolvedTrace

# For so many trials the draws are made short enough, if that leaves them SHORTEST_S.
TRIALS_PLANNED = 30


MOST_DRAWS = 2


SHORTEST_S = 2.0


# Arrivals go on past a window by a tenth, and by a quarter of a second at the least.
TAIL = 1.15


@dataclass(frozen=True, slots=True)
class Plan:
    """How a search spends its time.

    Attributes:
        draws: how many each trial meets.
        window_s: their length.
    """

    draws: int
    window_s: float

    @classmethod
    def of(cls, budget_s: float, overhead_s: float, longest_s: float) -> "Plan":
        """Two draws a trial if the budget has room for enough such trials, else one.

        Args:
            budget_s: of the search.
            overhead_s: what a run takes beside its window.
            longest_s: no window is longer.
        """
        for draws in range(MOST_DRAWS, 0, -1):
            window_s = (budget_s / (TRIALS_PLANNED * draws) - overhead_s) / TAIL
            if window_s >= SHORTEST_S or draws == 1:
                break
        return cls(draws, min(longest_s, max(SHORTEST_S, window_s)))


MOST_RACE_DRAWS = 6


CONFIRM_DRAWS = (4, 10)


OVERHEAD_S = 2.5


FIRST_LOOK = 3


def runs_planned(arms: int) -> int:
    """Three draws of all arms, three more of three at most, and a confirmation of those."""
    late = min(arms, 3)
    return FIRST_LOOK * arms + (MOST_RACE_DRAWS - FIRST_LOOK) * late + CONFIRM_DRAWS[0] * late


def affordable_window_s(budget_s: float, arms: int, overhead_s: float = OVERHEAD_S) -> float:
    """How long the draws of a race may be, seconds.

    Args:
        budget_s: for race and confirmation.
        arms: how many race.
        overhead_s: what a run takes beside its window.

    Raises:
        InputError: the shortest draws would not fit.
    """
    most = runs_planned(arms)
    window_s = (budget_s / most - overhead_s) / TAIL
    if window_s < SHORTEST_S:
        least_s = most * (TAIL * SHORTEST_S + overhead_s)
        raise InputError(
            f"budget must leave {least_s:.0f} s to race {arms} settings and confirm the best, "
            f"but leaves {max(0.0, budget_s):.0f} s: give more, or --no-race"
        )
    return window_s


def shortfall(
    statistic: Statistic, draw: ResolvedTrace, arms: int, overhead_s: float = OVERHEAD_S
) -> str:
    """What it would take for draws that are too short for a statistic; empty if they are not.

    Args:
        statistic: that is judged.
        draw: one of them.
        arms: how many race.
        overhead_s: what a run takes beside its window.
    """
    if draw.requests >= statistic.fewest:
        return ""
    long_s = ceil(statistic.fewest / draw.offered_rps)
    race_s = runs_planned(arms) * (TAIL * long_s + overhead_s)
    return (
        f"too few requests per draw to judge {statistic}: {draw.requests}, needs "
        f"{statistic.fewest}, which takes a --duration of {long_s} and a --budget of "
        f"{ceil(race_s / 60.0)}m for the race alone"
    )


# The share of the time that the simulation may take, if the rest is to race.
SIMULATION_SHARE = 0.35
# The share that a search on the device takes before its best are raced.
SEARCH_SHARE = 0.45
_USUAL_SIZE = 32
# A batch of the usual size that takes longer makes everything else take longer.
SLOW_S = 0.1
_LONGEST_PROBE_S = 0.5
_QUICK_WARM_UP_S = 1.0


@dataclass
class Budget:
    """Time from when it is made.

    Attributes:
        total_s: in all.
        now: a clock of seconds.
    """

    total_s: float
    now: Callable[[], float] = time.monotonic
    _began_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._began_s = self.now()

    @property
    def left_s(self) -> float:
        """What is left, below 0 once it is overdrawn."""
        return self.total_s - (self.now() - self._began_s)

    def part(self, seconds: float) -> "Budget":
        """A part of it that begins now."""
        return Budget(min(seconds, self.left_s), self.now)

    @property
    def share_left(self) -> float:
        """What is left as a share of it all, 0 to 1."""
        return max(0.0, self.left_s / self.total_s) if self.total_s > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a model is here, by a first look.

    Attributes:
        model, device: as reports call them.
        load_s: loading it.
        batch_s: seconds by batch size: of 1, and of the largest that takes no longer than half a
            second, as far as 128, and that it takes.
    """

    model: str
    device: str
    load_s: float
    batch_s: dict[int, float]

    @property
    def slow(self) -> bool:
        """Whether a batch of 32 takes long, by what is known of smaller ones."""
        size = max(self.batch_s)
        return self.batch_s[size] * max(1.0, _USUAL_SIZE / size) > SLOW_S

    def __str__(self) -> str:
        times = [f"a batch of {size} takes {fmt.duration(s)}" for size, s in self.batch_s.items()]
        slow = "slow here, " if self.slow else ""
        return f"{self.model} on {self.device}: {slow}{', '.join(times)}"


def look_ahead(settings: ModelSettings, clock: Clock, largest: int) -> Pace | None:
    """Load the model and time a batch of 1 and a large one; None for one that states its times.

    Raises:
        ConfigError: there is no such model or device.
        RunFailedError: the model raised.
    """
    model, placement = load_subject(settings, clock)
    if isinstance(model, SyntheticModel):
        return None
    try:
        return _pace(model, placement, clock, largest)
    except BatchingError:
        raise
    except (Exception, SystemExit) as error:  # it may be the user's code
        raise RunFailedError(
            f"{model.name} raised when first looked at: {describe(error)}"
        ) from error


def _pace(model: Model, placement: Placement, clock: Clock, largest: int) -> Pace:
    executor = make_executor(model, placement, clock)
    executor.prepare()
    payload = model.make_input(np.random.default_rng(0))

    def timed(size: int) -> float:
        began_s = clock.now()
        executor.execute([payload] * size, BatchRecord(size=size))
        return clock.now() - began_s

    timed(1)
    times = {1: min(timed(1), timed(1))}
    size = 1
    while 2 * size <= largest and times[1] * 2 * size <= _LONGEST_PROBE_S:
        size *= 2
    while size > 1:
        try:
            timed(size)
            times[size] = timed(size)
        except Exception:  # noqa: BLE001 - it may take no such batch, and the profile says so
            size //= 2
        else:
            break
    device = placement.device if model.uses_torch else "the host"
    return Pace(model.name, device, executor.load_s, times)


def overhead_s(source: Source) -> float:
    """What a run takes beside its window: warming up, the last batches, writing it down.

    Every batcher captures its own CUDA graphs; of several engines, that of the slowest to start.
    """
    return OVERHEAD_S + 2.0 * _usual_s(source) + max(map(_capturing_s, every_source(source)))


def _capturing_s(source: Source) -> float:
    """What capturing took when the profile was measured; 0 for an engine that captures nothing."""
    if not isinstance(source, ProfileSource) or source.profile.subject.engine != CUDAGRAPH:
        return 0.0
    return source.profile.cold_start.engine_s or 0.0


def warm_up_s(source: Source) -> float | None:
    """Time for warming up before each run; None for the batcher's default.

    What is slow has been warmed up by its profile, and every size before every run would take
    longer than the runs.
    """
    return _QUICK_WARM_UP_S if _usual_s(source) > SLOW_S else None


def plan_of(
    budget_s: float, *, profile_s: float, simulate: bool, race: bool, begun: bool = False
) -> str:
    """How long it will take, and what for, in words; of a race that was begun, what is left."""
    if begun:
        return f"going on with the race: {fmt.duration(budget_s)} at most for what is left"
    parts = [f"profile {fmt.duration(profile_s)}"] if profile_s else []
    left_s = budget_s - profile_s
    if simulate:
        simulation_s = SIMULATION_SHARE * budget_s if race else left_s
        parts.append(f"simulation {fmt.duration(simulation_s)} at most")
    else:
        parts.append(f"search on the device {fmt.duration(SEARCH_SHARE * left_s)} at most")
    if race:
        parts.append("race and confirmation with the rest")
    return f"this takes {fmt.duration(budget_s)} at most (--budget): {', '.join(parts)}"


def _usual_s(source: Source) -> float:
    return typical_s(source, min(_USUAL_SIZE, source.max_batch_size))
