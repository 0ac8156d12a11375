"""A load that rises and falls as the day does."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import StrictFloat

from workloads.checks import within
from workloads.errors import ProcessError
from workloads.processes.base import LONGEST_PHASE_S, SHORTEST_PHASE_S
from workloads.processes.periodic import PeriodicPoisson, Profile

PIECES = 1024


@dataclass(frozen=True)
class Diurnal(PeriodicPoisson):
    """Sinusoid: Poisson arrivals whose rate rises and falls as the day does.

    At t seconds it is r (1 + a cos(2 pi (t - peak_at_s) / period_s)), with r the mean rate in
    requests per second (> 0) and a the amplitude. A day
    is 86,400 s; a bench of a minute gets a day in a minute with a period of 60 s.

    The wave is drawn as 1,024 straight lines a period, which differ from it by less than
    5e-6 r a.

    Attributes:
        period_s: Length of a day in seconds, 1e-6 to 1e6.
        amplitude: How far the rate goes above and below its mean / the mean, 0 (Poisson) to 1
            (silence at night).
        peak_at_s: When the rate is highest, in seconds from the start, 0 to period_s.
    """

    kind: ClassVar[str] = "diurnal"

    period_s: StrictFloat
    amplitude: StrictFloat
    peak_at_s: StrictFloat

    def __post_init__(self) -> None:
        within("period_s", self.period_s, SHORTEST_PHASE_S, LONGEST_PHASE_S, ProcessError)
        within("amplitude", self.amplitude, 0, 1, ProcessError)
        within("peak_at_s", self.peak_at_s, 0, self.period_s, ProcessError)

    def profile(self) -> Profile:
        """The wave, from time 0."""
        turns = np.arange(PIECES + 1) / PIECES - self.peak_at_s / self.period_s
        # Not below 0 by a rounding, where the night is silent.
        rates = np.maximum(0.0, 1 + self.amplitude * np.cos(2 * math.pi * turns))
        return Profile(np.full(PIECES, self.period_s / PIECES), rates[:-1], rates[1:])
