"""Ending a run as soon as nothing that could still happen would save it.

The number N of requests of the window is known before it begins, so a nearest-rank percentile at
share p is the k-th smallest latency, k = ceil(p N), and exceeds x if and only if more than N - k
requests take longer than x. At any moment each request has a latency of at least

    ended - scheduled     if it was answered,
    now - scheduled       if it still waits,
    infinity              if it ended without an answer,
    0                     if it is not due yet,

so the (N - k + 1)-th largest of these is a lower bound of the percentile of the whole run, and it
only grows. The same holds for the mean (their sum / N), for device time per request (that of the
batches so far / N, as no more than N can be answered in the window), and from above for goodput.
Once a bound is beyond what the setting has to reach, the run is over, and nothing was guessed.

What is guessed is saturation: a backlog that would take more than half a window to work off, at the
rate of answers of the last second.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf, isfinite, isnan, nan

import numpy as np

from batching import Request
from bench.live.replay import Sent
from bench.tuning.device.metric import Floats
from bench.tuning.search.objectives import Limit, Statistic
from results.statistics.ranks import nearest_rank
from workloads import ResolvedTrace

# Nothing is said of saturation before so long.
_FIRST_LOOK_S = 1.0
_OVER_S = 1.0
_DRAIN_SHARE = 0.5


class Ended(StrEnum):
    """Why a run was ended early."""

    MISSES = "misses the SLO"
    LOSES = "loses"
    SATURATED = "saturated"


@dataclass(frozen=True)
class Threshold:
    """What a setting has to reach to be of any use.

    Attributes:
        limit: the SLO; None where there is none.
        latency: what the best setting so far has of a statistic of latency; it has to be below.
        device_s: the device time per request of the best so far; it has to be below.
        goodput: the answers within its limit that the best so far gave; it has to give more.
    """

    limit: Limit | None = None
    latency: Limit | None = None
    device_s: float = inf
    goodput: tuple[Limit, int] | None = None


@dataclass(frozen=True)
class Known:
    """What is certain of a setting in the midst of its runs.

    Attributes:
        latency_s: the least that each request that was due has taken or will take, `[M]`, of all
            draws so far; infinite without an answer.
        requests: N, of all draws from the first to the last.
        busy_s: device time of the batches that are done.
    """

    latency_s: Floats = field(default_factory=lambda: np.empty(0))
    requests: int = 0
    busy_s: float = 0.0

    def least_s(self, statistic: Statistic) -> float:
        """A lower bound of a statistic of all N requests."""
        if not self.requests:
            return 0.0
        if statistic.share is None:
            return float(self.latency_s.sum()) / self.requests
        over = self.requests - nearest_rank(statistic.share, self.requests) + 1
        if over > len(self.latency_s):
            return 0.0
        return float(np.partition(self.latency_s, -over)[-over])

    def fails(self, bar: Threshold) -> Ended | None:
        """Why the setting cannot reach the bar any more; None while it can."""
        if bar.limit is not None and self.least_s(bar.limit.statistic) > bar.limit.limit_s:
            return Ended.MISSES
        if bar.latency is not None and self.least_s(bar.latency.statistic) > bar.latency.limit_s:
            return Ended.LOSES
        if self.requests and self.busy_s / self.requests > bar.device_s:
            return Ended.LOSES
        if bar.goodput is not None:
            limit, answers = bar.goodput
            late = int((self.latency_s > limit.limit_s).sum())
            if self.requests - late < answers:
                return Ended.LOSES
        return None


class TrialStopper:
    """Watches one run and ends it early.

    Attributes:
        window_s: how much of the window was played; None if all of it was.
        ended: why it was ended.
        overload: requests that were sent / that were answered, when it was.
        hopeless: what still waits when it is ended need not be answered.

    Args:
        arrivals: of this run.
        bar: what the setting has to reach.
        before: of the setting's runs under earlier draws; its `requests` are those of all draws.
    """

    def __init__(self, arrivals: ResolvedTrace, bar: Threshold, before: Known) -> None:
        self.window_s: float | None = None
        self.ended: Ended | None = None
        self.hopeless = True
        self.overload = 1.0
        self.known = before
        self._bar = bar
        self._before = before
        self._arrival_s = arrivals.trace.arrival_s[: arrivals.requests]
        self._asked_s = arrivals.window_s
        self._latency_s: list[float] = []
        self._busy_s = 0.0
        self._batches: set[int] = set()
        self._answers: list[tuple[float, int]] = []

    def watch(self, sent: Sent, now_s: float) -> None:
        """Collect what has ended, and stop the sending if the setting cannot reach its bar."""
        elapsed_s = now_s - sent.start_s
        if self.ended is not None or not 0.0 < elapsed_s < self._asked_s:
            return
        pending = self._collect(sent, elapsed_s)
        self.known = replace(
            self._before,
            latency_s=np.concatenate([self._before.latency_s, self._latency_s, pending]),
            busy_s=self._before.busy_s + self._busy_s,
        )
        waiting = int(np.isfinite(pending).sum())
        self.ended = self.known.fails(self._bar) or self._saturated(elapsed_s, waiting)
        if self.ended is not None:
            self.window_s = elapsed_s
            done = len(self._latency_s)
            self.overload = (done + waiting) / done if done else inf
            sent.stop.set()

    def _collect(self, sent: Sent, elapsed_s: float) -> Floats:
        """Keep the answers up to the first request that still waits; bounds of those after it."""
        requests, count = sent.requests, len(self._arrival_s)
        first = len(self._latency_s)
        for i in range(first, min(len(requests), count)):
            latency_s = self._ended_after_s(sent, i)
            if isnan(latency_s):
                break
            self._latency_s.append(latency_s)
        first = len(self._latency_s)
        self._answers.append((elapsed_s, first))
        rest = range(first, min(len(requests), count))
        known = np.array([self._ended_after_s(sent, i) for i in rest], dtype=np.float64)
        aged = elapsed_s - self._arrival_s[first : first + len(known)]
        return np.where(np.isnan(known), np.maximum(aged, 0.0), known)

    def _ended_after_s(self, sent: Sent, i: int) -> float:
        """The latency of a request; nan while it waits, infinite if it ended otherwise."""
        request = sent.requests[i]
        if not request.done():
            return nan
        if request.status != "ok":
            return inf
        ended_s = sent.ended_s.get(i, request.ended_s)
        if isnan(ended_s) and request.batch is not None:
            ended_s = request.batch.delivered_s  # nan while it is being handed over
        self._count(request)
        return float(ended_s - sent.start_s - self._arrival_s[i])

    def _count(self, request: Request) -> None:
        """Add the device time of the request's batch, once."""
        batch = request.batch
        if batch is None or batch.batch in self._batches:
            return
        self._batches.add(batch.batch)
        known = isfinite(batch.device_s)
        busy_s = batch.device_s if known else batch.completed_s - batch.started_s
        self._busy_s += busy_s if isfinite(busy_s) else 0.0

    def _saturated(self, elapsed_s: float, waiting: int) -> Ended | None:
        """Whether what waits would take more than half a window at the present rate of answers."""
        if elapsed_s < _FIRST_LOOK_S or not waiting:
            return None
        since = next((a for a in reversed(self._answers) if a[0] <= elapsed_s - _OVER_S), (0.0, 0))
        rate_rps = (self._answers[-1][1] - since[1]) / (elapsed_s - since[0])
        over = waiting > rate_rps * _DRAIN_SHARE * self._asked_s
        return Ended.SATURATED if over else None
