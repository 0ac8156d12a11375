"""Gives up on workers that do not return."""

from collections.abc import Sequence
from functools import partial
from math import isnan

from batching.clock import Waiter
from batching.errors import ExecuteTimeoutError
from batching.queueing.core import Core
from batching.queueing.delivery import hand_over
from batching.workers import own_threads
from batching.workers.worker import Worker


class Watchdog:
    """Looks, four times within each time limit, whether a batch has run for longer than it.

    A thread cannot be killed, so its worker is marked unhealthy and given nothing more; what it
    holds goes to another replica or fails. Should it return after all, its results are dropped and
    it serves again.
    """

    def __init__(self, core: Core, workers: Sequence[Worker], timeout_s: float) -> None:
        self._core = core
        self._workers = workers
        self._timeout_s = timeout_s
        self._stopped = False
        # After every worker's decision at the same instant.
        self._waiter: Waiter = core.clock.waiter(1 + sum(len(w.slots) for w in workers))

    def run(self) -> None:
        """Watch until stopped."""
        clock = self._core.clock
        own_threads.enter(self._core.holds)
        while not self._stopped:
            self._waiter.wait(clock.now() + self._timeout_s / 4)
            self._look()
        own_threads.leave()

    def stop(self) -> None:
        """End `run`."""
        self._stopped = True
        self._waiter.wake()

    def _look(self) -> None:
        core = self._core
        make_error = partial(
            ExecuteTimeoutError, f"the model did not return within {self._timeout_s:g} s"
        )
        with core.guard:
            overdue_s = core.clock.now() - self._timeout_s
            late = [
                worker
                for worker in self._workers
                if any(_since(slot.busy_since_s) <= overdue_s for slot in worker.slots)
            ]
            ended = [
                request
                for worker in late
                for slot in worker.slots
                if not isnan(slot.busy_since_s)
                for request in slot.give_up(make_error)
            ]
            if ended and core.draining:
                core.wake_all()
        hand_over(ended)


def _since(busy_since_s: float) -> float:
    return float("inf") if isnan(busy_since_s) else busy_since_s
