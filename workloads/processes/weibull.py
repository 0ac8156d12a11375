"""Independent gaps with a stretched tail."""

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
class Weibull:
    """Renewal process with Weibull gaps: heavier tails (shape < 1) or lighter (> 1) than Poisson.

    Gaps are independent with P[gap > x] = exp(-(x / s)^k), x >= 0 in seconds, of shape k and
    scale s = 1 / (r G(1 + 1 / k)), with G the gamma function and r the mean rate in requests per
    second (> 0). Hence CV^2 = G(1 + 2 / k) / G(1 + 1 / k)^2 - 1 (Johnson, Kotz and Balakrishnan,
    Continuous Univariate Distributions 1, 2nd edition, 1994, chapter 21). shape = 1 is the
    Poisson process. As with gamma gaps, roughness here has no length of its own.

    The process is stationary from time 0: the first gap is a uniform share of a gap drawn in
    proportion to its length (Cox, Renewal Theory, 1962, chapter 5), of which (x / s)^k is gamma
    of shape 1 + 1 / k.

    Attributes:
        shape: k, between 0.2 (CV 15.8) and 100 (CV 0.0127); 0.5 gives a CV of 2.24.
    """

    kind: ClassVar[str] = "weibull"

    shape: StrictFloat

    def __post_init__(self) -> None:
        within("shape", self.shape, 0.2, 100, ProcessError)

    def arrivals(self, rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
        """Draw arrivals in [0, duration_s); see ArrivalProcess."""
        check_draw(rate_rps, duration_s)
        inverse = 1 / self.shape
        scale = 1 / math.gamma(1 + inverse)

        def gaps(count: int) -> Times:
            return rng.weibull(self.shape, count) * scale

        first = rng.standard_gamma(1 + inverse) ** inverse * scale * rng.random()
        return renewal_times(rate_rps, duration_s, gaps, self.gap_cv(rate_rps), first)

    def gap_cv(self, rate_rps: float) -> float:
        """By the formula above, the same at any rate."""
        check_draw(rate_rps, 1.0)
        inverse = 1 / self.shape
        return math.sqrt(math.expm1(math.lgamma(1 + 2 * inverse) - 2 * math.lgamma(1 + inverse)))
