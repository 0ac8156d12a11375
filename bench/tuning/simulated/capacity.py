"""The highest load at which a limit is met, for many settings under the same arrivals.

`bench.simulation.capacity` brackets one setting from nothing. A search asks for hundreds, most of
them near each other, so here loads are the rungs of one ladder, in geometric steps from the trace's
own: arrivals are drawn once a rung, and each setting starts where the no-delay baseline stopped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log

from bench.simulation.capacity import STABLE
from bench.simulation.outcome import Outcome
from bench.simulation.setup import Setup
from bench.tuning.search.objectives import Limit
from results.statistics.ranks import nearest_rank
from workloads import ResolvedTrace

# Below this share of the trace's load nobody looks any further.
LOWEST = 0.01
_KEPT = 64


@dataclass
class Ladder:
    """Loads to try.

    Attributes:
        offered_rps: rung 0, the trace's load.
        draws: rate in requests per second -> arrivals; rung by rung from the same seeds, so that
            what differs between two rungs is the load.
        first_seed: of the service times of the first draw.
        step: ratio of one rung to the next.
        start: where to begin.
    """

    offered_rps: float
    draws: Callable[[float], Sequence[ResolvedTrace]]
    first_seed: int
    step: float = 1.01
    start: int = 0
    _drawn: dict[int, Sequence[ResolvedTrace]] = field(default_factory=dict, repr=False)

    def rate_rps(self, rung: int) -> float:
        """The load of a rung."""
        return float(self.offered_rps * self.step**rung)

    def highest(self, setup: Setup, limit_rps: float, limit: Limit) -> int | None:
        """The highest rung at which a limit is met, as bisection from `start` finds it.

        Latency need not grow with the load everywhere, so this is a boundary, from below. Far
        below `start` it is found less exactly, to a quarter of the distance: how bad a bad setting
        is need not be known.

        Args:
            setup: the batcher.
            limit_rps: what it serves with a queue that never empties.
            limit: what has to be met.

        Returns:
            None if the limit is missed at the lowest load too.
        """
        top = self.rung_of(STABLE * limit_rps)
        bottom = ceil(log(LOWEST) / log(self.step))
        if top < bottom:
            return None
        rung, stride = max(bottom, min(self.start, top)), 1
        if self._met(setup, rung, limit):
            low = rung
            while (rung := min(low + stride, top)) > low and self._met(setup, rung, limit):
                low, stride = rung, 2 * stride
            return low if rung == low else self._bisect(setup, limit, low, rung)
        high = rung
        while (rung := max(high - stride, bottom)) < high:
            if self._met(setup, rung, limit):
                return self._bisect(setup, limit, rung, high)
            high, stride = rung, 2 * stride
        return None

    def rung_of(self, rate_rps: float) -> int:
        """The highest rung that is no higher than a load."""
        return floor(log(rate_rps / self.offered_rps) / log(self.step) + 1e-9)

    def _bisect(self, setup: Setup, limit: Limit, low: int, high: int) -> int:
        while high - low > max(1, (self.start - high) // 4):
            middle = (low + high) // 2
            low, high = (middle, high) if self._met(setup, middle, limit) else (low, middle)
        return low

    def _met(self, setup: Setup, rung: int, limit: Limit) -> bool:
        """Whether the limit is met; no more draws are simulated than it takes to know."""
        draws = self._at(rung)
        share = limit.statistic.share
        requests = sum(draw.requests for draw in draws)
        # Nearest rank: a percentile is met while those that are late do not reach it.
        allowed = requests - nearest_rank(share or 1.0, requests)
        outcomes: list[Outcome] = []
        late = 0
        for number, draw in enumerate(draws):
            outcome = setup.outcome(draw, self.first_seed + number)
            outcomes.append(outcome)
            late += outcome.requests - outcome.within(limit.limit_s)
            if share is not None and late > allowed:
                return False
        return share is not None or limit.met(outcomes)

    def _at(self, rung: int) -> Sequence[ResolvedTrace]:
        if rung not in self._drawn:
            if len(self._drawn) >= _KEPT:
                self._drawn.pop(next(iter(self._drawn)))
            self._drawn[rung] = self.draws(self.rate_rps(rung))
        return self._drawn[rung]
