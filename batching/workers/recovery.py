"""After a batch has raised: run it again in the way that saves most of its requests."""

import logging
import traceback
from dataclasses import dataclass
from math import ceil, isnan, log2
from typing import Any, Protocol

from batching.errors import BatchExecutionError, WrongOutputCountError, describe
from batching.execution.memory_errors import is_out_of_memory
from batching.options import FaultTolerance
from batching.queueing.core import Core
from batching.queueing.delivery import hand_over
from batching.request import BatchRecord, Request

log = logging.getLogger("batching")


class Owner(Protocol):
    """The worker that a slot belongs to."""

    core: Core
    faults: FaultTolerance
    index: int
    size_limit: int


class Runner(Protocol):
    """What runs a smaller batch again: a worker's slot."""

    epoch: int

    @property
    def worker(self) -> Owner:
        """Whose it is."""

    def record_for(self, requests: list[Request], reason: str, now_s: float) -> BatchRecord:
        """Under the guard: the record of a batch about to run."""

    def attempt(
        self, record: BatchRecord, requests: list[Request], payloads: list[Any], epoch: int
    ) -> "Failed | None":
        """Run it and hand its results back; the failure, if it raised."""


@dataclass(frozen=True, slots=True)
class Failed:
    """What a batch raised, and whether running it again may help."""

    error: BaseException
    transient: bool

    @property
    def hopeless(self) -> bool:
        """Whether the model itself is broken, so that no smaller batch would do better."""
        return isinstance(self.error, WrongOutputCountError)

    @property
    def out_of_memory(self) -> bool:
        """Whether the device, or the host, ran out of memory."""
        return is_out_of_memory(self.error)

    def let_go(self) -> None:
        """Empty the frames it was raised through: they hold the batch, and what was made of it.

        A smaller batch would otherwise have to do with the memory beside the one that failed.
        """
        error: BaseException | None = self.error
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error = error.__context__ if error.__cause__ is None else error.__cause__


def most_extra_executions(size: int) -> int:
    """How many further executions a failed batch of that size may cost.

    One culprit among n takes at most 2 ceil(log2 n): two halves at each level. Twice that, and a
    few, finds two or three of them; a model that fails on everything is not run n times more.
    """
    return 4 * ceil(log2(size)) + 2 if size > 1 else 0


def recover(
    slot: Runner, record: BatchRecord, requests: list[Request], failure: Failed, epoch: int
) -> None:
    """See every request of a failed batch through: retried, run in a smaller batch, or failed.

    Args:
        slot: who ran it, and runs what is run again now.
        record: the batch.
        requests: its members.
        failure: what it raised.
        epoch: the slot's epoch when it took the batch; if it has changed, nothing is left to do.
    """
    core = slot.worker.core
    budget = most_extra_executions(len(requests))
    groups = [(record, requests, failure)]
    while groups:
        record, group, failed = groups.pop()
        ended: list[Request] = []
        with core.guard:
            if slot.epoch != epoch:
                return
            group = [request for request in group if request.status == "pending"]
            _note_failure(group, record.completed_s)
            halves = _next_step(slot, group, failed, budget, ended)
        hand_over(ended)
        for half in halves:
            budget -= 1
            with core.guard:
                if slot.epoch != epoch:
                    return
                half = [request for request in half if request.status == "pending"]  # noqa: PLW2901
                if not half:
                    continue
                record = slot.record_for(half, "isolate", core.clock.now())
                payloads = [request.payload for request in half]
            again = slot.attempt(record, half, payloads, epoch)
            if again is not None:
                groups.append((record, half, again))


def _next_step(
    slot: Runner, group: list[Request], failed: Failed, budget: int, ended: list[Request]
) -> list[list[Request]]:
    """Under the guard: halves to run at once; what is to be retried or has failed is settled."""
    faults = slot.worker.faults
    if not group:
        return []
    middle = len(group) // 2
    if failed.out_of_memory and middle:
        if middle < slot.worker.size_limit:
            log.warning(
                "worker %d ran out of memory at batch size %d: its limit is now %d",
                slot.worker.index,
                len(group),
                middle,
            )
            slot.worker.size_limit = middle
        return [group[:middle], group[middle:]]
    if failed.transient and not failed.out_of_memory:
        group = [request for request in group if not _retried(slot, request)]
        _fail(slot, group, failed, ended)
        return []
    if faults.isolate and middle and budget >= 2 and not failed.hopeless:
        return [group[:middle], group[middle:]]
    _fail(slot, group, failed, ended)
    return []


def _retried(slot: Runner, request: Request) -> bool:
    core, faults = slot.worker.core, slot.worker.faults
    failures = request.more().attempts
    if failures > faults.max_retries or not core.retry_budget.spend():
        return False
    backoff_s = faults.retry_backoff_ms / 1e3 * 2 ** (failures - 1)
    core.delay(request, core.clock.now() + backoff_s)
    return True


def _fail(slot: Runner, group: list[Request], failed: Failed, ended: list[Request]) -> None:
    for request in group:
        error = BatchExecutionError(f"the model raised: {describe(failed.error)}")
        error.__cause__ = failed.error
        slot.worker.core.end(request, "failed", error)
    ended += group


def _note_failure(group: list[Request], at_s: float) -> None:
    for request in group:
        extra = request.more()
        extra.attempts += 1
        if isnan(extra.first_failed_s):
            extra.first_failed_s = at_s
