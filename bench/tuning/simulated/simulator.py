"""What the simulator says of settings: all of them under the same draws."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Any

from bench.profiling.service_times import ExactSource, Source
from bench.settings import BatcherSettings, ReplaySettings
from bench.simulation.capacity import STABLE
from bench.simulation.setup import Setup
from bench.simulation.sweep import refuses
from bench.traces.arrivals import tail_s
from bench.traces.source import replay_reading
from bench.tuning.search.engines import setup_of
from bench.tuning.search.objectives import CapacityWithin, Evidence, Limit, Objective
from bench.tuning.simulated.capacity import Ladder
from workloads import DescribedTrace, ListedTrace, ResolvedTrace, load, resolve_draws

LIMIT_DRAWS = 12


@dataclass(frozen=True)
class Traffic:
    """The arrivals that are tuned for: draws of one process or recording, at any load.

    Attributes:
        spec: what the trace file holds.
        replay: what is asked of it.
        rate_rps: its load, requests per second before the time scale.
        seed: all draws follow from it.
        contrast: the power that gaps are raised to; see `workloads.operations.burstiness`.
    """

    spec: DescribedTrace | ListedTrace
    replay: ReplaySettings
    rate_rps: float
    seed: int
    contrast: float = 1.0

    @classmethod
    def of(cls, replay: ReplaySettings, peak_rps: Callable[[], float]) -> "Traffic":
        """Read the trace and settle its load.

        Args:
            replay: trace, load and length.
            peak_rps: what the workers can serve together; asked only if the load is a share of it.

        Raises:
            WorkloadError: the trace cannot be played as asked.
        """
        spec = load(replay.trace, replay_reading(replay))
        own_seed = spec.seed if isinstance(spec, DescribedTrace) else 0
        traffic = cls(spec, replay, 1.0, own_seed if replay.seed is None else replay.seed)
        first = traffic._draws(range(1), replay.rate, replay.utilization, None, peak_rps)[0]
        return replace(traffic, rate_rps=first.rate_rps)

    def draws(
        self,
        first: int,
        count: int,
        *,
        window_s: float | None = None,
        rate_rps: float | None = None,
    ) -> list[ResolvedTrace]:
        """Draws number `first` to `first + count` of the asked length, or of another.

        Args:
            first: draws of other numbers are other arrivals, as far as there are enough.
            count: how many.
            window_s: their length, where it is not the one that was asked for.
            rate_rps: another load. A described process is drawn at it, its bursts as long as
                before; of a recording, of which only the arrivals are known, time is stretched.

        Raises:
            WorkloadError: the trace cannot be drawn at that load or length.
        """
        numbers = range(first, first + count)
        if rate_rps is None or isinstance(self.spec, DescribedTrace):
            drawn = self._draws(numbers, rate_rps or self.rate_rps, None, window_s)
            return [draw.contrasted(self.contrast) for draw in drawn]
        factor = self.rate_rps / rate_rps
        return [
            replace(
                draw,
                trace=draw.trace.scaled(factor),
                window_s=draw.window_s * factor,
                tail_s=draw.tail_s * factor,
                rate_rps=rate_rps,
            ).contrasted(self.contrast)
            for draw in self._draws(numbers, self.rate_rps, None, window_s)
        ]

    def _draws(
        self,
        numbers: range,
        rate_rps: float | None,
        utilization: float | None,
        window_s: float | None,
        peak_rps: Callable[[], float] | None = None,
    ) -> list[ResolvedTrace]:
        replay = self.replay
        length_s = replay.duration if window_s is None else window_s
        if length_s is None and isinstance(self.spec, DescribedTrace):
            length_s = self.spec.duration_s
        return resolve_draws(
            self.spec,
            len(numbers),
            rate_rps=rate_rps,
            utilization=utilization,
            time_scale=replay.time_scale,
            duration_s=length_s,
            tail_s=tail_s(length_s),
            seed=self.seed,
            peak_rps=peak_rps,
            match_load=replay.match_load,
            rate_by=replay.rate_by,
            loop=replay.loop,
            first=numbers.start,
        )

    def at(self, share: float) -> "Traffic":
        """The same at a share of the load."""
        if isinstance(self.spec, DescribedTrace):
            return replace(self, rate_rps=self.rate_rps * share)
        trace = self.spec.trace.scaled(1.0 / share)
        spec = replace(self.spec, trace=trace)
        # As many requests as before: at a higher load a recording is over sooner.
        length_s = self.replay.duration
        shorter = {"duration": None if length_s is None else length_s / share}
        replay = self.replay.model_copy(update=shorter)
        return replace(self, spec=spec, replay=replay, rate_rps=self.rate_rps * share)

    def describe(self) -> dict[str, Any]:
        """What identifies it, as JSON-able values."""
        return self.draws(0, 1)[0].describe()


@dataclass(frozen=True)
class Simulator:
    """Settings under common draws.

    The service times of draw i have seed i, so they too are common, as far as two settings form
    batches in the same order.

    Attributes:
        source: batch times.
        traffic: the arrivals.
        first, count: the draws that it takes of them.
        window_s: their length, where it is not the one that was asked for.
        overload: simulate settings too that cannot carry the load.
    """

    source: Source
    traffic: Traffic
    first: int
    count: int
    window_s: float | None = None
    overload: bool = False
    step: float = 1.01

    def evidence(self, settings: BatcherSettings) -> Evidence:
        """Simulate a setting at the trace's load.

        Raises:
            InputError, ConfigError: a knob out of its range.
        """
        setup = setup_of(settings, self.source)
        offered_rps = self.draws[0].offered_rps
        limit_rps = self._limit_rps(setup)
        able = self.overload or refuses(setup) or offered_rps <= STABLE * limit_rps
        outcomes = [
            setup.outcome(draw, self.first + i) for i, draw in enumerate(self.draws) if able
        ]
        return Evidence(
            offered_rps=offered_rps,
            limit_rps=limit_rps,
            outcomes=tuple(outcomes),
            window_s=self.draws[0].window_s,
            capacity_rps=lambda limit: self._capacity_rps(setup, limit_rps, limit),
        )

    @cached_property
    def draws(self) -> list[ResolvedTrace]:
        """The arrivals, drawn once."""
        return self.traffic.draws(self.first, self.count, window_s=self.window_s)

    def begin_at(self, settings: BatcherSettings, limit: Limit) -> None:
        """Let the search for each capacity begin where that of this setting ends."""
        setup = setup_of(settings, self.source)
        limit_rps = self._limit_rps(setup)
        self._ladder.start = self._ladder.rung_of(0.5 * limit_rps)
        self._ladder.start = self._ladder.highest(setup, limit_rps, limit) or 0

    def _limit_rps(self, setup: Setup) -> float:
        """What a setting serves with a queue that never empties, over several draws of batch times.

        One draw may fall into a slow phase of the machine and be nothing but that: the harmonic
        mean is that of all the time they take together.
        """
        if isinstance(setup.source, ExactSource):
            return setup.limit_rps()
        seeds = range(self.first, self.first + LIMIT_DRAWS)
        limits_rps = [setup.limit_rps(seed) for seed in seeds]
        return LIMIT_DRAWS / sum(1.0 / rps for rps in limits_rps) if all(limits_rps) else 0.0

    @cached_property
    def _ladder(self) -> Ladder:
        scale = self.traffic.replay.time_scale

        def at(rate_rps: float) -> list[ResolvedTrace]:
            return self.traffic.draws(
                self.first, self.count, window_s=self.window_s, rate_rps=rate_rps * scale
            )

        return Ladder(self.draws[0].offered_rps, at, self.first, self.step)

    def _capacity_rps(self, setup: Setup, limit_rps: float, limit: Limit) -> float:
        """The highest load at which a limit is met, requests per second; 0 if there is none."""
        rung = self._ladder.highest(setup, limit_rps, limit)
        return 0.0 if rung is None else self._ladder.rate_rps(rung)


def draws_for(requests: int, *, enough: int, fewest: int, most: int) -> int:
    """How many draws of so many requests make up enough of them."""
    return min(most, max(fewest, ceil(enough / max(1, requests))))


# Processes of which any stretch is like any other, so that a search may look at a shorter one.
_STATIONARY = frozenset(
    ("poisson", "gamma", "weibull", "constant", "mmpp", "on_off", "pareto", "hawkes")
)


_SHORTEST_S = 5.0


@dataclass(frozen=True, slots=True)
class SimulationBudget:
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


USUAL = SimulationBudget()


@dataclass(frozen=True)
class Lens:
    """What settings are looked at with.

    Attributes:
        source: batch times.
        traffic: arrivals.
        effort: how long to look.
    """

    source: Source
    traffic: Traffic
    effort: SimulationBudget

    def searching(self, objective: Objective) -> Simulator:
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

    def closely(self, objective: Objective) -> Simulator:
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
