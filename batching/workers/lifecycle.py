"""A batcher's life: started once, stopped for good, and what a fork leaves of it."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from threading import Thread

from batching.errors import (
    BatcherClosedError,
    BatchExecutionError,
    BatchingError,
    RequestCancelledError,
    WrongThreadError,
    describe,
)
from batching.execution.warm_up import ColdStart, warm_up
from batching.queueing.core import Core
from batching.queueing.delivery import hand_over
from batching.request import Request
from batching.workers import own_threads
from batching.workers.forking import end_in_forked_children
from batching.workers.switching import quick_switching
from batching.workers.watchdog import Watchdog
from batching.workers.worker import Slot, Worker


class Lifecycle:
    """Starts and stops the threads of one batcher.

    Args:
        core: what they share.
        workers: the replicas.
        warm_up_budget_s: see `DynamicBatcher`, as for the others.
        switch_interval_s: the interpreter's switch interval while it serves; None leaves it.
        execute_timeout_s: how long a batch may run before it is given up; infinite: for ever.
        closes: whether the executors end with the batcher.

    Attributes:
        cold_starts: what starting took, of each worker.
    """

    def __init__(
        self,
        core: Core,
        workers: Sequence[Worker],
        *,
        warm_up_budget_s: float,
        switch_interval_s: float | None,
        execute_timeout_s: float,
        closes: bool,
    ) -> None:
        self.cold_starts: list[ColdStart] = []
        self._core = core
        self._clock = core.clock
        self._slots = [slot for worker in workers for slot in worker.slots]
        self._watchdog = (
            Watchdog(core, workers, execute_timeout_s) if execute_timeout_s < inf else None
        )
        self._warm_up_budget_s = warm_up_budget_s
        self._switching = quick_switching(switch_interval_s)
        self._closes = closes
        self._started = False
        self._threads: list[tuple[Slot, Thread]] = []
        self._watching: Thread
        self._failures: list[BaseException] = []

    def start(self) -> None:
        """See `DynamicBatcher.start`."""
        self._begin()
        ready = self._clock.waiter()
        missing = list(self._slots)
        for slot in self._slots:
            thread = self._clock.spawn(
                partial(self._serve, slot, missing, ready.wake),
                name=f"dynbatch-worker-{slot.index}",
            )
            self._threads.append((slot, thread))
        try:
            while missing:
                ready.wait(None)
        except BaseException:  # interrupted: the threads end by themselves once they are ready
            self.close(drain=False)
            raise
        if self._failures:
            self._refuse_to_start(self._failures[0])
        self._open()

    def stop(self, *, drain: bool) -> None:
        """See `DynamicBatcher.stop`."""
        core = self._core
        if own_threads.is_of(core.holds):
            raise WrongThreadError(
                "stop must be called from a thread of the caller's own, but got a call from "
                "within the batcher (the model, a callback, an observer), which would wait for "
                "itself"
            )
        waiter = self._clock.waiter()
        with core.guard:
            core.stoppers.append(waiter)
        was_open = self.close(drain=drain)
        while not (core.finished and all(slot.ended for slot, _ in self._returning())):
            waiter.wait(None)
        for _, thread in self._returning():
            self._clock.join(thread)
        if was_open:
            if self._watchdog is not None:
                self._watchdog.stop()
                self._clock.join(self._watching)
            self._switching.__exit__(None, None, None)
        with core.guard:
            core.stoppers.remove(waiter)
            core.waiting.clear()
        if self._closes:
            for slot, _ in self._returning():
                slot.executor.close()

    def close(self, *, drain: bool) -> bool:
        """Let nobody in any more, without waiting for those within; whether it was open."""
        core = self._core
        ended: list[Request] = []
        with core.guard:
            was_open, core.accepting = core.accepting, False
            core.draining = True
            core.refresh()
            if not drain:
                core.abandoned = True
                ended = core.abandon()
            core.wake_all()
        hand_over(ended)
        return was_open

    def _begin(self) -> None:
        with self._core.guard:
            if self._core.draining:
                raise BatcherClosedError(
                    "a batcher that was stopped is not started again: make another one"
                )
            if self._started:
                raise BatcherClosedError(
                    "a batcher is started once, but this one was started before"
                )
            self._started = True

    def _open(self) -> None:
        core = self._core
        with core.guard:
            if core.draining:
                raise BatcherClosedError("the batcher was stopped while it started")
            self._switching.__enter__()
            if self._watchdog is not None:
                self._watching = self._clock.spawn(self._watchdog.run, name="dynbatch-watchdog")
            core.accepting = True
            core.refresh()
        end_in_forked_children(self)

    def _serve(self, slot: Slot, missing: list[Slot], ready: Callable[[], None]) -> None:
        """A slot's thread: prepare, say so, serve until drained."""
        try:
            cold = warm_up(slot, self._warm_up_budget_s)
            if cold is not None:
                self.cold_starts.append(cold)
        except BaseException as error:  # noqa: BLE001 - carried into the starting thread
            self._failures.append(error)
        with self._core.guard:
            slot.ended = bool(self._failures)
            missing.remove(slot)
            if not missing:
                ready()
        slot.run_until_drained()

    def _refuse_to_start(self, error: BaseException) -> None:
        self.stop(drain=False)
        if isinstance(error, (BatchingError, KeyboardInterrupt)):
            raise error
        name = self._slots[0].executor.model.name
        raise BatchExecutionError(
            f"{name} raised while it was warmed up: {describe(error)}"
        ) from error

    def _returning(self) -> list[tuple[Slot, Thread]]:
        """The slots whose threads return from their batches."""
        return [(slot, thread) for slot, thread in self._threads if slot.worker.healthy]

    def end_in_child(self) -> None:
        """In a forked child: the threads are the parent's, so whatever was to end has ended."""
        core = self._core
        core.guard = threading.RLock()
        core.accepting, core.draining = False, True
        core.closed_because = (
            "the process was forked after the batcher was started, and its threads are in the "
            "parent only: make and start a batcher in each child, after the fork"
        )
        core.refresh()
        in_hand = [request for slot in self._slots for request in slot.in_hand]
        for request in [*core.waiting, *in_hand]:
            if request.status == "pending":
                core.end(request, "cancelled", RequestCancelledError(core.closed_because))
        core.waiting.clear()
        core.in_hand = 0
        self._threads = []
        self._watchdog = None
