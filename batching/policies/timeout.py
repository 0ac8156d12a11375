"""The default policy: go when full, or when the oldest has waited long enough."""

from bisect import bisect_right
from math import inf

from batching.policies.contract import (
    Decision,
    Dispatch,
    FinishedBatch,
    Lane,
    Wait,
    Waiting,
)
from batching.policies.options import PolicyOptions


class TimeoutPolicy:
    """Dispatch a full batch at once, else whatever waits once the oldest has waited the timeout.

    The timeout counts from the oldest request's own enqueueing, time spent behind a busy worker
    included. A worker that frees up late therefore takes what waits at once: the batch went on
    growing while the device was busy, and to wait again would add delay for nothing.

    With preferred batch sizes (those a compiled engine is best at, say) the largest of them that
    waits goes at once, and what is beyond it stays for the next batch. The minimum wait holds that
    back, so that a size soon outgrown is not taken; it never holds back a full batch, nor a drain.

    Args:
        options: all but `slo_s` are used.

    Attributes:
        limit: most requests in a batch; another policy that uses this one's rule may move it.
        timeout_s, min_wait_s, preferred: the options of these names.
    """

    def __init__(self, options: PolicyOptions) -> None:
        self.limit = options.max_batch_size
        self.timeout_s = options.batch_timeout_s
        self.min_wait_s = options.min_wait_s
        self.preferred = options.preferred_batch_sizes

    def decide(self, now_s: float, waiting: Waiting) -> Decision:
        """In each lane: full, drain, preferred, timeout or wait, in this order."""
        lanes = waiting.lanes
        if len(lanes) == 1:  # the plain case, asked once a batch: nothing is built but the answer
            lane = lanes[0]
            count, reason = self._ready(now_s, lane, waiting)
            if count:
                return Dispatch(0, count, reason)
            if waiting.slot == "ahead":
                return Wait(inf, self.limit)
            return Wait(*self._until(lane))
        ready = [
            (-lane.priority, reason != "full", lane.oldest_s, i, count, reason)
            for i, lane in enumerate(lanes)
            for count, reason in [self._ready(now_s, lane, waiting)]
            if count
        ]
        if ready:
            *_, index, count, reason = min(ready)
            return Dispatch(index, count, reason)
        if waiting.slot == "ahead":
            return Wait(inf, self.limit)
        untils = [self._until(lane) for lane in lanes]
        # A weight that some lane has already would end the wait at once, and so for ever; that a
        # lighter lane reaches a preferred size goes unnoticed until the next question.
        heaviest = max(lane.count for lane in lanes)
        return Wait(
            min(until_s for until_s, _ in untils),
            min(weight for _, weight in untils if weight > heaviest),
        )

    def observe(self, batch: FinishedBatch) -> None:
        """Learn nothing: this policy is not adaptive."""

    def _ready(self, now_s: float, lane: Lane, waiting: Waiting) -> tuple[int, str]:
        """How many of a lane may go now, and why; 0 if it has to wait."""
        count = lane.count
        if count >= self.limit:
            return self.limit, "full"
        if waiting.slot == "ahead":
            return 0, ""
        if waiting.draining:
            return count, "drain"
        if self.preferred and now_s >= lane.oldest_s + self.min_wait_s:
            below = bisect_right(self.preferred, count)
            if below:
                return self.preferred[below - 1], "preferred"
        if now_s >= lane.oldest_s + self.timeout_s:
            return count, "timeout"
        return 0, ""

    def _until(self, lane: Lane) -> tuple[float, int]:
        """When, or from which weight on, a lane that is not ready has to be looked at again."""
        if not self.preferred:
            return lane.oldest_s + self.timeout_s, self.limit
        below = bisect_right(self.preferred, lane.count)
        if below:  # large enough already: only the minimum wait bars it
            return lane.oldest_s + self.min_wait_s, self.limit
        return lane.oldest_s + self.timeout_s, min(self.preferred[0], self.limit)
