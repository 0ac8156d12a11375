"""The baseline: a fixed window that always runs out."""

from math import inf

from batching.policies.contract import (
    Decision,
    Dispatch,
    FinishedBatch,
    Wait,
    Waiting,
    oldest_lane,
)
from batching.policies.options import PolicyOptions


class WindowPolicy:
    """Hold the batch open for a fixed time, then take at most `max_batch_size`.

    The window opens when the worker is free and something waits; what was left over from the batch
    before opens a new one. It always runs out, even when a full batch waits long before its end.
    This is the sleep-then-take loop that most hand-written batchers start as, with nothing lost
    and the event loop not blocked: the setting to beat, not to deploy.

    Args:
        options: `max_batch_size` and `batch_timeout_s`, the length of the window, are used.

    Attributes:
        limit, window_s: the same.
    """

    def __init__(self, options: PolicyOptions) -> None:
        self.limit = options.max_batch_size
        self.window_s = options.batch_timeout_s

    def decide(self, now_s: float, waiting: Waiting) -> Decision:
        """Wait for the window's end, then dispatch."""
        if waiting.slot == "ahead":
            return Wait(inf)  # its window opens only when the worker is free
        lane = oldest_lane(waiting.lanes)
        head = waiting.lanes[lane]
        until_s = max(waiting.free_since_s, head.oldest_s) + self.window_s
        count = min(head.count, self.limit)
        if waiting.draining:
            return Dispatch(lane, count, "drain")
        if now_s >= until_s:
            return Dispatch(lane, count, "window")
        return Wait(until_s)

    def observe(self, batch: FinishedBatch) -> None:
        """Learn nothing: this policy is not adaptive."""
