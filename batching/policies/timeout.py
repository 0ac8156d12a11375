"""The default policy: go when full, or when the oldest has waited long enough."""

from math import inf

from batching.policies.contract import (
    Decision,
    Dispatch,
    FinishedBatch,
    Wait,
    Waiting,
    full_lane,
    oldest_lane,
)


class TimeoutPolicy:
    """Dispatch a full batch at once, else whatever waits once the oldest has waited the timeout.

    The timeout counts from the oldest request's own enqueueing, time spent behind a busy worker
    included. A worker that frees up late therefore takes what waits at once: the batch went on
    growing while the device was busy, and to wait again would add delay for nothing.

    Args:
        max_batch_size: most requests in a batch; at least 1.
        batch_timeout_s: longest a request is held for company while a worker is free; 0 means
            never held.
    """

    def __init__(self, max_batch_size: int, batch_timeout_s: float) -> None:
        self.max_batch_size = max_batch_size
        self.batch_timeout_s = batch_timeout_s

    def decide(self, now_s: float, waiting: Waiting) -> Decision:
        """Full, drain, timeout or wait, in this order."""
        lanes = waiting.lanes
        full = full_lane(lanes, self.max_batch_size)
        if full is not None:
            return Dispatch(full, self.max_batch_size, "full")
        if waiting.slot == "ahead":
            return Wait(inf, self.max_batch_size)
        lane = oldest_lane(lanes)
        if waiting.draining:
            return Dispatch(lane, lanes[lane].count, "drain")
        until_s = lanes[lane].oldest_s + self.batch_timeout_s
        if now_s >= until_s:
            return Dispatch(lane, lanes[lane].count, "timeout")
        return Wait(until_s, self.max_batch_size)

    def observe(self, batch: FinishedBatch) -> None:
        """Learn nothing: this policy is not adaptive."""
