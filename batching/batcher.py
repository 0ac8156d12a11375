"""The dynamic batcher: many callers, one model, batches in between."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Self

from batching.clock import Clock, RealClock
from batching.core import BatchObserver, Core
from batching.devices import resolve_placement
from batching.errors import (
    BatcherClosedError,
    BatchExecutionError,
    BatchingError,
    ConfigError,
)
from batching.execution import Executor, make_executor
from batching.models.contract import Model
from batching.policies import BatchingPolicy, make_policy
from batching.request import Request
from batching.worker import ColdStart, Worker


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot: submitted = ok + expired + failed + cancelled + queue_depth + in_flight."""

    submitted: int
    ok: int
    expired: int
    failed: int
    cancelled: int
    queue_depth: int
    in_flight: int
    batches: int


class DynamicBatcher:
    """Gathers requests that arrive one by one and runs them through a model in batches.

    A worker thread takes the batch when it is free and the policy says go, so a batch goes on
    growing while the one before it runs, and the callers' event loop is never blocked.

        async with DynamicBatcher(model, max_batch_size=32, batch_timeout_ms=2) as batcher:
            result = await batcher.add_request(payload)

    Args:
        run: a `batching.Model`, a function that takes a list of payloads and returns as many
            results in the same order, or an `Executor` made before.
        max_batch_size: most requests in a batch.
        batch_timeout_ms: longest a request is held for company while the worker is free, in ms.
        policy: a name of `batching.POLICIES`, or a policy object, whose own limits then count.
        device: "auto", "cpu" or "cuda[:i]".
        dtype: "fp32", "fp16" or "bf16", for torch models.
        warm_up_budget_s: time for running every batch size once before the first request;
            0 skips it.
        observer: called in the worker thread with every finished batch and its requests.
        clock: the time everything is measured on.

    Raises:
        ConfigError: an argument is out of its range.
        DeviceError: no such device here.
    """

    def __init__(
        self,
        run: Model | Executor | Callable[[list[Any]], Sequence[Any]],
        *,
        max_batch_size: int = 32,
        batch_timeout_ms: float = 10.0,
        policy: str | BatchingPolicy = "timeout",
        device: str = "auto",
        dtype: str = "fp32",
        warm_up_budget_s: float = 20.0,
        observer: BatchObserver | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_limits(max_batch_size, batch_timeout_ms)
        self._clock: Clock = clock or RealClock()
        if isinstance(policy, str):
            policy = make_policy(policy, max_batch_size, batch_timeout_ms / 1e3)
        self._core = Core(
            clock=self._clock,
            policy=policy,
            max_batch_size=max_batch_size,
            waiter=self._clock.waiter(),
            observer=observer,
        )
        self._executor = self._executor_for(run, device, dtype)
        self._worker = Worker(0, self._core, self._executor)
        self._warm_up_budget_s = warm_up_budget_s
        self._thread: Any = None

    def start(self) -> None:
        """Load and warm up the model, then accept requests; blocks until ready.

        Raises:
            BatcherClosedError: it was started before.
            ModelError: the model cannot be loaded.
            BatchExecutionError: the model raised while it was warmed up.
        """
        if self._thread is not None:
            raise BatcherClosedError("a batcher is started once, but this one was started before")
        ready = self._clock.waiter()
        failure: list[BaseException] = []

        def serve() -> None:
            try:
                self._worker.prepare(self._warm_up_budget_s)
                self._core.accepting = True
            except BaseException as error:  # noqa: BLE001 - carried into the starting thread
                failure.append(error)
                return
            finally:
                ready.wake()
            self._worker.run()

        self._thread = self._clock.spawn(serve, name="dynbatch-worker-0")
        ready.wait(None)
        if failure:
            error = failure[0]
            if isinstance(error, (BatchingError, KeyboardInterrupt)):
                raise error
            raise BatchExecutionError(
                f"{self._executor.model.name} raised while it was warmed up: "
                f"{type(error).__name__}: {error}"
            ) from error

    def stop(self, *, drain: bool = True) -> None:
        """Refuse new requests and return once every request has ended.

        Args:
            drain: run what still waits; otherwise it ends as cancelled.
        """
        self._core.accepting = False
        self._core.abandoned = not drain
        self._core.draining = True
        self._core.waiter.wake()
        if self._thread is not None:
            self._clock.join(self._thread)

    def submit(self, payload: Any, loop: asyncio.AbstractEventLoop | None = None) -> Request:
        """Enqueue one request and return its future; the cheap way in, from any thread.

        Args:
            payload: what the model's `collate` takes one of.
            loop: give the request an asyncio future too, `request.future`, resolved in this loop.

        Raises:
            BatcherClosedError: before `start` or after `stop`.
        """
        core = self._core
        queue = core.queue
        future = None if loop is None else loop.create_future()
        request = Request(payload, core.clock.now(), loop, future)
        queue.append(request)
        if len(queue) >= core.wake_at:
            # One wake-up is enough: the worker says anew when it next wants one.
            core.wake_at = inf
            core.waiter.wake()
        # Asked after the append: a request that saw it open is in the queue that stop() drains.
        if not core.accepting:
            self._withdraw(request)
        return request

    async def add_request(self, payload: Any) -> Any:
        """Enqueue one request and await its result.

        Raises:
            BatcherClosedError: before `start` or after `stop`.
            BatchExecutionError: the model raised on its batch.
            RequestExpiredError: the policy gave it up.
            RequestCancelledError: the batcher was stopped without draining.
        """
        return await self.submit(payload, asyncio.get_running_loop()).future  # type: ignore[misc]

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
        """What starting took."""
        return self._worker.cold_start

    def statistics(self) -> Statistics:
        """Counts as they stand; not one atomic picture while requests come and go."""
        core = self._core
        ended = dict(core.ended)
        taken = core.taken
        waiting = len(core.queue)
        return Statistics(
            submitted=taken + waiting,
            ok=ended["ok"],
            expired=ended["expired"],
            failed=ended["failed"],
            cancelled=ended["cancelled"],
            queue_depth=waiting,
            in_flight=max(0, taken - sum(ended.values())),
            batches=core.batches,
        )

    def _withdraw(self, request: Request) -> None:
        with self._core.guard:
            try:
                self._core.queue.remove(request)
            except ValueError:
                return  # the last drain has taken it, so it will be answered
        raise BatcherClosedError("the batcher accepts requests between start and stop only")

    def _executor_for(self, run: Any, device: str, dtype: str) -> Executor:
        if hasattr(run, "execute"):
            return run  # type: ignore[no-any-return]
        if getattr(run, "uses_torch", False):
            return make_executor(run, resolve_placement(device, dtype), self._clock)
        return make_executor(run, resolve_placement("cpu", dtype), self._clock)


def check_limits(max_batch_size: int, batch_timeout_ms: float) -> None:
    """Check the two knobs every policy has.

    Raises:
        ConfigError: one is out of its range.
    """
    if max_batch_size < 1:
        raise ConfigError(f"max_batch_size must be >= 1, but got {max_batch_size}")
    if not (math.isfinite(batch_timeout_ms) and batch_timeout_ms >= 0):
        raise ConfigError(f"batch_timeout_ms must be >= 0, but got {batch_timeout_ms:g}")
