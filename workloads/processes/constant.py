"""Evenly spaced arrivals."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from workloads.processes.base import check_draw
from workloads.processes.dispersion import check_window
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

    def count_dispersion(self, rate_rps: float, span_s: float) -> float:
        """IDC(t) = f (1 - f) / (r t) in windows of t = span_s seconds.

        f is the fractional part of r t: of adjoining windows, a share f has one arrival more.
        """
        check_window(rate_rps, span_s)
        expected = rate_rps * span_s
        more = expected - math.floor(expected)
        return more * (1 - more) / expected
