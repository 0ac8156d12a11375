"""Windows of a trace, picked by a stated rule rather than by eye.

The candidates are the windows of the asked length that start at 0 and every quarter of that
length after it, as many as fit. They are ranked by their number of arrivals. With M candidates,
the percentile q is the number at rank ceil(q M / 100), at least 1 (nearest rank):

busy        the 95th percentile. The maximum would be the recording's one most extreme moment.
quiet       the 5th percentile.
typical     the candidate nearest to the median of both the number of arrivals and their
            dispersion within the window (variance / mean of the counts in its 20 twentieths):
            sqrt((a - 1/2)^2 + (b - 1/2)^2) is smallest, with a and b the candidate's mid-ranks
            in the two, from 0 to 1.
random      any candidate, each with the same probability.

Candidates that a rule cannot tell apart are chosen between by the seed.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.checks import positive, within
from workloads.errors import TraceError
from workloads.trace import SAME, Times, Trace, check_seed, check_size

PICKS = ("busy", "quiet", "typical", "random")
PERCENTILES = {"busy": 95.0, "quiet": 5.0}

# A window starts every fifth twentieth: a quarter of its length.
_PARTS, _STRIDE = 20, 5


@dataclass(frozen=True)
class WindowRule:
    """Which window is wanted.

    Attributes:
        length_s: Its length in seconds.
        pick: One of PICKS.
        percentile: Of the number of arrivals, 0 to 100, instead of `pick`'s; or None.
        seed: Chooses between windows that the rule cannot tell apart.

    Raises:
        TraceError: One of them out of range.
    """

    length_s: float
    pick: str = "typical"
    percentile: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        positive("length_s", self.length_s, TraceError)
        if self.pick not in PICKS:
            raise TraceError(f"pick must be one of {', '.join(PICKS)}, but got {self.pick!r}")
        if self.percentile is not None:
            within("percentile", self.percentile, 0.0, 100.0, TraceError)
        check_seed(self.seed)


@dataclass(frozen=True)
class Window:
    """One window of a trace, and how it compares with the candidates.

    Attributes:
        start_s: Where it starts in the trace, in seconds.
        length_s: Its length in seconds.
        requests: Number of arrivals in it.
        fewer: How many candidates have fewer arrivals.
        as_many: How many have as many, itself included where it is a candidate.
        candidates: How many candidates there are.
        median_requests: The median of their numbers of arrivals.
    """

    start_s: float
    length_s: float
    requests: int
    fewer: int
    as_many: int
    candidates: int
    median_requests: float

    @property
    def more(self) -> int:
        """How many candidates have more arrivals."""
        return self.candidates - self.fewer - self.as_many

    def of(self, trace: Trace) -> Trace:
        """The window as a trace of its own."""
        source = trace.source_after("window", start_s=self.start_s, length_s=self.length_s)
        starts_s = [self.start_s]
        return trace.spliced(starts_s, trace.ends_s(starts_s, self.length_s), self.length_s, source)

    def as_json(self) -> dict[str, Any]:
        """The window as JSON-able values."""
        return {
            "start_s": self.start_s,
            "length_s": self.length_s,
            "requests": self.requests,
            "rate_rps": self.requests / self.length_s,
            "candidates": self.candidates,
            "candidates_with_fewer": self.fewer,
            "candidates_with_as_many": self.as_many,
            "median_requests": self.median_requests,
        }


def pick_windows(trace: Trace, rule: WindowRule, count: int = 1) -> list[Window]:
    """The `count` windows that suit the rule best, none overlapping another; the best first.

    Each is the best of the candidates that overlap none before it.

    Raises:
        TraceError: A window longer than the trace, or no `count` such windows.
    """
    if count < 1:
        raise TraceError(f"count must be >= 1, but got {count}")
    candidates = _Candidates(trace, rule.length_s)
    distance = candidates.distance(rule)
    # Shuffled first, then sorted stably: ties come in random order.
    order = np.random.default_rng(rule.seed).permutation(len(distance))
    order = order[np.argsort(distance[order], kind="stable")]
    free = np.ones(len(distance), dtype=np.bool_)
    chosen: list[int] = []
    for i in order:
        if free[i]:
            chosen.append(int(i))
            free[max(0, i - _PARTS // _STRIDE + 1) : i + _PARTS // _STRIDE] = False
        if len(chosen) == count:
            return [candidates.window(j) for j in chosen]
    raise TraceError(
        f"{count} windows of {rule.length_s:.12g} s that do not overlap must fit into "
        f"{trace.name}, but only {len(chosen)} were found in its {trace.duration_s:.12g} s"
    )


def window_at(trace: Trace, start_s: float, length_s: float) -> Window:
    """The window that starts at `start_s`.

    Raises:
        TraceError: It does not lie inside the trace.
    """
    positive("length_s", length_s, TraceError)
    candidates = _Candidates(trace, length_s)
    latest_s = max(0.0, trace.duration_s - length_s)
    if not (start_s >= 0 and trace.ends_s(start_s, length_s) <= trace.duration_s):
        raise TraceError(
            f"start must be between 0 and {latest_s:.12g} s, where a window of {length_s:.12g} s "
            f"still fits, but got {start_s:.12g}"
        )
    first, stop = trace.rows([start_s], trace.ends_s([start_s], length_s))
    return candidates.ranked(start_s, int(stop[0] - first[0]))


class _Candidates:
    """The windows of one length on their grid."""

    def __init__(self, trace: Trace, length_s: float) -> None:
        fitting = trace.duration_s / length_s * (1 + SAME)
        if fitting < 1:
            raise TraceError(
                f"a window must be at most as long as {trace.name}, {trace.duration_s:.12g} s, "
                f"but got {length_s:.12g} s"
            )
        check_size(fitting * _PARTS, "twentieths of windows")
        self.trace = trace
        self.length_s = length_s
        steps = math.floor((fitting - 1) * _PARTS / _STRIDE) + 1
        self.start_s: Times = np.arange(steps, dtype=np.float64) * (length_s * _STRIDE / _PARTS)
        firsts, stops = trace.rows(self.start_s, trace.ends_s(self.start_s, length_s))
        self.requests = stops - firsts
        self.ordered = np.sort(self.requests)

    def distance(self, rule: WindowRule) -> Times:
        """How far each candidate is from what the rule wants; 0 is best."""
        percentile = rule.percentile
        if percentile is None:
            percentile = PERCENTILES.get(rule.pick)
        if percentile is not None:
            rank = max(1, math.ceil(percentile * len(self.ordered) / 100))
            return np.asarray(np.abs(self.requests - self.ordered[rank - 1]), np.float64)
        if rule.pick == "random":
            return np.zeros(len(self.requests))
        from_median = _mid_ranks(self.requests) - 0.5, _mid_ranks(self.dispersion()) - 0.5
        # Rounded, so that candidates at the same distance on two sides of the median are ties.
        return np.asarray(np.round(np.hypot(*from_median), 12), np.float64)

    def dispersion(self) -> Times:
        """Variance / mean of the counts in each candidate's twentieths; 0 where it is empty."""
        parts = (len(self.start_s) - 1) * _STRIDE + _PARTS
        edges_s = np.arange(parts + 1) * (self.length_s / _PARTS)
        counts = np.diff(np.searchsorted(self.trace.arrival_s, edges_s))
        of_window = np.lib.stride_tricks.sliding_window_view(counts, _PARTS)[::_STRIDE]
        mean = of_window.mean(axis=1)
        return np.asarray(of_window.var(axis=1) / np.where(mean > 0, mean, 1.0), np.float64)

    def window(self, index: int) -> Window:
        return self.ranked(float(self.start_s[index]), int(self.requests[index]))

    def ranked(self, start_s: float, requests: int) -> Window:
        fewer, up_to = np.searchsorted(self.ordered, (requests, requests + 1))
        return Window(
            start_s=start_s,
            length_s=self.length_s,
            requests=requests,
            fewer=int(fewer),
            as_many=int(up_to - fewer),
            candidates=len(self.ordered),
            median_requests=float(np.median(self.ordered)),
        )


def _mid_ranks(values: NDArray[Any]) -> Times:
    """The middle of the ranks that equal values share, over their number: from 0 to 1."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - counts / 2)[which] / len(values), np.float64)
