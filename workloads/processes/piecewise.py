"""A load in steps of any height."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field, StrictFloat

from workloads.checks import not_negative, within
from workloads.errors import ProcessError
from workloads.processes.base import LONGEST_PHASE_S, SHORTEST_PHASE_S
from workloads.processes.periodic import PeriodicPoisson, Profile

MOST_STEPS = 10_000
# fail_fast, so that a row of wrong entries is one complaint.
Row = Annotated[tuple[StrictFloat, ...], Field(fail_fast=True)]


@dataclass(frozen=True)
class Piecewise(PeriodicPoisson):
    """Steps: Poisson arrivals whose rate goes from level to level, then starts over.

    The rate in step i, lengths_s[i] seconds long, is r levels[i] / m, with r the mean rate in
    requests per second (> 0) and m the mean of the levels over time. Only the ratios of the
    levels matter, so they may be the hourly counts of a dashboard.

    Attributes:
        lengths_s: Length of each step in seconds, 1e-6 to 1e6; 10,000 steps at most.
        levels: Height of each step in any unit, >= 0, as many as there are lengths and not all 0.
    """

    kind: ClassVar[str] = "piecewise"

    lengths_s: Row
    levels: Row

    def __post_init__(self) -> None:
        within("the number of steps", len(self.lengths_s), 1, MOST_STEPS, ProcessError)
        if len(self.levels) != len(self.lengths_s):
            raise ProcessError(
                f"levels must be as many as lengths_s, {len(self.lengths_s)}, but got "
                f"{len(self.levels)}"
            )
        for i, length_s in enumerate(self.lengths_s):
            within(f"lengths_s[{i}]", length_s, SHORTEST_PHASE_S, LONGEST_PHASE_S, ProcessError)
        for i, level in enumerate(self.levels):
            not_negative(f"levels[{i}]", level, ProcessError)
        within("the highest of the levels", max(self.levels), 1e-100, 1e100, ProcessError)
        within("the sum of lengths_s", math.fsum(self.lengths_s), 0, LONGEST_PHASE_S, ProcessError)

    def profile(self) -> Profile:
        """The steps, from time 0."""
        return Profile(self.lengths_s, self.levels, self.levels)
