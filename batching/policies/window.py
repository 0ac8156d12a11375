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


class WindowPolicy:
    """Hold the batch open for a fixed time, then take at most `max_batch_size`.

    The window opens when the worker is free and something waits; what was left over from the batch
    before opens a new one. It always runs out, even when a full batch waits long before its end.
    This is the sleep-then-take loop that most hand-written batchers start as, with nothing lost
    and the event loop not blocked: the setting to beat, not to deploy.

    Args:
        max_batch_size: most requests in a batch; at least 1.
        batch_timeout_s: length of the window, at least 0.
    """

    def __init__(self, max_batch_size: int, batch_timeout_s: float) -> None:
        self.max_batch_size = max_batch_size
        self.batch_timeout_s = batch_timeout_s

    def decide(self, now_s: float, waiting: Waiting) -> Decision:
        """Wait for the window's end, then dispatch."""
        if waiting.slot == "ahead":
            return Wait(inf)  # its window opens only when the worker is free
        lane = oldest_lane(waiting.lanes)
        head = waiting.lanes[lane]
        until_s = max(waiting.free_since_s, head.oldest_s) + self.batch_timeout_s
        count = min(head.count, self.max_batch_size)
        if waiting.draining:
            return Dispatch(lane, count, "drain")
        if now_s >= until_s:
            return Dispatch(lane, count, "window")
        return Wait(until_s)

    def observe(self, batch: FinishedBatch) -> None:
        """Learn nothing: this policy is not adaptive."""
