"""Memoryless arrivals."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from workloads.processes.base import check_draw
from workloads.processes.dispersion import check_window
from workloads.processes.streams import poisson_times
from workloads.trace import Times


@dataclass(frozen=True)
class Poisson:
    """Poisson process: many users who act independently of each other.

    Gaps are independent and exponential, P[gap > x] = exp(-r x), with r the mean rate in
    requests per second (> 0) and x >= 0 in seconds. CV = 1. It has no parameter.
    """

    kind: ClassVar[str] = "poisson"

    def arrivals(self, rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
        """Draw arrivals in [0, duration_s); see ArrivalProcess."""
        check_draw(rate_rps, duration_s)
        return poisson_times(rate_rps, duration_s, rng)

    def gap_cv(self, rate_rps: float) -> float:
        """1 at any rate."""
        check_draw(rate_rps, 1.0)
        return 1.0

    def count_dispersion(self, rate_rps: float, span_s: float) -> float:
        """IDC(t) = Var N(t) / E N(t): 1 at any rate, in windows of any length."""
        check_window(rate_rps, span_s)
        return 1.0
