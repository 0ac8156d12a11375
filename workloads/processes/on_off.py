"""Bursts of fixed length."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import StrictFloat

from workloads.checks import within
from workloads.errors import ProcessError
from workloads.processes.base import LONGEST_PHASE_S, SHORTEST_PHASE_S, check_draw
from workloads.processes.dispersion import check_window
from workloads.processes.streams import check_cycles, modulated_times
from workloads.trace import Times


@dataclass(frozen=True)
class OnOff:
    """Square wave: Poisson for on_s seconds, silent for off_s, over and over.

    While on, the rate is r (on_s + off_s) / on_s, with r the mean rate in requests per second
    (> 0). A draw starts at a uniformly random point of the cycle.

    With L = r (on_s + off_s) the mean number of arrivals in a cycle and
    w = off_s / (on_s + off_s) the share of silence, the gaps have

        CV^2 = 1 + w^2 (L coth(L / 2) - 2).

    Derivation: counted in time spent on, a gap is exponential, E, of mean on_s / L; it also
    holds K silences. An arrival is uniform within its on phase, so with q = exp(-L)
    P[K >= k] = q^(k - 1) (1 - q) / L, and hence E[K] = 1 / L and
    Var K = coth(L / 2) / L - 1 / L^2. Given E, the mean of K is E / on_s, so
    Cov(E, K) = Var(E) / on_s = on_s / L^2. The gap is E + off_s K, of mean (on_s + off_s) / L.

    Attributes:
        on_s: Length of a burst in seconds, 1e-6 to 1e6.
        off_s: Length of the silence after it in seconds, 1e-6 to 1e6.
    """

    kind: ClassVar[str] = "on_off"

    on_s: StrictFloat
    off_s: StrictFloat

    def __post_init__(self) -> None:
        within("on_s", self.on_s, SHORTEST_PHASE_S, LONGEST_PHASE_S, ProcessError)
        within("off_s", self.off_s, SHORTEST_PHASE_S, LONGEST_PHASE_S, ProcessError)

    @property
    def cycle_s(self) -> float:
        """Length of one on phase and one off phase, in seconds."""
        return self.on_s + self.off_s

    def arrivals(self, rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
        """Draw arrivals in [0, duration_s); see ArrivalProcess."""
        check_draw(rate_rps, duration_s)
        check_cycles(self.cycle_s, duration_s)
        cycles = int(duration_s / self.cycle_s) + 3
        starts_s = np.arange(cycles) * self.cycle_s - rng.random() * self.cycle_s
        # The last edge is the start of a cycle: every on phase is followed by its silence.
        edges_s = np.column_stack((starts_s, starts_s + self.on_s)).ravel()[:-1]
        intensity = np.tile((self.cycle_s / self.on_s, 0.0), cycles)[: len(edges_s) - 1]
        return modulated_times(edges_s, intensity, rate_rps, duration_s, rng)

    def gap_cv(self, rate_rps: float) -> float:
        """By the formula above; sqrt(CV^2)."""
        check_draw(rate_rps, 1.0)
        per_cycle = rate_rps * self.cycle_s
        silence = self.off_s / self.cycle_s
        return math.sqrt(1 + silence**2 * (per_cycle / math.tanh(per_cycle / 2) - 2))

    def count_dispersion(self, rate_rps: float, span_s: float) -> float:
        """IDC(t) = Var N(t) / E N(t) in windows of t = span_s seconds.

        Over a window that begins anywhere in the cycle, N(t) is Poisson given the time S spent
        on, so IDC(t) = 1 + (r / t) (C / a)^2 Var S with C the cycle, a = on_s and z = off_s.
        Whole cycles add no variance: with u the rest of t after them,

            Var S = 2 int_0^u (u - w) R(w) dw - (u a / C)^2,
            R(w) = (max(0, a - w) + max(0, w - z)) / C,

        the share of instants that are on and still, or again, on w later. Of adjoining windows
        in one draw it is the mean over draws: where t and C have a common multiple that is
        short, the windows of one draw see a few phases of the cycle only.
        """
        check_window(rate_rps, span_s)
        rest = math.fmod(span_s, self.cycle_s)
        overlap = min(rest, self.on_s)
        still = overlap**2 * (max(rest, self.on_s) / 2 - overlap / 6)
        again = max(0.0, rest - self.off_s) ** 3 / 6
        share = self.on_s / self.cycle_s
        variance = 2 * (still + again) / self.cycle_s - (rest * share) ** 2
        return 1 + rate_rps / span_s / share**2 * max(0.0, variance)
