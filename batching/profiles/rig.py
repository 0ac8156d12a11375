"""A batcher driven one batch at a time, so that each part of a batch's way can be timed."""

from collections.abc import Sequence
from math import inf, isnan, nan
from typing import Any

from batching.batcher import DynamicBatcher
from batching.clock import Clock
from batching.errors import BatchingError
from batching.execution.executor import Executor
from batching.execution.warm_up import ColdStart
from batching.options import FaultTolerance
from batching.policies import Decision, Dispatch, FinishedBatch, Wait, Waiting
from batching.request import BatchRecord, Request

_LOOK_AGAIN_S = 1e-3


class BatchTooLargeError(BatchingError):
    """A batch of this size ran out of memory."""


class _OnCommand:
    """Dispatches batches of exactly `count`, `hold_s` after the oldest of each came.

    Attributes:
        looked_s: when it was first asked since `command`.
    """

    def __init__(self) -> None:
        self.command(1)

    def command(self, count: int, hold_s: float = 0.0) -> None:
        """Set what is done next; only while nothing waits."""
        self.count = count
        self.hold_s = hold_s
        self.looked_s = nan

    def decide(self, now_s: float, waiting: Waiting) -> Decision:
        if isnan(self.looked_s):
            self.looked_s = now_s
        for i, lane in enumerate(waiting.lanes):
            if lane.count >= self.count:
                until_s = lane.oldest_s + self.hold_s
                if now_s >= until_s or waiting.draining:
                    return Dispatch(i, self.count, "profile")
                return Wait(until_s)
        if waiting.draining:
            return Dispatch(0, waiting.lanes[0].count, "drain")
        return Wait(inf, until_weight=self.count)

    def observe(self, batch: FinishedBatch) -> None:
        pass


class Rig:
    """A `DynamicBatcher` with one replica, one batch in flight, and a policy that obeys.

    Args:
        executor: runs the model; it is loaded by `start`.
        max_batch_size: most requests in a batch.
        clock: the time everything is measured on.
    """

    def __init__(self, executor: Executor, max_batch_size: int, clock: Clock) -> None:
        self._executor = executor
        self._max_batch_size = max_batch_size
        self._clock = clock
        self._policy = _OnCommand()
        self._records: list[BatchRecord] = []
        self._waiter = clock.waiter()
        self._batcher = self._make()

    def _make(self) -> DynamicBatcher:
        return DynamicBatcher(
            self._executor,
            max_batch_size=self._max_batch_size,
            policy=self._policy,
            faults=FaultTolerance(isolate=False),
            warm_up_budget_s=0.0,
            observer=self._note,
            clock=self._clock,
        )

    def start(self) -> ColdStart:
        """Load the model; raises what `DynamicBatcher.start` does."""
        self._batcher.start()
        return self._batcher.cold_start

    def stop(self) -> None:
        """Stop; what still waits, after an interrupt, is cancelled."""
        self._batcher.stop(drain=False)

    def restart(self) -> None:
        """Start anew with the loaded model: without the limit that running out of memory left."""
        self.stop()
        self._batcher = self._make()
        self._batcher.start()

    def run(self, payloads: Sequence[Any]) -> tuple[BatchRecord, float]:
        """Run one batch of all these payloads; returns its record and when the last was submitted.

        Raises:
            BatchTooLargeError: it ran out of memory, and a smaller one may not.
            BatchExecutionError: the model raised.
        """
        self._policy.command(len(payloads))
        requests = self._serve(payloads)
        return self._records[0], requests[-1].enqueued_s

    def run_in_a_row(self, payloads: Sequence[Any], batches: int) -> None:
        """Run so many batches of these payloads, each as soon as the worker is free for it.

        Raises:
            BatchTooLargeError: one ran out of memory, and a smaller one may not.
            BatchExecutionError: the model raised.
        """
        self._policy.command(len(payloads))
        self._serve([*payloads] * batches)

    def overheads(self, payload: Any, hold_s: float) -> tuple[float, float, float]:
        """Two lone requests at an idle worker: how late it looks, wakes from a timer, turns round.

        The first is held for `hold_s` and goes alone; the second goes as soon as that is answered.

        Returns:
            Submitted -> first looked at; end of the hold -> taken; delivered -> next one taken.
        """
        self._policy.command(1, hold_s)
        first, _ = self._serve([payload, payload])
        one, two = self._records[:2]
        return (
            self._policy.looked_s - first.enqueued_s,
            one.taken_s - (first.enqueued_s + hold_s),
            two.taken_s - one.delivered_s,
        )

    def _serve(self, payloads: Sequence[Any]) -> list[Request]:
        self._records.clear()
        requests = [self._batcher.submit(payload) for payload in payloads]
        while sum(record.size for record in self._records) < len(payloads):
            self._waiter.wait(None)
            if not all(record.ok for record in self._records):
                self._explain(requests)
        return requests

    def _explain(self, requests: Sequence[Request]) -> None:
        """Wait until recovery is over, then say what went wrong."""
        while not all(request.done() for request in requests):
            self._clock.sleep_until(self._clock.now() + _LOOK_AGAIN_S)
        if len(requests) > 1 and self._batcher.statistics().size_limits[0] < len(requests):
            raise BatchTooLargeError(f"a batch of {len(requests)} ran out of memory")
        for request in requests:
            if request.status != "ok":
                raise request.value

    def _note(self, record: BatchRecord, requests: Sequence[Request]) -> None:
        self._records.append(record)
        self._waiter.wake()
