"""The dynamic batcher: many callers, one model, batches in between."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from threading import Thread
from typing import Any, Self

from batching.clock import Clock, RealClock
from batching.core import BatchObserver, Core
from batching.delivery import hand_over
from batching.errors import (
    BatcherClosedError,
    BatchExecutionError,
    BatchingError,
    QueueFullError,
    describe,
)
from batching.execution import Executor
from batching.lanes import NEVER, LaneQueue
from batching.models.contract import Model
from batching.options import Admission, ArrivalRecorder, FaultTolerance
from batching.policies import BatchingPolicy, PolicyOptions, make_policy
from batching.replicas import Copies, executors_for, lane_key_of
from batching.request import BatchRecord, Request
from batching.statistics import Statistics, snapshot
from batching.switching import quick_switching
from batching.warm_up import ColdStart, warm_up
from batching.watchdog import Watchdog
from batching.worker import Slot, Worker


class DynamicBatcher:
    """Gathers requests that arrive one by one and runs them through a model in batches.

    A worker thread takes the batch when it is free and the policy says go, so a batch goes on
    growing while the one before it runs, and the callers' event loop is never blocked. Every
    request ends exactly once: ok, rejected, expired, failed or cancelled.

        async with DynamicBatcher(model, max_batch_size=32, batch_timeout_ms=2) as batcher:
            result = await batcher.add_request(payload)

    Args:
        run: a `batching.Model`, a function that takes a list of payloads and returns as many
            results in the same order, or an `Executor` made before (one replica only). The
            `Copies` of a model are for a program that makes several batchers on several devices.
        max_batch_size: most requests in a batch.
        batch_timeout_ms: longest a request is held for company while a worker is free, in ms.
        min_wait_ms: shortest it is held, unless the batch is full.
        preferred_batch_sizes: sizes that go without waiting for the timeout.
        slo_ms: the latency that the policies `adaptive` and `deadline` aim at.
        policy: a name of `batching.POLICIES`, `module:Class` for one of your own, or a policy
            object, whose own limits then count.
        max_queue_size: most requests that may wait; a further one raises `QueueFullError` at once.
        deadline_ms: how long a request may wait before it expires, unless it says so itself.
        max_starvation_ms: a request of low priority that has waited this long is treated as one
            of the highest.
        faults: retries, isolation of a culprit, the limit on a batch's execution.
        replicas: workers, each with the model on a device of its own or sharing one.
        in_flight: batches that one worker may hold, 1 or 2; with 2 a full batch is collated and
            copied while the device still runs the one before.
        device: "auto", "cpu", "cuda[:i]", or several with commas between, used in turn.
        dtype: "fp32", "fp16" or "bf16", for torch models.
        engine: what executes a torch model: "eager", "cudagraph" or "compile".
        captured_batch_sizes: what the engine cudagraph captures; empty for
            `default_captured_sizes`, up to `max_batch_size`.
        channels_last: the layout of tensors `[B, C, H, W]`; None leaves it to the model.
        warm_up_budget_s: time for running every batch size once before the first request;
            0 skips it.
        switch_interval_s: the interpreter's thread switch interval while the batcher runs, if the
            present one is longer; None leaves it alone. See `batching.switching`.
        observer: called in a worker thread with every finished batch and its requests.
        recorder: writes down every arrival, refused ones included, to be replayed later; the
            caller opens and closes it.
        clock: the time everything is measured on.

    Raises:
        ConfigError: an argument is out of its range.
        DeviceError: no such device here.
    """

    def __init__(
        self,
        run: Model | Copies | Executor | Callable[[list[Any]], Sequence[Any]],
        *,
        max_batch_size: int = 32,
        batch_timeout_ms: float = 10.0,
        min_wait_ms: float = 0.0,
        preferred_batch_sizes: Sequence[int] = (),
        slo_ms: float | None = None,
        policy: str | BatchingPolicy = "timeout",
        max_queue_size: int | None = None,
        deadline_ms: float | None = None,
        max_starvation_ms: float = 1000.0,
        faults: FaultTolerance | None = None,
        replicas: int | None = None,
        in_flight: int = 1,
        device: str = "auto",
        dtype: str = "fp32",
        engine: str = "eager",
        captured_batch_sizes: Sequence[int] = (),
        channels_last: bool | None = None,
        warm_up_budget_s: float = 20.0,
        switch_interval_s: float | None = 0.001,
        observer: BatchObserver | None = None,
        recorder: ArrivalRecorder | None = None,
        clock: Clock | None = None,
    ) -> None:
        options = PolicyOptions(
            max_batch_size=max_batch_size,
            batch_timeout_s=batch_timeout_ms / 1e3,
            min_wait_s=min_wait_ms / 1e3,
            preferred_batch_sizes=tuple(preferred_batch_sizes),
            slo_s=None if slo_ms is None else slo_ms / 1e3,
        )
        faults = faults or FaultTolerance()
        self._clock: Clock = clock or RealClock()
        self._core = Core(
            self._clock,
            make_policy(policy, options) if isinstance(policy, str) else policy,
            max_batch_size=max_batch_size,
            admission=Admission(max_queue_size, deadline_ms, max_starvation_ms),
            retry_share=faults.retry_budget,
            lane_key=lane_key_of(run),
            observer=observer,
        )
        # The hot path's own references.
        self._now = self._clock.now
        self._lane = self._core.default_lane
        self._enter = self._put if recorder is None else partial(self._put_on_record, recorder)
        groups = executors_for(
            run,
            device,
            dtype,
            replicas,
            in_flight,
            clock=self._clock,
            max_batch_size=max_batch_size,
            engine=engine,
            captured_sizes=captured_batch_sizes,
            channels_last=channels_last,
        )
        # An executor that was handed in goes on to be its maker's.
        self._closes = not hasattr(run, "execute")
        self._workers = [Worker(i, self._core, faults, group) for i, group in enumerate(groups)]
        timeout_s = faults.execute_timeout_s
        self._watchdog = Watchdog(self._core, self._workers, timeout_s) if timeout_s < inf else None
        self._warm_up_budget_s = warm_up_budget_s
        self._switching = quick_switching(switch_interval_s)
        self._threads: list[tuple[Slot, Thread]] = []
        self._watching: Thread
        self._cold_starts: list[ColdStart] = []
        self._started = False

    @classmethod
    def from_config(
        cls,
        path: str | Path,
        run: Model | Executor | Callable[[list[Any]], Sequence[Any]] | None = None,
        **overrides: Any,
    ) -> Self:
        """A batcher with the settings of a config file, `recommended.toml` say; not started.

        The tables `[model]` and `[batcher]` are read, with the keys of `dynbatch --config`. What
        the file leaves out has the constructor's default.

        Args:
            path: the TOML file.
            run: what to batch; in its place the file's `model` by its name, with its `weights` and
                `length_buckets`. Where and how it runs (`device`, `dtype`, `engine` and so on) is
                the file's either way.
            overrides: arguments of the constructor, in place of what the file says.

        Raises:
            ConfigError: the file cannot be read, something in it is unknown or out of its range,
                or neither it nor `run` says what to batch.
            DeviceError: no such device here.
        """
        from batching.config_file import arguments

        run, knobs = arguments(Path(path), run, overrides)
        return cls(run, **knobs)

    def start(self) -> None:
        """Load and warm up the model, then accept requests; blocks until ready.

        Raises:
            BatcherClosedError: it was started before.
            ModelError: the model cannot be loaded.
            BatchExecutionError: the model raised while it was warmed up.
        """
        if self._started:
            raise BatcherClosedError("a batcher is started once, but this one was started before")
        self._started = True
        core, clock = self._core, self._clock
        ready = clock.waiter()
        missing = [slot for worker in self._workers for slot in worker.slots]
        failures: list[BaseException] = []

        def serve(slot: Slot) -> None:
            try:
                cold = warm_up(slot, self._warm_up_budget_s)
                if cold is not None:
                    self._cold_starts.append(cold)
            except BaseException as error:  # noqa: BLE001 - carried into the starting thread
                failures.append(error)
            with core.guard:
                slot.ended = bool(failures)
                missing.remove(slot)
                if not missing:
                    ready.wake()
            slot.run_until_drained()

        slots = list(missing)
        for slot in slots:
            name = f"dynbatch-worker-{slot.index}"
            self._threads.append((slot, clock.spawn(partial(serve, slot), name=name)))
        while missing:
            ready.wait(None)
        if failures:
            self._refuse_to_start(failures[0])
        self._switching.__enter__()
        if self._watchdog is not None:
            self._watching = clock.spawn(self._watchdog.run, name="dynbatch-watchdog")
        core.accepting = True

    def stop(self, *, drain: bool = True) -> None:
        """Refuse new requests and return once every request has ended.

        A worker that hangs is waited for only as long as its batch has not been given up
        (`execute_timeout_ms`).

        Args:
            drain: run what still waits; otherwise it ends as cancelled.
        """
        core = self._core
        was_accepting, core.accepting = core.accepting, False
        waiter = self._clock.waiter()
        with core.guard:
            core.stoppers.append(waiter)
            core.abandoned = core.abandoned or not drain
            core.draining = True
            core.wake_all()
        while not (core.finished and all(slot.ended for slot, _ in self._serving())):
            waiter.wait(None)
        for _, thread in self._serving():
            self._clock.join(thread)
        if self._watchdog is not None and was_accepting:
            self._watchdog.stop()
            self._clock.join(self._watching)
        if was_accepting:
            self._switching.__exit__(None, None, None)
        if self._closes:
            for slot, _ in self._serving():
                slot.executor.close()

    def submit(
        self,
        payload: Any,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        priority: int = 0,
        deadline_ms: float | None = None,
    ) -> Request:
        """Enqueue one request and return its future; the cheap way in, from any thread.

        Args:
            payload: what the model's `collate` takes one of.
            loop: give the request an asyncio future too, `request.future`, resolved in this loop.
            priority: a higher one goes first.
            deadline_ms: how long it may wait before it expires, in place of the batcher's.

        Raises:
            BatcherClosedError: before `start` or after `stop`.
            QueueFullError: `max_queue_size` requests wait already.
        """
        return self._enter(payload, loop, priority, deadline_ms)

    def _put(
        self,
        payload: Any,
        loop: asyncio.AbstractEventLoop | None,
        priority: int,
        deadline_ms: float | None,
    ) -> Request:
        future = None if loop is None else loop.create_future()
        request = Request(payload, self._now(), loop, future)
        core, lane = self._core, self._lane
        if core.plain and not priority and deadline_ms is None:
            lane.append(request)
        else:
            lane = core.admit(request, priority, deadline_ms)
        if len(lane.queue) >= lane.wake_at:
            # One wake-up is enough: the worker says anew when it next wants one.
            lane.wake_at = NEVER
            core.lead_waiter.wake()
        # Asked after the append: a request that saw it open is in the queue that stop() drains.
        if not core.accepting:
            self._withdraw(request, lane)
        return request

    def _put_on_record(
        self,
        recorder: ArrivalRecorder,
        payload: Any,
        loop: asyncio.AbstractEventLoop | None,
        priority: int,
        deadline_ms: float | None,
    ) -> Request:
        try:
            request = self._put(payload, loop, priority, deadline_ms)
        except QueueFullError as error:
            if error.request is not None:
                recorder.record(error.request.enqueued_s, payload)
            raise
        recorder.record(request.enqueued_s, payload)
        return request

    async def add_request(
        self, payload: Any, *, priority: int = 0, deadline_ms: float | None = None
    ) -> Any:
        """Enqueue one request and await its result; cancelling the caller cancels the request.

        Args:
            payload: what the model's `collate` takes one of.
            priority: a higher one goes first.
            deadline_ms: how long it may wait before it expires, in place of the batcher's.

        Raises:
            BatcherClosedError: before `start` or after `stop`.
            QueueFullError: `max_queue_size` requests wait already.
            BatchExecutionError: the model raised on it.
            ExecuteTimeoutError: the model did not return in time.
            RequestExpiredError: its deadline passed while it waited, or the policy gave it up.
            RequestCancelledError: the batcher was stopped without draining.
        """
        request = self._enter(payload, asyncio.get_running_loop(), priority, deadline_ms)
        try:
            return await request.future  # type: ignore[misc]
        except asyncio.CancelledError:
            self.cancel(request)
            raise

    def cancel(self, request: Request) -> bool:
        """End a request as cancelled; its batch, if it is in one, is not disturbed.

        Returns:
            Whether it was cancelled; False if it had ended before.
        """
        with self._core.guard:
            cancelled = self._core.cancel(request)
        if cancelled:
            hand_over([request])
        return cancelled

    def add_observer(self, observer: BatchObserver) -> None:
        """Have `observer` called, after those added before, with every batch finished from now on.

        It is called in a worker thread, which waits for it: it has to be quick and must not raise.
        """
        core = self._core
        with core.guard:
            earlier = core.observer
            core.observer = observer if earlier is None else partial(_in_turn, earlier, observer)

    async def __aenter__(self) -> Self:
        """Start, without blocking the event loop."""
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drain and stop."""
        await asyncio.to_thread(self.stop)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Drain and stop."""
        self.stop()

    @property
    def cold_start(self) -> ColdStart:
        """What starting took; times of the slowest replica, memory of all their slots."""
        slowest = max(self._cold_starts, key=lambda cold: cold.total_s, default=ColdStart())
        executors = [slot.executor for worker in self._workers for slot in worker.slots]
        taken = [one.engine_bytes for one in executors if one.engine_bytes is not None]
        return replace(slowest, engine_bytes=sum(taken) if taken else None)

    @property
    def ready(self) -> bool:
        """Whether requests are accepted and somebody serves them."""
        return self._core.accepting and any(self._core.healthy)

    def statistics(self) -> Statistics:
        """Counts as they stand."""
        return snapshot(
            self._core,
            [worker.size_limit for worker in self._workers],
            sum(slot.executor.uncaptured for worker in self._workers for slot in worker.slots),
        )

    def _serving(self) -> list[tuple[Slot, Thread]]:
        """The slots whose threads return from their batches."""
        return [(slot, thread) for slot, thread in self._threads if slot.worker.healthy]

    def _refuse_to_start(self, error: BaseException) -> None:
        self.stop(drain=False)
        if isinstance(error, (BatchingError, KeyboardInterrupt)):
            raise error
        name = self._workers[0].slots[0].executor.model.name
        raise BatchExecutionError(
            f"{name} raised while it was warmed up: {describe(error)}"
        ) from error

    def _withdraw(self, request: Request, lane: LaneQueue) -> None:
        with self._core.guard:
            try:
                lane.queue.remove(request)
            except ValueError:
                return  # the last drain has taken it, so it will be answered
            if request.status != "pending":
                lane.dead -= 1  # the last drain has ended it
                return
        raise BatcherClosedError("the batcher accepts requests between start and stop only")


def _in_turn(
    first: BatchObserver, second: BatchObserver, record: BatchRecord, requests: Sequence[Request]
) -> None:
    first(record, requests)
    second(record, requests)
