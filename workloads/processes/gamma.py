"""Independent gaps of any variability."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import StrictFloat

from workloads.checks import within
from workloads.errors import ProcessError
from workloads.processes.base import check_draw
from workloads.processes.dispersion import Complex, check_window, renewal_dispersion
from workloads.processes.streams import renewal_times
from workloads.trace import Times


@dataclass(frozen=True)
class Gamma:
    """Renewal process with gamma gaps: smoother (cv < 1) or rougher (cv > 1) than Poisson.

    Gaps are independent with density proportional to x^(a - 1) exp(-a r x), x >= 0 in seconds,
    of shape a = 1 / cv^2 and mean 1 / r, with r the mean rate in requests per second (> 0).
    cv = 1 is the Poisson process. Roughness here has no length of its own: gaps forget each
    other, and at twice the rate the same picture is half as long. For bursts that last, use mmpp.

    The process is stationary from time 0: the first gap is the rest of a gap already begun,
    which is a uniform share of a gap drawn in proportion to its length, here gamma of shape
    a + 1 (Cox, Renewal Theory, 1962, chapter 5).

    Attributes:
        cv: Coefficient of variation of the gaps, between 0.01 and 100.
    """

    kind: ClassVar[str] = "gamma"

    cv: StrictFloat

    def __post_init__(self) -> None:
        within("cv", self.cv, 0.01, 100, ProcessError)

    def arrivals(self, rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
        """Draw arrivals in [0, duration_s); see ArrivalProcess."""
        check_draw(rate_rps, duration_s)
        scale = self.cv**2
        shape = 1 / scale

        def gaps(count: int) -> Times:
            return rng.standard_gamma(shape, count) * scale

        first = rng.standard_gamma(shape + 1) * scale * rng.random()
        return renewal_times(rate_rps, duration_s, gaps, self.cv, first)

    def gap_cv(self, rate_rps: float) -> float:
        """`cv` at any rate."""
        check_draw(rate_rps, 1.0)
        return self.cv

    def count_dispersion(self, rate_rps: float, span_s: float) -> float:
        """IDC(t) = Var N(t) / E N(t) in windows of t = span_s seconds.

        Between 1, for windows far shorter than a gap, and cv^2, for long ones; by numeric
        inversion of its Laplace transform, see `renewal_dispersion`.
        """
        check_window(rate_rps, span_s)
        shape = 1 / self.cv**2

        def log_transform(s: Complex) -> Complex:
            logs: Complex = np.log1p(s / shape)
            return logs * -shape

        return renewal_dispersion(log_transform, rate_rps * span_s, self.cv)
