"""One request, from its submission to its single ending, and the batch it travelled in."""

import threading
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from math import nan
from typing import Any, Literal

Status = Literal["pending", "ok", "rejected", "expired", "failed", "cancelled"]

_callback_guard = threading.Lock()


class Request:
    """A submitted request, and the future of its result.

    Attributes:
        payload: what the caller gave; dropped once the request has ended.
        enqueued_s: when it was submitted, in seconds of the batcher's clock.
        status: "pending", then exactly one ending, never changed again.
        batch: the batch of its last attempt; None if it was never taken.
        attempts: how many batches have run it.
        first_failed_s: when its first attempt failed; nan if none did.
        ended_s: when it ended outside a batch (cancelled, say); nan otherwise.
        loop, future: where an awaiting caller is to be resumed; None for `submit`.
        value: its result, or the error that ended it.
    """

    __slots__ = (
        "_callbacks",
        "attempts",
        "batch",
        "ended_s",
        "enqueued_s",
        "first_failed_s",
        "future",
        "loop",
        "payload",
        "status",
        "value",
    )

    def __init__(
        self,
        payload: Any,
        enqueued_s: float,
        loop: AbstractEventLoop | None = None,
        future: "Future[Any] | None" = None,
    ) -> None:
        self.payload = payload
        self.enqueued_s = enqueued_s
        self.loop = loop
        self.future = future
        self.status: Status = "pending"
        self.value: Any = None
        self.batch: BatchRecord | None = None
        self.attempts = 0
        self.first_failed_s = nan
        self.ended_s = nan
        self._callbacks: list[Callable[[Request], object]] | None = None

    def done(self) -> bool:
        """Whether it has ended, whatever the ending."""
        return self.status != "pending"

    def result(self, timeout_s: float | None = None) -> Any:
        """Block the calling thread for the result; raise the error that ended it, if one did.

        Raises:
            TimeoutError: it has not ended within `timeout_s`.
            RequestError: it ended in some other way than ok.
        """
        if self.status == "pending":
            ended = threading.Event()
            self.add_done_callback(lambda _: ended.set())
            if not ended.wait(timeout_s):
                raise TimeoutError(f"the request has not ended within {timeout_s} s")
        if self.status != "ok":
            raise self.value
        return self.value

    def add_done_callback(self, callback: Callable[["Request"], object]) -> None:
        """Call `callback(self)` once it has ended, in the thread that ends it; now if it has."""
        with _callback_guard:
            self._callbacks = [*(self._callbacks or ()), callback]
        # The ending may have come just before the callback was in place: then it is ours to run.
        if self.status != "pending":
            self.run_callbacks()

    def run_callbacks(self) -> None:
        """Run what waits for the ending, each exactly once; cheap where nothing does."""
        if self._callbacks is None:
            return
        with _callback_guard:
            callbacks, self._callbacks = self._callbacks or (), None
        for callback in callbacks:
            callback(self)


class BatchRecord:
    """What is known of one batch; times in seconds of the batcher's clock, nan until they happen.

    Attributes:
        batch: its number, from 0 in order of taking.
        worker: index of the worker that ran it.
        size, weight: requests in it, and their weight.
        limit: the max_batch_size in force.
        reason: why it went when it did, as the policy said.
        oldest_s: when its oldest member was enqueued.
        taken_s: its members left the queue.
        staged_s: its inputs were ready on the device.
        started_s: `staged_s`, or the end of the device's previous batch if that came later.
        completed_s: its results were seen on the host.
        delivered_s: its results were handed over.
        freed_s: its worker was free again.
        real_elements, padded_elements: input elements before and after padding; nan if it has none.
        device_s: execution time by the device's own events; nan where it has none.
        ok: whether it ran without an error.
    """

    __slots__ = (
        "batch",
        "completed_s",
        "delivered_s",
        "device_s",
        "freed_s",
        "limit",
        "ok",
        "oldest_s",
        "padded_elements",
        "real_elements",
        "reason",
        "size",
        "staged_s",
        "started_s",
        "taken_s",
        "weight",
        "worker",
    )

    def __init__(
        self,
        *,
        batch: int = -1,
        worker: int = 0,
        size: int,
        weight: int = 0,
        limit: int = 0,
        reason: str = "",
        oldest_s: float = nan,
        taken_s: float = nan,
    ) -> None:
        self.batch = batch
        self.worker = worker
        self.size = size
        self.weight = weight or size
        self.limit = limit
        self.reason = reason
        self.oldest_s = oldest_s
        self.taken_s = taken_s
        self.staged_s = nan
        self.started_s = nan
        self.completed_s = nan
        self.delivered_s = nan
        self.freed_s = nan
        self.real_elements = nan
        self.padded_elements = nan
        self.device_s = nan
        self.ok = True
