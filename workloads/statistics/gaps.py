"""The times between arrivals."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.trace import Times, Trace

QUANTILES = {
    "p1": 0.01, "p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99,
    "p99_9": 0.999,
}  # fmt: skip


@dataclass(frozen=True)
class Gaps:
    """The N - 1 gaps between N arrivals, N >= 2.

    Attributes:
        mean_s: Mean, in seconds.
        cv: Standard deviation / mean; 1 for a Poisson process, 0 for even spacing. None with
            fewer than two gaps, or where all are 0.
        min_s: Shortest.
        quantiles_s: p1 to p99_9 by nearest rank, in seconds.
        max_s: Longest.
        simultaneous: Share of gaps that are exactly 0.
    """

    mean_s: float
    cv: float | None
    min_s: float
    quantiles_s: dict[str, float]
    max_s: float
    simultaneous: float


def gaps(trace: Trace) -> Gaps | None:
    """Describe the gaps of the trace; None with fewer than two, or where they are not known."""
    if not trace.has_gaps:
        return None
    sorted_s = np.diff(trace.arrival_s)
    mean_s = float(sorted_s.mean())
    sorted_s.sort()
    return Gaps(
        mean_s=mean_s,
        cv=None if math.isnan(trace.cv) else trace.cv,
        min_s=float(sorted_s[0]),
        quantiles_s=nearest_ranks(sorted_s),
        max_s=float(sorted_s[-1]),
        simultaneous=float(np.searchsorted(sorted_s, 0.0, side="right") / len(sorted_s)),
    )


def nearest_ranks(ordered: NDArray[np.float64] | NDArray[np.int32]) -> dict[str, float]:
    """The quantiles p1 to p99_9 of values in ascending order, at least one."""
    number = len(ordered)
    return {
        name: float(ordered[max(1, math.ceil(share * number)) - 1])
        for name, share in QUANTILES.items()
    }


def survival(trace: Trace, most: int = 400) -> tuple[Times, Times]:
    """Points of P[gap >= x]: x in seconds, ascending, and the share of gaps that long.

    Of more than `most` gaps, ranks are picked that lie evenly on a logarithmic axis from either
    end, so that both tails keep their shape.

    Returns:
        Two float64 arrays `[K]`, empty with fewer than two arrivals, or where gaps are not known.
    """
    sorted_s = np.diff(trace.arrival_s) if trace.has_gaps else np.empty(0)
    sorted_s.sort()
    number = len(sorted_s)
    ranks = np.arange(number)
    if number > most:
        ends = np.geomspace(1, number, most // 2)
        ranks = np.unique(np.concatenate((ends - 1, number - ends)).astype(np.int64))
    return sorted_s[ranks], 1 - ranks / max(number, 1)
