"""Go at the last moment at which the batch still ends within the SLO."""

from bisect import bisect_right
from collections.abc import Sequence
from math import inf

from batching.policies.contract import (
    Decision,
    Dispatch,
    FinishedBatch,
    Lane,
    Shed,
    Wait,
    Waiting,
)
from batching.policies.learned import ServiceTimes
from batching.policies.options import PolicyOptions
from batching.policies.timeout import TimeoutPolicy

# Share of the SLO kept back for what no policy sees: the wake-up, handing the results over.
_RESERVE = 0.05


class DeadlinePolicy:
    """Hold requests as long as their SLO allows: the cheapest batches that are still in time.

    With S the SLO and T_q(n) the q % quantile of a batch of n's execution time (`ServiceTimes`),
    in seconds, and m the number it waits for as well,

        until_s = min(oldest + S, earliest deadline) - S / 20 - T_99(m)

    m is the next power of two above what waits, at most the limit, so that the batch is in time
    whether or not others join, and the question is asked again some log2(n) times a batch. The
    limit is the largest n up to `max_batch_size` with T_90(n) <= S - S / 20.

    A request is shed once the batch that would go now has less than nine chances in ten to end
    within its SLO. To run it in a smaller batch, or alone, might save it, but at the cost of those
    behind it: they come to be as late, smaller batches serve fewer requests a second, and at any
    load but the lowest the queue never recovers. Only if it came while the worker was free is it
    saved that way: then nobody is behind but those who came during the hold. (The early drop of
    Nexus, Shen et al., SOSP 2019, rests on the same observation.)

    As long as nothing is known of T, or if not even a single request can be in time, it decides as
    `timeout` does: shedding all would teach it nothing more.

    Where several lanes wait they are taken to share one worker: the first starts early enough for
    each to start in time after the one before.

    Args:
        options: `slo_s` is needed; the others are for as long as nothing is known.

    Raises:
        ConfigError: there is no SLO.
    """

    def __init__(self, options: PolicyOptions) -> None:
        self._slo_s = options.needed_slo_s("deadline")
        self._reserve_s = _RESERVE * self._slo_s
        self._most = options.max_batch_size
        self._times = ServiceTimes(options.max_batch_size)
        self._fallback = TimeoutPolicy(options)
        self._limit = 0

    @property
    def limit(self) -> int:
        """Most requests in a batch, as of now."""
        return self._limit or self._most

    def decide(self, now_s: float, waiting: Waiting) -> Decision:
        """Shed what is lost, else run the lane that has to go, else wait."""
        if not self._limit:
            return self._fallback.decide(now_s, waiting)
        lanes = waiting.lanes
        counts = [self._in_time(now_s, lane, waiting) for lane in lanes]
        if 0 in counts:
            return Shed(counts.index(0), 1)
        awaited = min(self._limit, 1 << max(counts).bit_length())
        start_by_s = self._start_by_s(lanes, awaited)
        partial = waiting.slot == "now"
        ready = [
            (-lane.priority, start_by_s[i], i)
            for i, lane in enumerate(lanes)
            if counts[i] == self._limit
            or (partial and (waiting.draining or now_s >= start_by_s[i]))
        ]
        if ready:
            index = min(ready)[-1]
            count = counts[index]
            reason = "full" if count == self._limit else "drain" if waiting.draining else "deadline"
            return Dispatch(index, count, reason)
        return Wait(min(start_by_s), awaited) if partial else Wait(inf, self._limit)

    def observe(self, batch: FinishedBatch) -> None:
        """Learn what a batch of its size takes."""
        if self._times.observe(batch):
            in_time_s = self._slo_s - self._reserve_s
            self._limit = max(0, bisect_right(self._times.q90_s, in_time_s) - 1)

    def _in_time(self, now_s: float, lane: Lane, waiting: Waiting) -> int:
        """How many of a lane can go together with its head in time; 0 if the head is lost."""
        count = min(lane.count, self._limit)
        if waiting.slot == "ahead" and count < self._limit:
            return count
        due_s = lane.oldest_s + self._slo_s
        if lane.count == 1:  # of several, it is not known whose deadline is the earliest
            due_s = min(due_s, lane.earliest_deadline_s)
        if now_s <= due_s - self._times.q90_s[count]:
            return count
        if waiting.slot == "ahead" or lane.oldest_s < waiting.free_since_s:
            return 0
        return bisect_right(self._times.q90_s, due_s - now_s, 1, count) - 1

    def _start_by_s(self, lanes: Sequence[Lane], count: int) -> list[float]:
        """The last safe moment for a batch of `count` from each lane.

        The first one's is early enough that one worker can run one lane after the other.
        """
        seconds = self._times.q99_s[count]
        kept_s = self._slo_s - self._reserve_s
        start_by_s = [
            min(lane.oldest_s + kept_s, lane.earliest_deadline_s - self._reserve_s) - seconds
            for lane in lanes
        ]
        latest_s = inf
        for start_s in sorted(start_by_s, reverse=True):
            latest_s = min(start_s, latest_s - seconds)
        start_by_s[start_by_s.index(min(start_by_s))] = latest_s
        return start_by_s
