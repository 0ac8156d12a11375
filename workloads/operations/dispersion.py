"""The index of dispersion for counts, as the operations need it."""

import math

import numpy as np
from numpy.typing import NDArray

from workloads.checks import positive
from workloads.errors import TraceError
from workloads.trace import Trace

FEWEST_INTERVALS = 30
"""With fewer intervals, a variance says little."""


def count_dispersion(trace: Trace, scale_s: float) -> float:
    """IDC(t) = Var N(t) / E N(t), with N(t) the number of arrivals in an interval of t seconds.

    Estimated over the disjoint intervals [i t, (i + 1) t) that fit into the trace, with the
    unbiased variance. 1 for a Poisson process at every scale, 0 towards regular arrivals, larger
    for bursty ones (Cox and Lewis, The Statistical Analysis of Series of Events, 1966, section
    4.6).

    Args:
        trace: The arrivals.
        scale_s: t in seconds, > 0.

    Returns:
        nan where fewer than 30 intervals fit, or all are empty.
    """
    positive("scale_s", scale_s, TraceError)
    intervals = math.floor(trace.duration_s / scale_s * (1 + 1e-9))
    if intervals < FEWEST_INTERVALS:
        return math.nan
    counts = interval_counts(trace, scale_s, intervals)
    mean = counts.mean()
    return float(counts.var(ddof=1) / mean) if mean > 0 else math.nan


def interval_counts(trace: Trace, scale_s: float, intervals: int) -> NDArray[np.int64]:
    """How many arrivals are in each of the first `intervals` intervals; int64 `[intervals]`."""
    edges_s = np.arange(intervals + 1) * scale_s
    return np.diff(np.searchsorted(trace.arrival_s, edges_s))
