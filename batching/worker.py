"""The worker: a thread that waits for requests, asks the policy, runs the batch, hands it back."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import Any, Literal

import numpy as np

from batching.core import Core
from batching.delivery import hand_over
from batching.errors import BatchExecutionError, RequestCancelledError, RequestExpiredError
from batching.execution import Executor
from batching.policies import Dispatch, FinishedBatch, Lane, Shed, Wait, Waiting
from batching.request import BatchRecord, Request

Taken = tuple[BatchRecord, list[Request]]

_NOTHING_WAITS = Wait(inf, until_weight=1)

Unrun = Literal["cancelled", "expired"]
_UNRUN_ERRORS = {"cancelled": RequestCancelledError, "expired": RequestExpiredError}


@dataclass(slots=True)
class ColdStart:
    """What it took before the first request could be served well; seconds, nan if not done.

    Attributes:
        load_s: building the model and moving it to the device.
        first_request_s: the first execution of all: what a request would have met.
        warm_up_s: running every batch size once.
        sizes: the batch sizes that were run.
    """

    load_s: float = nan
    first_request_s: float = nan
    warm_up_s: float = nan
    sizes: tuple[int, ...] = ()


class Worker:
    """Runs batches until it is told to drain and nothing is left."""

    def __init__(self, index: int, core: Core, executor: Executor) -> None:
        self.index = index
        self.cold_start = ColdStart()
        self._core = core
        self._executor = executor
        self._free_since_s = core.clock.now()

    def prepare(self, warm_up_budget_s: float) -> None:
        """Load the model and run every batch size once, within a budget of time.

        The order is 1, the largest, then powers of two, then the rest, so that a slow model that
        exhausts the budget has met the sizes that matter.
        """
        now, cold, executor = self._core.clock.now, self.cold_start, self._executor
        executor.prepare()
        cold.load_s = executor.load_s
        if warm_up_budget_s <= 0.0:
            return
        try:
            payload = executor.model.make_input(np.random.default_rng(0))
        except NotImplementedError:
            return  # a plain function: only its callers know what an input looks like
        began_s = now()
        done: list[int] = []
        for size in warm_up_order(self._core.max_batch_size):
            if now() - began_s > warm_up_budget_s:
                break
            executor.execute([payload] * size, BatchRecord(size=size))
            done.append(size)
        cold.first_request_s = executor.first_execution_s
        cold.warm_up_s = now() - began_s
        cold.sizes = tuple(sorted(done))

    def run(self) -> None:
        """Take and run batches until drained."""
        core = self._core
        while True:
            self._free_since_s = core.clock.now()
            # A poll: clears a stale wake-up, and in virtual time lets the instant's arrivals in.
            core.waiter.wait(self._free_since_s)
            batch = self._next_batch()
            if batch is None:
                return
            self._run_batch(*batch)

    def _next_batch(self) -> Taken | None:
        """Wait until the policy says go and take that batch; None once drained."""
        core = self._core
        while True:
            if core.abandoned:
                with core.guard:
                    rest = self._pop(len(core.queue))
                self._end_unrun(rest, "cancelled", "the batcher was stopped before it ran this")
            with core.guard:
                answer = self._ask() if core.queue else _NOTHING_WAITS
            if isinstance(answer, tuple):
                return answer
            if isinstance(answer, list):
                self._end_unrun(answer, "expired", "the policy gave it up: it could not be in time")
                continue
            if core.draining and answer is _NOTHING_WAITS:
                return None
            core.wake_at = answer.until_weight
            if len(core.queue) < answer.until_weight and not core.draining:
                core.waiter.wait(answer.until_s if answer.until_s != inf else None)
            core.wake_at = inf

    def _ask(self) -> Taken | list[Request] | Wait:
        """Put the question to the policy: a batch to run, requests to give up, or a wait."""
        core = self._core
        now_s = core.clock.now()
        count = len(core.queue)
        lane = Lane(count, count, core.queue[0].enqueued_s)
        waiting = Waiting((lane,), self._free_since_s, self.index, draining=core.draining)
        decision = core.policy.decide(now_s, waiting)
        if isinstance(decision, Dispatch):
            return self._take(decision, now_s)
        if isinstance(decision, Shed):
            return self._pop(decision.count)
        return decision

    def _pop(self, count: int) -> list[Request]:
        popleft = self._core.queue.popleft
        self._core.taken += count
        return [popleft() for _ in range(count)]

    def _take(self, decision: Dispatch, now_s: float) -> Taken:
        core = self._core
        requests = self._pop(decision.count)
        record = BatchRecord(
            batch=core.batches,
            worker=self.index,
            size=len(requests),
            limit=core.max_batch_size,
            reason=decision.reason,
            oldest_s=requests[0].enqueued_s,
            taken_s=now_s,
        )
        core.batches += 1
        return record, requests

    def _run_batch(self, record: BatchRecord, requests: list[Request]) -> None:
        core = self._core
        try:
            results = self._executor.execute([r.payload for r in requests], record)
            if len(results) != len(requests):
                raise TypeError(  # noqa: TRY301 - the model broke its contract: a failed batch
                    f"the model must return {len(requests)} results, but got {len(results)}"
                )
        except BaseException as error:  # noqa: BLE001 - nothing a model raises may end the worker
            record.ok = False
            if record.completed_s != record.completed_s:  # nan: it never got that far
                record.completed_s = core.clock.now()
            self._end_failed(requests, record, error)
        else:
            for request, value in zip(requests, results, strict=True):
                request.batch = record
                request.attempts += 1
                request.value = value
                request.payload = None
                request.status = "ok"
            core.ended["ok"] += len(requests)
        hand_over(requests)
        record.delivered_s = record.freed_s = core.clock.now()
        core.policy.observe(
            FinishedBatch(
                worker=self.index,
                size=record.size,
                weight=record.weight,
                oldest_s=record.oldest_s,
                taken_s=record.taken_s,
                completed_s=record.completed_s,
                ok=record.ok,
            )
        )
        if core.observer is not None:
            core.observer(record, requests)

    def _end_failed(
        self, requests: Sequence[Request], record: BatchRecord, error: BaseException
    ) -> None:
        for request in requests:
            failure = BatchExecutionError(
                f"the model raised on a batch of {len(requests)}: {type(error).__name__}: {error}"
            )
            failure.__cause__ = error
            request.batch = record
            request.attempts += 1
            request.value = failure
            request.payload = None
            request.status = "failed"
        self._core.ended["failed"] += len(requests)

    def _end_unrun(self, requests: Sequence[Request], status: Unrun, why: str) -> None:
        now_s = self._core.clock.now()
        for request in requests:
            request.value = _UNRUN_ERRORS[status](why)
            request.payload = None
            request.ended_s = now_s
            request.status = status
        self._core.ended[status] += len(requests)
        hand_over(requests)


def warm_up_order(max_batch_size: int) -> list[Any]:
    """Every batch size once: 1, the largest, the powers of two, then the rest."""
    powers = [2**i for i in range(1, max_batch_size.bit_length())]
    return list(dict.fromkeys([1, max_batch_size, *powers, *range(1, max_batch_size + 1)]))
