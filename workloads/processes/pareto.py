"""Independent gaps with a tail that falls as a power."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import StrictFloat

from workloads.checks import within
from workloads.errors import ProcessError
from workloads.processes.base import check_draw
from workloads.processes.streams import renewal_times
from workloads.trace import Times


@dataclass(frozen=True)
class Pareto:
    """Renewal process with Pareto gaps: most are short, a few are longer than all the others.

    Gaps are independent with P[gap > x] = (1 + x / s)^-a, x >= 0 in seconds, of tail index a and
    scale s = (a - 1) / r, with r the mean rate in requests per second (> 0): the Pareto
    distribution of the second kind, or Lomax distribution. CV^2 = a / (a - 2), above 1; for
    a <= 2 the gaps have a mean but no variance, and the CV of a draw grows with its length
    (Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions 1, 2nd edition, 1994,
    chapter 20). A large a approaches the Poisson process.

    The process is stationary from time 0: the first gap has the density P[gap > x] r (Cox,
    Renewal Theory, 1962, chapter 5), which is of the same form with tail index a - 1.

    Attributes:
        alpha: Tail index a, between 1.1 and 1000; at 2 and below the CV is infinite.
    """

    kind: ClassVar[str] = "pareto"

    alpha: StrictFloat

    def __post_init__(self) -> None:
        within("alpha", self.alpha, 1.1, 1000, ProcessError)

    def arrivals(self, rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
        """Draw arrivals in [0, duration_s); see ArrivalProcess."""
        check_draw(rate_rps, duration_s)
        scale = self.alpha - 1

        def gaps(count: int) -> Times:
            return rng.pareto(self.alpha, count) * scale

        first = rng.pareto(self.alpha - 1) * scale
        # Only how much is drawn at once depends on this number.
        cv = min(self.gap_cv(rate_rps), 10.0)
        return renewal_times(rate_rps, duration_s, gaps, cv, first)

    def gap_cv(self, rate_rps: float) -> float:
        """sqrt(a / (a - 2)) at any rate; inf for a <= 2."""
        check_draw(rate_rps, 1.0)
        return math.sqrt(self.alpha / (self.alpha - 2)) if self.alpha > 2 else math.inf
