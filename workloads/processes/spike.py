"""A flash crowd."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import StrictFloat

from workloads.checks import within
from workloads.errors import ProcessError
from workloads.processes.base import LONGEST_PHASE_S, SHORTEST_PHASE_S
from workloads.processes.periodic import PeriodicPoisson, Profile


@dataclass(frozen=True)
class Spike(PeriodicPoisson):
    """Flash crowd: Poisson arrivals at a base rate, and once a period at many times that.

    From at_s on the rate rises in a straight line for rise_s seconds to spike_factor x the base
    rate, stays there for hold_s and falls back for fall_s: the three phases of a flash crowd
    (Ari, Hong, Miller, Brandt and Long, Managing Flash Crowds on the Internet, MASCOTS 2003).

    With r the mean rate in requests per second (> 0), F the spike factor and
    a = (rise_s / 2 + hold_s + fall_s / 2) / every_s, the base rate is r / (1 + (F - 1) a), so
    that the mean over every_s seconds is r.

    Attributes:
        spike_factor: Rate at the top / base rate, 1 (Poisson) to 1e6.
        at_s: When the rise begins, in seconds from the start of the period, >= 0.
        rise_s: Length of the rise in seconds, >= 0; 0 is a jump.
        hold_s: How long the rate stays at the top in seconds, >= 0.
        fall_s: Length of the fall in seconds, >= 0; 0 is a jump.
        every_s: Length of the period in seconds, 1e-6 to 1e6; all of the spike must fit into it.
    """

    kind: ClassVar[str] = "spike"

    spike_factor: StrictFloat
    at_s: StrictFloat
    rise_s: StrictFloat
    hold_s: StrictFloat
    fall_s: StrictFloat
    every_s: StrictFloat

    def __post_init__(self) -> None:
        within("spike_factor", self.spike_factor, 1, 1e6, ProcessError)
        within("every_s", self.every_s, SHORTEST_PHASE_S, LONGEST_PHASE_S, ProcessError)
        for name in ("at_s", "rise_s", "hold_s", "fall_s"):
            within(name, getattr(self, name), 0, self.every_s, ProcessError)
        # Lengths that were meant to fill the period may exceed it by a rounding.
        if not self._end_s <= self.every_s * (1 + 1e-9):
            raise ProcessError(
                f"at_s + rise_s + hold_s + fall_s must be at most every_s, {self.every_s:.12g}, "
                f"but got {self._end_s:.12g}"
            )

    @property
    def _end_s(self) -> float:
        return self.at_s + self.rise_s + self.hold_s + self.fall_s

    def profile(self) -> Profile:
        """The base rate, the spike and the base rate again."""
        top = self.spike_factor
        rest_s = max(0.0, self.every_s - self._end_s)
        return Profile(
            [self.at_s, self.rise_s, self.hold_s, self.fall_s, rest_s],
            [1.0, 1.0, top, top, 1.0],
            [1.0, top, top, 1.0, 1.0],
        )
