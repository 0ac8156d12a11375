"""How long settings are looked at: few draws while searching, more and others when it counts."""

from dataclasses import dataclass

from bench.profiling.service_times import Source
from bench.tuning.search.objectives import CapacityWithin, Objective
from bench.tuning.simulated.simulator import Simulator, Traffic, draws_for
from workloads import DescribedTrace

# Processes of which any stretch is like any other, so that a search may look at a shorter one.
_STATIONARY = frozenset(
    ("poisson", "gamma", "weibull", "constant", "mmpp", "on_off", "pareto", "hawkes")
)
_SHORTEST_S = 5.0


@dataclass(frozen=True, slots=True)
class Effort:
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


USUAL = Effort()


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
    effort: Effort

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
