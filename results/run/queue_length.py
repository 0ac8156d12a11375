"""Requests in the system over time, and whether they grow in number without end."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.arrays import FloatArray
from results.run.logs import floats, has_status, inside


@dataclass(frozen=True, slots=True)
class Steps:
    """A count that changes in steps.

    Args:
        times_s: When it changes, ascending, `[K]`.
        counts: Its value from then on, `[K]`; before the first change it is 0.
    """

    times_s: FloatArray
    counts: npt.NDArray[np.int64]

    def within(self, start_s: float, end_s: float) -> npt.NDArray[np.int64]:
        """Return the values taken within [start_s, end_s), the one in force at its start first."""
        first, last = np.searchsorted(self.times_s, (start_s, end_s), side="left")
        at_start = self.counts[first - 1] if first > 0 else 0
        return np.append(np.int64(at_start), self.counts[first:last])

    def peaks(self, edges_s: FloatArray) -> npt.NDArray[np.int64]:
        """Return the largest value within each bin between two edges."""
        peaks = [self.within(start, end).max() for start, end in pairwise(edges_s)]
        return np.array(peaks, dtype=np.int64)

    def means(self, edges_s: FloatArray) -> FloatArray:
        """Return the mean over time within each bin between two edges."""
        if len(self.times_s) == 0:
            return np.zeros(len(edges_s) - 1)
        areas = np.concatenate(([0.0], np.cumsum(self.counts[:-1] * np.diff(self.times_s))))
        last = np.searchsorted(self.times_s, edges_s, side="right") - 1
        known = np.maximum(last, 0)
        since = np.where(last < 0, 0.0, edges_s - self.times_s[known])
        means: FloatArray = np.diff(areas[known] + self.counts[known] * since) / np.diff(edges_s)
        return means


def between(starts_s: FloatArray, ends_s: FloatArray) -> Steps:
    """Return how many of the spans [start, end) are under way; one without an end goes on."""
    begun = np.isfinite(starts_s)
    starts, ends = starts_s[begun], ends_s[begun & np.isfinite(ends_s)]
    times = np.concatenate((ends, starts))
    steps = np.concatenate((np.full(len(ends), -1), np.ones(len(starts), dtype=np.int64)))
    order = np.argsort(times, kind="stable")
    times, counts = times[order], np.cumsum(steps[order])
    settled = np.append(times[1:] > times[:-1], True)[: len(times)]
    return Steps(times[settled], counts[settled])


def in_system(requests: pd.DataFrame) -> Steps:
    """Return the number of requests in the system: scheduled and not yet ended."""
    return between(floats(requests, "scheduled_s"), floats(requests, "ended_s"))


def waiting(requests: pd.DataFrame) -> Steps:
    """Return the number of requests that wait: enqueued, not yet taken and not yet ended."""
    taken = floats(requests, "taken_s")
    ended = floats(requests, "ended_s")
    return between(floats(requests, "enqueued_s"), np.fmin(taken, ended))


_FEWEST_REQUESTS = 100
_SLICES = 10
_BEHIND = 0.01
_GROWTH = 0.005


def saturation(requests: pd.DataFrame, window_s: float) -> str | None:
    """Return how the log shows that the load was more than the system can serve, or None.

    A burst makes a backlog too, but a system that can serve the load on average works it off.
    Saturated means any of three things, n being the requests scheduled in the window and D(a, b)
    those finished within [a, b) (rejected and expired ones are not finished):

    - it fell behind all the time: D of every tenth of the window is below n / 10, by 1 % or more;
    - the backlog grew: over the last quarter the number in the system was never as low as its
      highest in the first quarter + 0.5 % of n, while D of the last quarter is below n / 4;
    - it never finished: 1 % of n or more had not ended when the log was closed (or were cancelled
      after the window), and more were in the system at the window's end than ever in its first
      half.

    A load below the capacity passes the first two however bursty it is, since a backlog is worked
    off at the full rate, which is above the mean load (a short queue that turns most of its bursts
    away may fail the first). What counts is the load that the window had: a few seconds of a bursty
    process of mean load 0.8 may well bring more than 1. A capacity that varies over the window
    hides an excess smaller than that. D is interpolated between completions, so that it does not
    jump by a batch at a tenth's edge. Below 100 requests nothing is said.
    """
    scheduled = floats(requests, "scheduled_s")
    counted = inside(scheduled, window_s)
    number = int(counted.sum())
    if number < _FEWEST_REQUESTS:
        return None
    tenths = _finished(requests, np.linspace(0.0, window_s, _SLICES + 1))
    if tenths.max() * _SLICES * (1.0 + _BEHIND) < number:
        share = 100.0 * tenths.max() * _SLICES / number
        return f"even in its best tenth of the window it finished {share:.0f} % of the mean load"

    present = in_system(requests)
    highest = int(present.within(0.0, window_s / 4.0).max())
    lowest = int(present.within(0.75 * window_s, window_s).min())
    quarters = _finished(requests, np.linspace(0.0, window_s, 5))
    if lowest > highest + _GROWTH * number and quarters[-1] * 4.0 < number:
        return (
            f"the number in the system grew from at most {highest:,} in the first quarter of the "
            f"window to at least {lowest:,} in the last"
        )

    ended = floats(requests, "ended_s")
    cut_off = np.isnan(ended) | (has_status(requests, "cancelled") & (ended >= window_s))
    left = int((counted & cut_off).sum())
    at_end = int(present.within(window_s, window_s)[0])
    if left >= _BEHIND * number and at_end > present.within(0.0, window_s / 2.0).max():
        return f"{left:,} requests were still unanswered when the run stopped waiting for them"
    return None


def _finished(requests: pd.DataFrame, edges_s: FloatArray) -> FloatArray:
    """Return how many requests were finished between each two edges."""
    ended = floats(requests, "ended_s")
    finished = ~has_status(requests, "rejected", "expired") & np.isfinite(ended)
    times, counts = np.unique(ended[finished], return_counts=True)
    if len(times) == 0:
        return np.zeros(len(edges_s) - 1)
    times = np.append(min(0.0, times[0]), times)
    return np.diff(np.interp(edges_s, times, np.append(0, np.cumsum(counts))))
