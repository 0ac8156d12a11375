"""The dynamic batcher: many callers, one model, batches in between."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from batching import user_code
from batching.clock import Clock, RealClock
from batching.errors import (
    QueueFullError,
    WrongThreadError,
)
from batching.execution.executor import Executor
from batching.execution.warm_up import ColdStart
from batching.models.contract import Model
from batching.options import Admission, ArrivalRecorder, FaultTolerance, check_ms
from batching.policies import BatchingPolicy, PolicyOptions, make_policy
from batching.queueing.core import BatchObserver, Core
from batching.queueing.delivery import hand_over
from batching.queueing.lanes import NEVER
from batching.request import Request
from batching.statistics import Statistics, snapshot
from batching.workers import own_threads
from batching.workers.lifecycle import Lifecycle
from batching.workers.replicas import Copies, executors_for, lane_key_of
from batching.workers.worker import Worker


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
        max_starvation_ms: once a request has waited this long, of low priority or of a shape that
            is rare, the next batch is taken from where it waits.
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
            present one is longer; None leaves it alone. See `batching.workers.switching`.
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
        check_ms("batch_timeout_ms", batch_timeout_ms, least=0.0)
        check_ms("min_wait_ms", min_wait_ms, least=0.0)
        check_ms("slo_ms", slo_ms)
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
        self._lane = self._core.waiting.default_lane
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
        self._workers = [Worker(i, self._core, faults, group) for i, group in enumerate(groups)]
        self._life = Lifecycle(
            self._core,
            self._workers,
            warm_up_budget_s=warm_up_budget_s,
            switch_interval_s=switch_interval_s,
            execute_timeout_s=faults.execute_timeout_s,
            # An executor that was handed in goes on to be its maker's.
            closes=not hasattr(run, "execute"),
        )
        self._loop: asyncio.AbstractEventLoop | None = None

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
            BatcherClosedError: it was started or stopped before, or is stopped meanwhile.
            ModelError: the model cannot be loaded.
            BatchExecutionError: the model raised while it was warmed up.
        """
        self._life.start()

    def stop(self, *, drain: bool = True) -> None:
        """Refuse new requests and return once every request has ended; for good.

        A worker that hangs is waited for only as long as its batch has not been given up
        (`execute_timeout_ms`). It may be called again, and while another thread stops.

        Args:
            drain: run what still waits; otherwise it ends as cancelled.

        Raises:
            WrongThreadError: called from one of the batcher's own threads (by the model, a
                callback or an observer), which it would have to wait for.
        """
        self._life.stop(drain=drain)

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
            BatcherClosedError: before `start`, after `stop`, or in a process forked meanwhile.
            QueueFullError: `max_queue_size` requests wait already, or no replica answers.
            ConfigError: the deadline is not a time, or the priority not an integer.
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
        if not core.open:
            core.withdraw(request)
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
                at_s = error.request.enqueued_s
                user_code.call("the recorder", recorder.record, at_s, payload)
            raise
        user_code.call("the recorder", recorder.record, request.enqueued_s, payload)
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
            BatcherClosedError: before `start`, after `stop`, or in a process forked meanwhile.
            QueueFullError: `max_queue_size` requests wait already, or no replica answers.
            ConfigError: the deadline is not a time, or the priority not an integer.
            WrongThreadError: called by the model, whose own thread would have to run it.
            WorkerDiedError: two workers died with it in hand, or none is left.
            BatchExecutionError: the model raised on it.
            ExecuteTimeoutError: the model did not return in time.
            RequestExpiredError: its deadline passed while it waited, or the policy gave it up.
            RequestCancelledError: the batcher was stopped without draining.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._meet(loop)
        request = self._enter(payload, loop, priority, deadline_ms)
        try:
            return await request.future  # type: ignore[misc]
        except asyncio.CancelledError:
            self.cancel(request)
            raise

    def _meet(self, loop: asyncio.AbstractEventLoop) -> None:
        if own_threads.is_of(self._core.holds):
            raise WrongThreadError(
                "add_request must be awaited outside the batcher's own threads, but got a call "
                "from within (the model, say), which would wait for itself"
            )
        self._loop = loop

    def cancel(self, request: Request) -> bool:
        """End a request as cancelled; its batch, if it is in one, is not disturbed.

        Whoever waits for it gets a `RequestCancelledError`.

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

        It is called in a worker thread, which waits for it: it has to be quick. What it
        raises is logged.
        """
        with self._core.guard:
            self._core.observers = [*self._core.observers, observer]

    async def __aenter__(self) -> Self:
        """Start, without blocking the event loop."""
        try:
            await asyncio.to_thread(self.start)
        except asyncio.CancelledError:  # nobody will stop what starts now
            self._life.close(drain=False)
            raise
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
        slowest = max(self._life.cold_starts, key=lambda cold: cold.total_s, default=ColdStart())
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
