"""Evenly spaced arrivals."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from workloads.processes.base import check_draw
from workloads.processes.streams import below, check_count
from workloads.trace import Times


@dataclass(frozen=True)
class Constant:
    """Evenly spaced arrivals: arrival k comes at k / r, from k = 0.

    r is the mean rate in requests per second (> 0). A draw of T seconds has r T arrivals,
    rounded up. CV = 0. Nothing is random: every seed gives the same arrivals.
    """

    kind: ClassVar[str] = "constant"

    def arrivals(self, rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
        """The arrivals in [0, duration_s); see ArrivalProcess."""
        check_draw(rate_rps, duration_s)
        expected = rate_rps * duration_s
        check_count(expected)
        return below(np.arange(math.ceil(expected)) / rate_rps, duration_s)

    def gap_cv(self, rate_rps: float) -> float:
        """0 at any rate."""
        check_draw(rate_rps, 1.0)
        return 0.0

    def count_dispersion(self, rate_rps: float, span_s: Times) -> Times:
        """IDC(t) = f (1 - f) / (r t) for each length t of `span_s` `[K]`, seconds, > 0.

        f is the fractional part of r t: of adjoining windows, a share f has one arrival more.
        """
        check_draw(rate_rps, 1.0)
        expected = rate_rps * np.asarray(span_s, dtype=np.float64)
        more = expected - np.floor(expected)
        dispersion: Times = more * (1 - more) / expected
        return dispersion
