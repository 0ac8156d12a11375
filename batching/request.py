"""One request, from its submission to its single ending, and the batch it travelled in."""

import threading
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from math import inf, nan
from typing import Any, Literal

from batching.policies.contract import FinishedBatch
from batching.user_code import call_each
from batching.workers.own_threads import refuse_to_wait_for_itself

Status = Literal["pending", "ok", "rejected", "expired", "failed", "cancelled"]

_guard = threading.Lock()


def reset() -> None:
    """In a forked child: a lock that was held at the fork would stay held."""
    global _guard  # noqa: PLW0603 - it is one lock for all requests
    _guard = threading.Lock()


class Extra:
    """What only some requests need; made when it is first asked for.

    Attributes:
        attempts: batches that have run it and failed.
        first_failed_s: when its first attempt failed; nan if none did.
        ended_s: when it ended outside a batch (cancelled, say); nan otherwise.
        crashes: workers that died or hung with it in hand.
        delayed: it waits for its next attempt, outside of every lane.
        callbacks: what is to be called once it has ended.
    """

    __slots__ = ("attempts", "callbacks", "crashes", "delayed", "ended_s", "first_failed_s")

    def __init__(self) -> None:
        self.attempts = 0
        self.first_failed_s = nan
        self.ended_s = nan
        self.crashes = 0
        self.delayed = False
        self.callbacks: list[Callable[[Request], object]] = []


class Request:
    """A submitted request, and the future of its result.

    It is bare because one is made for every request: the rest is in `extra`.

    Attributes:
        payload: what the caller gave; dropped once the request has ended.
        enqueued_s: when it was submitted, in seconds of the batcher's clock.
        status: "pending", then exactly one ending, never changed again.
        batch: the batch of its last attempt; None while it waits for its first or next one.
        lane: the lane it belongs to; None means the batcher's default lane.
        deadline_s: while it waits past this it expires; infinite if it may wait for ever.
        loop, future: where an awaiting caller is to be resumed; None for `submit`.
        value: its result, or the error that ended it.
    """

    __slots__ = (
        "batch",
        "deadline_s",
        "enqueued_s",
        "extra",
        "future",
        "lane",
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
        self.lane: Any = None
        self.deadline_s = inf
        self.extra: Extra | None = None

    @property
    def attempts(self) -> int:
        """How many batches have run it."""
        failed = 0 if self.extra is None else self.extra.attempts
        return failed + (self.status == "ok")

    @property
    def first_failed_s(self) -> float:
        """When its first attempt failed; nan if none did."""
        return nan if self.extra is None else self.extra.first_failed_s

    @property
    def ended_s(self) -> float:
        """When it ended outside a batch; nan if it ended with one, or has not."""
        return nan if self.extra is None else self.extra.ended_s

    def more(self) -> Extra:
        """Its `extra`, made now if it has none."""
        with _guard:
            if self.extra is None:
                self.extra = Extra()
            return self.extra

    def done(self) -> bool:
        """Whether it has ended, whatever the ending."""
        return self.status != "pending"

    def result(self, timeout_s: float | None = None) -> Any:
        """Block the calling thread for the result; raise the error that ended it, if one did.

        Raises:
            TimeoutError: it has not ended within `timeout_s` (None or infinity: no limit).
            RequestError: it ended in some other way than ok.
            WrongThreadError: the calling thread is one of those that would have to run it.
        """
        if self.status == "pending":
            refuse_to_wait_for_itself(self)
            ended = threading.Event()
            self.add_done_callback(lambda _: ended.set())
            if not ended.wait(None if timeout_s is None else min(timeout_s, threading.TIMEOUT_MAX)):
                raise TimeoutError(f"the request has not ended within {timeout_s} s")
        if self.status != "ok":
            raise self.value
        return self.value

    def add_done_callback(self, callback: Callable[["Request"], object]) -> None:
        """Call `callback(self)` once it has ended, in the thread that ends it; now if it has.

        What the callback raises is logged and harms nobody else.
        """
        extra = self.more()
        with _guard:
            extra.callbacks.append(callback)
        # The ending may have come just before the callback was in place: then it is ours to run.
        if self.status != "pending":
            self.run_callbacks()

    def run_callbacks(self) -> None:
        """Run what waits for the ending, each exactly once; cheap where nothing does."""
        if self.extra is None:
            return
        with _guard:
            callbacks, self.extra.callbacks = self.extra.callbacks, []
        call_each("a done-callback", callbacks, self)


class BatchRecord:
    """What is known of one batch; times in seconds of the batcher's clock, nan until they happen.

    Attributes:
        batch: its number, from 0 in order of taking.
        worker: index of the worker that ran it.
        size, weight: requests in it, and their weight.
        limit: the max_batch_size in force.
        reason: why it went when it did, as the policy said.
        oldest_s: when its oldest member was enqueued.
        free_since_s: its worker was free since then.
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
        "free_since_s",
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
        limit: int = 0,
        reason: str = "",
        oldest_s: float = nan,
        taken_s: float = nan,
        free_since_s: float = nan,
    ) -> None:
        self.batch = batch
        self.worker = worker
        self.size = size
        self.weight = size
        self.limit = limit
        self.reason = reason
        self.oldest_s = oldest_s
        self.taken_s = taken_s
        self.free_since_s = free_since_s
        self.staged_s = nan
        self.started_s = nan
        self.completed_s = nan
        self.delivered_s = nan
        self.freed_s = nan
        self.real_elements = nan
        self.padded_elements = nan
        self.device_s = nan
        self.ok = True

    def feedback(self) -> FinishedBatch:
        """What a policy is told of it once it has run."""
        return FinishedBatch(
            worker=self.worker,
            size=self.size,
            weight=self.weight,
            oldest_s=self.oldest_s,
            taken_s=self.taken_s,
            completed_s=self.completed_s,
            ok=self.ok,
        )
