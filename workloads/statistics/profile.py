"""The rate over time, whole and near the busiest moment."""

import math
from dataclasses import dataclass

import numpy as np

from workloads.statistics.counts import EDGE
from workloads.trace import Times, Trace

FINEST_BINS = 240
MEAN_PER_BIN = 2.0
ZOOM_REQUESTS = 400
LEAST_ZOOM = 4.0


@dataclass(frozen=True)
class RateProfile:
    """The rate in equal bins over a part of a trace.

    Attributes:
        edges_s: float64 `[M + 1]`, in seconds from the beginning of the trace.
        rate_rps: float64 `[M]`, arrivals in a bin / its width, requests per second.
    """

    edges_s: Times
    rate_rps: Times


def rate_profile(trace: Trace, start_s: float, stop_s: float, bins: int) -> RateProfile:
    """The rate in `bins` equal bins of [start_s, stop_s)."""
    edges_s = np.linspace(start_s, stop_s, bins + 1)
    places = np.searchsorted(trace.arrival_s, edges_s)
    if stop_s >= trace.duration_s:
        places[-1] = len(trace)  # the last arrival of a recording may be its end
    return RateProfile(edges_s, np.diff(places) / np.diff(edges_s))


def zooms(trace: Trace, most: int = 3) -> tuple[RateProfile, ...]:
    """The whole trace, then ever shorter parts of it, each around the busiest moment.

    The shortest part holds some 400 requests at the mean rate; those between divide the ratio
    evenly. A part of less than a quarter of it is not worth a profile of its own, so a small
    trace has fewer. Bins are as narrow as lets 2 requests be expected in each, 240 at most.
    """
    if not trace.rate_rps > 0:
        return ()
    whole_s = trace.duration_s
    ratio = len(trace) / ZOOM_REQUESTS
    steps = min(most - 1, int(math.log(ratio) / math.log(LEAST_ZOOM))) if ratio > 1 else 0
    found = []
    start_s, stop_s = 0.0, whole_s
    for step in range(steps + 1):
        length_s = whole_s / ratio ** (step / steps) if step else whole_s
        if step:
            start_s, stop_s = _busiest(trace, start_s, stop_s, length_s)
        bins = int(min(FINEST_BINS, max(10, trace.rate_rps * length_s / MEAN_PER_BIN)))
        found.append(rate_profile(trace, start_s, stop_s, bins))
    return tuple(found)


def _busiest(trace: Trace, start_s: float, stop_s: float, length_s: float) -> tuple[float, float]:
    """The part of that length, by steps of a tenth of it, with the most arrivals."""
    steps = max(1, int((stop_s - start_s - length_s) / length_s * 10 * EDGE))
    starts_s = start_s + np.arange(steps + 1) * (stop_s - start_s - length_s) / steps
    first, last = np.searchsorted(trace.arrival_s, (starts_s, starts_s + length_s))
    best = float(starts_s[int(np.argmax(last - first))])
    return best, best + length_s
