"""A load that grows or shrinks steadily."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import StrictFloat

from workloads.checks import within
from workloads.errors import ProcessError
from workloads.processes.base import LONGEST_PHASE_S, SHORTEST_PHASE_S
from workloads.processes.periodic import PeriodicPoisson, Profile


@dataclass(frozen=True)
class Ramp(PeriodicPoisson):
    """Straight line: Poisson arrivals whose rate grows or shrinks steadily, then starts over.

    At t < over_s it is r (f + (2 - 2 f) t / over_s), from f r to (2 - f) r, with r the mean rate
    in requests per second (> 0) and f the start factor. A draw of over_s seconds is one ramp; the
    rate at which latency turns up is the one that the system can take.

    Attributes:
        start_factor: Rate at the start / mean rate, 0 (from silence up to twice the mean)
            through 1 (Poisson) to 2 (from twice the mean down to silence).
        over_s: Length of the ramp in seconds, 1e-6 to 1e6.
    """

    kind: ClassVar[str] = "ramp"

    start_factor: StrictFloat
    over_s: StrictFloat

    def __post_init__(self) -> None:
        within("start_factor", self.start_factor, 0, 2, ProcessError)
        within("over_s", self.over_s, SHORTEST_PHASE_S, LONGEST_PHASE_S, ProcessError)

    def profile(self) -> Profile:
        """The ramp, from time 0."""
        return Profile([self.over_s], [self.start_factor], [2 - self.start_factor])
