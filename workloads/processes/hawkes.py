"""Requests that bring further requests."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import StrictFloat

from workloads.checks import within
from workloads.errors import ProcessError
from workloads.processes.base import LONGEST_PHASE_S, SHORTEST_PHASE_S, check_draw
from workloads.processes.dispersion import check_window
from workloads.processes.streams import below, check_count
from workloads.trace import MOST_ARRIVALS, Times

# Requests expected in the first block of a draw and in the longest; each is twice the one before.
FIRST_BLOCK, LONGEST_BLOCK = 128, 1 << 17
# How many arrivals a draw may lack, on average, because their clusters began too long before it.
MISSED = 1e-6
# Points of the gap formula's integral.
GRID = 4000


@dataclass(frozen=True)
class Hawkes:
    """Self-exciting process: each request makes further ones more likely for a while.

    Every request adds (n / d) exp(-x / d) to the rate x seconds after it, with n the branching
    ratio and d = decay_s: so it brings n others on average, d seconds later on average, and those
    theirs. On top come requests that nothing brought, Poisson at m = r (1 - n), with r the mean
    rate in requests per second (> 0). At twice the load there are twice as many bursts, each as
    long and as large as before; a burst has 1 / (1 - n) requests on average.

    A draw follows this very picture: requests that nothing brought, and the generations after
    them (Hawkes and Oakes, A cluster process representation of a self-exciting process, J. Appl.
    Prob. 11, 1974). It is stationary: clusters that began before time 0 are drawn as far back as
    needed for fewer than 1e-6 arrivals to be missing on average.

    Counts in a window of t seconds have, with g = (1 - n) / d,

        variance / mean = 1 + n (2 - n) / (1 - n)^2 (1 - (1 - exp(-g t)) / (g t))

    (integral of the covariance density in Hawkes, Spectra of some self-exciting and mutually
    exciting point processes, Biometrika 58, 1971); 1 / (1 - n)^2 over a long time.

    Gaps have CV^2 = 2 r W - 1, with W the mean time from a random moment to the next arrival. The
    rate above m at that moment, y, is Markov: it falls as exp(-x / d) and jumps by n / d. From
    its generator, E[exp(-d y w)] = exp(-m d I(w)) for 0 <= w <= 1, where

        I(w) = integral over z from 0 to w of (1 - exp(-n z)) / (z - 1 + exp(-n z)),

    and no arrival comes within x seconds with probability exp(-m x - d y w), w = 1 - exp(-x / d):
    W is the integral over x of exp(-m x - m d I(1 - exp(-x / d))).

    Attributes:
        branching: Requests that one request brings on average, n, 0 (Poisson) to 0.99.
        decay_s: Mean time until they come, d, in seconds, 1e-6 to 1e6.
    """

    kind: ClassVar[str] = "hawkes"

    branching: StrictFloat
    decay_s: StrictFloat

    def __post_init__(self) -> None:
        within("branching", self.branching, 0, 0.99, ProcessError)
        within("decay_s", self.decay_s, SHORTEST_PHASE_S, LONGEST_PHASE_S, ProcessError)

    def arrivals(self, rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
        """Draw arrivals in [0, duration_s); see ArrivalProcess.

        Clusters are drawn by blocks of the time in which they begin, before time 0 and after it.
        Each block has a child of `rng` to itself, and where blocks end does not depend on the
        duration: so a longer draw begins like a shorter one.
        """
        check_draw(rate_rps, duration_s)
        check_count(rate_rps * duration_s)
        lead_s = self._lead_s(rate_rps)
        if rate_rps * (lead_s + duration_s) > MOST_ARRIVALS:
            raise ProcessError(
                f"decay_s / (1 - branching) must be so short that a draw and the past it depends "
                f"on have {MOST_ARRIVALS:.0e} arrivals or fewer, but got "
                f"{rate_rps * (lead_s + duration_s):.3g} of them over {lead_s + duration_s:.3g} s"
            )
        past_rng, rng = rng.spawn(2)
        parts = [
            self._clusters(rate_rps, -start_s - length_s, length_s, past_rng.spawn(1)[0])
            for start_s, length_s in _blocks(rate_rps, lead_s)
        ] + [
            self._clusters(rate_rps, start_s, length_s, rng.spawn(1)[0])
            for start_s, length_s in _blocks(rate_rps, duration_s)
        ]
        times_s = np.concatenate([part[(part >= 0) & (part < duration_s)] for part in parts])
        times_s.sort()
        return below(times_s, duration_s)

    def gap_cv(self, rate_rps: float) -> float:
        """By the formula above, to a relative error below 1e-4."""
        check_draw(rate_rps, 1.0)
        n = self.branching
        arising = rate_rps * (1 - n) * self.decay_s
        # In units of decay_s, from far below the shortest gap to where exp(-arising x) is 0.
        x = np.geomspace(1e-6 * min(1.0, (1 - n) / arising), 50 / arising, GRID)
        w = -np.expm1(-x)
        brought = -np.expm1(-n * w)
        slope = brought / (w - brought)
        steps = np.diff(w) * (slope[1:] + slope[:-1]) / 2
        exponent = arising * (x + slope[0] * w[0] + np.concatenate(([0.0], np.cumsum(steps))))
        x, exponent = np.concatenate(([0.0], x)), np.concatenate(([0.0], exponent))
        falls = np.diff(exponent)
        wait = np.diff(x) * np.exp(-exponent[:-1]) * -np.expm1(-falls) / falls
        return math.sqrt(2 * rate_rps * self.decay_s * float(wait.sum()) - 1)

    def count_dispersion(self, rate_rps: float, span_s: float) -> float:
        """Variance / mean of the count in span_s seconds, by the formula; the same at any rate."""
        check_window(rate_rps, span_s)
        n = self.branching
        x = (1 - n) / self.decay_s * span_s
        return 1 + n * (2 - n) / (1 - n) ** 2 * (1 + math.expm1(-x) / x)

    def _lead_s(self, rate_rps: float) -> float:
        """How long before time 0 the first clusters must begin.

        Those that begin before -x have (r n / g) exp(-g x) arrivals after time 0 on average.
        """
        fading = (1 - self.branching) / self.decay_s
        left_out = rate_rps * self.branching / fading
        return math.log(left_out / MISSED) / fading if left_out > MISSED else 0.0

    def _clusters(
        self, rate_rps: float, start_s: float, length_s: float, rng: np.random.Generator
    ) -> Times:
        """All arrivals, in no order, of the clusters that begin within length_s of start_s."""
        begun = rng.poisson(rate_rps * (1 - self.branching) * length_s)
        generation = start_s + length_s * rng.random(begun)
        generations = [generation]
        while len(generation):
            generation = np.repeat(generation, rng.poisson(self.branching, len(generation)))
            generation += rng.standard_exponential(len(generation)) * self.decay_s
            generations.append(generation)
        return np.concatenate(generations)


def _blocks(rate_rps: float, span_s: float) -> Iterator[tuple[float, float]]:
    """Start and length in seconds of the blocks that cover span_s, ever longer ones."""
    start_s, requests = 0.0, FIRST_BLOCK
    while start_s < span_s:
        length_s = requests / rate_rps
        yield start_s, length_s
        start_s += length_s
        requests = min(2 * requests, LONGEST_BLOCK)
