"""Bursts of random length."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import StrictFloat

from workloads.checks import within
from workloads.errors import ProcessError
from workloads.processes.base import LONGEST_PHASE_S, SHORTEST_PHASE_S, check_draw
from workloads.processes.dispersion import check_window, markov_dispersion
from workloads.processes.streams import check_cycles, modulated_times, sums_reaching
from workloads.trace import Times


@dataclass(frozen=True)
class Mmpp:
    """Markov-modulated Poisson process of two states: a burst, then a calm, over and over.

    Each state lasts an exponential time. Within one, arrivals are Poisson at b r in a burst and
    at c r in a calm, with r the mean rate in requests per second (> 0), b the burst factor, and
    c = (1 - p b) / (1 - p), where p = burst_s / (burst_s + calm_s) is the share of time spent in
    bursts; so the mean over time is r. A draw starts in a burst with probability p.

    With l1, l2 the rates in the states and s1 = 1 / burst_s, s2 = 1 / calm_s the rates of leaving
    them, the gaps have

        CV^2 = 1 + 2 (l1 - l2)^2 s1 s2 / ((s1 + s2)^2 (l1 l2 + l1 s2 + l2 s1))

    (Fischer and Meier-Hellstern, The Markov-modulated Poisson process (MMPP) cookbook,
    Performance Evaluation 18, 1993). Written with the relative rates b and c, whose mean is 1,
    it is CV^2 = 1 + 2 r v / (r b c + s1 + s2), with v = p (1 - p) (b - c)^2. It grows with r:
    the heavier the load, the more requests share a burst.

    Attributes:
        burst_factor: Rate in a burst / mean rate, from 1 (Poisson) to 1 / p (a silent calm).
        burst_s: Mean length of a burst in seconds, 1e-6 to 1e6.
        calm_s: Mean length of a calm in seconds, 1e-6 to 1e6.
    """

    kind: ClassVar[str] = "mmpp"

    burst_factor: StrictFloat
    burst_s: StrictFloat
    calm_s: StrictFloat

    def __post_init__(self) -> None:
        within("burst_s", self.burst_s, SHORTEST_PHASE_S, LONGEST_PHASE_S, ProcessError)
        within("calm_s", self.calm_s, SHORTEST_PHASE_S, LONGEST_PHASE_S, ProcessError)
        most = 1 / self.burst_share
        # 1 / p is rarely a round number; whoever writes it out gets it, not a rounding error.
        if not 1 <= self.burst_factor <= most * (1 + 1e-9):
            raise ProcessError(
                f"burst_factor must be between 1 and {most:.12g}, beyond which the calm would need "
                f"a rate below 0, but got {self.burst_factor:.12g}"
            )

    @property
    def burst_share(self) -> float:
        """Share of the time spent in bursts, p."""
        return self.burst_s / (self.burst_s + self.calm_s)

    @property
    def calm_factor(self) -> float:
        """Rate in a calm / mean rate, c; from 0 to 1."""
        share = self.burst_share
        return max(0.0, (1 - share * self.burst_factor) / (1 - share))

    @property
    def intensity_variance(self) -> float:
        """Variance over time of the rate / mean rate, v."""
        share = self.burst_share
        return share * (1 - share) * (self.burst_factor - self.calm_factor) ** 2

    def arrivals(self, rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
        """Draw arrivals in [0, duration_s); see ArrivalProcess.

        Phases and arrivals come from two children of `rng`: seeds alike give the same bursts at
        every rate, and a longer draw begins like a shorter one.
        """
        check_draw(rate_rps, duration_s)
        phase_rng, arrival_rng = rng.spawn(2)
        edges_s, intensity = self._phases(duration_s, phase_rng)
        return modulated_times(edges_s, intensity, rate_rps, duration_s, arrival_rng)

    def gap_cv(self, rate_rps: float) -> float:
        """By the formula above; sqrt(CV^2)."""
        check_draw(rate_rps, 1.0)
        b, c = self.burst_factor, self.calm_factor
        spread = self.intensity_variance
        leaving = 1 / self.burst_s + 1 / self.calm_s
        return math.sqrt(1 + 2 * rate_rps * spread / (rate_rps * b * c + leaving))

    def count_dispersion(self, rate_rps: float, span_s: float) -> float:
        """IDC(t) = Var N(t) / E N(t) in windows of t = span_s seconds.

        With q = s1 + s2 and the variance v of the relative rate, as above,

            IDC(t) = 1 + (2 r v / q) (1 - (1 - exp(-q t)) / (q t))

        (Heffes and Lucantoni, A Markov modulated characterization of packetized voice and data
        traffic, IEEE JSAC 4, 1986; cookbook, section 3). It rises from 1 to 1 + 2 r v / q.
        """
        check_window(rate_rps, span_s)
        leaving = 1 / self.burst_s + 1 / self.calm_s
        return markov_dispersion(rate_rps, self.intensity_variance, leaving, span_s)

    def _phases(self, duration_s: float, rng: np.random.Generator) -> tuple[Times, Times]:
        """Edges `[M + 1]` from 0 past duration_s, and the relative rate `[M]` between them."""
        cycle_s = self.burst_s + self.calm_s
        check_cycles(cycle_s, duration_s)
        means_s = np.array([self.burst_s, self.calm_s])
        factors = np.array([self.burst_factor, self.calm_factor])
        if rng.random() >= self.burst_share:
            means_s, factors = means_s[::-1], factors[::-1]

        def phases_s(cycles: int) -> Times:
            pairs_s: Times = rng.standard_exponential((cycles, 2)) * means_s
            return pairs_s.ravel()

        cycles = duration_s / cycle_s
        # An exponential phase can be cut off, never shortened: what is left of one at time 0 is
        # distributed like a whole one, so the first needs no treatment of its own.
        ends_s = sums_reaching(duration_s, phases_s, int(cycles + 6 * math.sqrt(cycles)) + 16)
        return np.concatenate(([0.0], ends_s)), np.tile(factors, len(ends_s) // 2)
