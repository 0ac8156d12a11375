"""A worker: one replica of the model on one device, and the threads that feed it."""

import logging
from collections.abc import Sequence
from functools import partial
from math import inf, isnan, nan
from typing import Any

from batching import user_code
from batching.clock import Waiter
from batching.errors import (
    RequestExpiredError,
    WorkerDiedError,
    describe,
)
from batching.execution.executor import Executor
from batching.options import FaultTolerance
from batching.policies import Shed, Wait, Waiting
from batching.policies.contract import check_decision
from batching.queueing.core import Core, MakeError
from batching.queueing.delivery import hand_over
from batching.request import BatchRecord, Request
from batching.workers import own_threads
from batching.workers.recovery import Failed, recover

log = logging.getLogger("batching")

# A batch, its members, and their payloads: one that is cancelled from here on drops its own.
Taken = tuple[BatchRecord, list[Request], list[Any]]
_NOTHING_WAITS = Wait(inf, until_weight=1)
# A worker that dies this often without running a batch in between is given up.
_MAX_DEATHS = 5


class Worker:
    """One replica: its slots share the device, on which one batch runs at a time.

    Attributes:
        size_limit: the largest batch that fits its memory, as far as is known.
        warm: whether its first slot is warmed up, or has failed to be.
        held: batches its slots have in hand.
        free_since_s: since when it has held none.
    """

    def __init__(
        self, index: int, core: Core, faults: FaultTolerance, executors: Sequence[Executor]
    ) -> None:
        self.index = index
        self.core = core
        self.faults = faults
        self.size_limit = core.max_batch_size
        self.warm = False
        self.held = 0
        self.free_since_s = core.clock.now()
        self.device = DeviceTurn() if len(executors) > 1 else None
        self.slots = [
            Slot(self, index * len(executors) + i, executor) for i, executor in enumerate(executors)
        ]
        core.enrol(self.slots)

    @property
    def healthy(self) -> bool:
        """Whether it returns from its batches."""
        return self.core.healthy[self.index]

    def set_healthy(self, healthy: bool) -> None:
        """Under the guard: count it among those that serve, or not."""
        self.core.healthy[self.index] = healthy
        self.core.refresh()

    def step_back(self) -> None:
        """Under the guard: none of its slots asks any more."""
        self.set_healthy(False)
        for slot in self.slots:
            self.core.leave(slot)

    def come_back(self) -> None:
        """Under the guard: it was given up, but one of its slots has returned."""
        self.free_since_s = self.core.clock.now()
        self.set_healthy(True)
        for slot in self.slots:
            if isnan(slot.busy_since_s) and not slot.away and not slot.ended:
                self.core.become_free(slot)

    def put_down(self) -> None:
        """Under the guard: one of its slots no longer holds a batch."""
        self.held -= 1
        if not self.held:
            self.free_since_s = self.core.clock.now()


class DeviceTurn:
    """Lets one slot of a worker start a batch on the device, in the order in which they came.

    On a CPU to start it is to run it; a GPU is given the next batch while it runs the one before.
    """

    def __init__(self) -> None:
        self._queue: list[Waiter] = []

    def acquire(self, slot: "Slot") -> None:
        """Wait until the device is this slot's; `release` passes it on."""
        guard = slot.worker.core.guard
        with guard:
            self._queue.append(slot.waiter)
        while self._queue[0] is not slot.waiter:
            slot.waiter.wait(None)

    def release(self, slot: "Slot") -> None:
        """Give the device to the next in line."""
        with slot.worker.core.guard:
            self._queue.remove(slot.waiter)
            if self._queue:
                self._queue[0].wake()


class Slot:
    """One thread of a worker: asks, runs, hands back.

    A worker with two slots collates and copies the next batch while the device runs this one.

    Attributes:
        in_hand: the requests it has taken, until they have ended or were given back.
        epoch: changed when what it has in hand is taken away from it; late results are then void.
        busy_since_s: when it took the batch it holds; nan if it holds none.
        away: what it held was taken away from it, and its thread has not returned yet.
        deaths: how often it died since a batch of its last succeeded.
        ended: its thread will take no further batch.
    """

    def __init__(self, worker: Worker, index: int, executor: Executor) -> None:
        self.worker = worker
        self.index = index
        self.executor = executor
        self.waiter = worker.core.clock.waiter(index)
        self.in_hand: list[Request] = []
        self.epoch = 0
        self.busy_since_s = nan
        self.away = False
        self.deaths = 0
        self.ended = False
        self._core = worker.core

    @property
    def ahead(self) -> bool:
        """Whether another slot of its worker is still at work."""
        return self.worker.held > 0

    def serve(self) -> None:
        """Take and run batches until drained."""
        core = self._core
        with core.guard:
            self.away = False
            core.become_free(self)
        while True:
            # A poll: clears a stale wake-up, and in virtual time lets the instant's arrivals in.
            self.waiter.wait(core.clock.now())
            batch = self._next_batch()
            if batch is None:
                return
            self._run_batch(*batch)

    def _next_batch(self) -> Taken | None:
        """Wait until it is this slot's turn and the policy says go; None once drained."""
        core = self._core
        while True:
            ended: list[Request] = []
            try:
                with core.guard:
                    found = self._look(ended)
            finally:  # a policy may raise after something has ended
                if ended:
                    hand_over(ended)
            if found is None or isinstance(found, tuple):
                return found
            if ended:
                continue  # that may have been all there was to wait for
            if found > core.clock.now():
                self.waiter.wait(found if found != inf else None)

    def _look(self, ended: list[Request]) -> Taken | float | None:
        """Under the guard: what to run now, or until when to wait; None once drained.

        Fills in what has ended.
        """
        core = self._core
        if core.finished:
            core.leave(self)
            core.wake_all()
            return None
        if not core.leads(self):
            return inf
        core.disarm()
        now_s = core.clock.now()
        if core.abandoned:
            ended += core.abandon()
        ended += core.expire(now_s)
        core.waiting.release_due(now_s)
        answer = self._ask(now_s, ended)
        if not isinstance(answer, Wait):
            return answer
        until_s = min(answer.until_s, core.waiting.next_event_s())
        return until_s if core.arm(answer, until_s) else now_s

    def _ask(self, now_s: float, ended: list[Request]) -> Taken | Wait:
        """Put the question to the policy and carry out its answer."""
        core = self._core
        while True:
            queues, lanes = core.waiting.views()
            if not lanes:
                return _NOTHING_WAITS
            waiting = Waiting(
                lanes,
                self.worker.free_since_s,
                self.worker.index,
                "ahead" if self.ahead else "now",
                core.draining,
            )
            decision = core.decide(now_s, waiting)
            check_decision(decision, now_s)
            if isinstance(decision, Wait):
                return decision
            lane = queues[decision.lane]
            if isinstance(decision, Shed):
                ended += core.end_all(
                    lane.oldest(decision.count),
                    "expired",
                    lambda: RequestExpiredError("given up: too late to be answered in time"),
                )
                continue
            count = min(decision.count, self.worker.size_limit)
            return self._take(lane.take(count), decision.reason, now_s)

    def _take(self, requests: list[Request], reason: str, now_s: float) -> Taken:
        core = self._core
        record = self.record_for(requests, reason, now_s)
        core.in_hand += len(requests)
        self.in_hand = requests
        self.busy_since_s = now_s
        self.worker.held += 1
        core.leave(self)
        return record, requests, [request.payload for request in requests]

    def record_for(self, requests: list[Request], reason: str, now_s: float) -> BatchRecord:
        """Under the guard: the record of a batch about to run, noted in its requests."""
        core = self._core
        record = BatchRecord(
            batch=core.batches,
            worker=self.worker.index,
            size=len(requests),
            limit=min(core.max_batch_size, self.worker.size_limit),
            reason=reason,
            oldest_s=requests[0].enqueued_s,
            taken_s=now_s,
            free_since_s=self.worker.free_since_s,
        )
        core.batches += 1
        for request in requests:
            request.batch = record
        return record

    def _run_batch(self, record: BatchRecord, requests: list[Request], payloads: list[Any]) -> None:
        core, epoch = self._core, self.epoch
        failure = self.attempt(record, requests, payloads, epoch)
        if failure is not None:
            recover(self, record, requests, failure, epoch)
        with core.guard:
            self.in_hand = []
            self.busy_since_s = nan
            if self.epoch == epoch:
                self.worker.put_down()
                # Before the instant's other slots decide: the one that is wholly free goes first.
                core.become_free(self)
            else:
                self.away = False
                self.worker.come_back()

    def attempt(
        self, record: BatchRecord, requests: list[Request], payloads: list[Any], epoch: int
    ) -> Failed | None:
        """Run one batch and hand its results back; the failure, if it raised."""
        core = self._core
        try:
            results = self._execute(record, payloads)
        except BaseException as error:  # noqa: BLE001 - nothing a model raises may end the worker
            if self.epoch != epoch:
                return None  # given up meanwhile: nobody waits for its failure
            record.ok = False
            if isnan(record.completed_s):
                record.completed_s = core.clock.now()
            self._finish(record, requests)
            failed = Failed(error, self.worker.faults.is_transient(error))
            if failed.out_of_memory:
                failed.let_go()
            return failed
        with core.guard:
            if self.epoch != epoch:
                return None  # given up meanwhile: the results are void
            done = 0
            for request, value in zip(requests, results, strict=True):
                if request.status == "pending":
                    request.value = value
                    request.payload = None
                    request.status = "ok"
                    done += 1
            core.ended["ok"] += done
            core.in_hand -= done
            core.retry_budget.earn(done)
            core.note_batch(record)
            self.deaths = 0
        hand_over(requests)
        self._finish(record, requests)
        return None

    def _execute(self, record: BatchRecord, payloads: list[Any]) -> Sequence[Any]:
        executor, now, turn = self.executor, self._core.clock.now, self.worker.device
        staged = executor.stage(payloads, record)
        record.staged_s = now()
        if turn is not None:
            turn.acquire(self)
        try:
            record.started_s = record.staged_s if turn is None else now()
            running = executor.launch(staged, record)
        finally:
            if turn is not None:
                turn.release(self)
        # By the record: a function may have emptied the list of payloads.
        return executor.split(executor.finish(running, record), record.size)

    def _finish(self, record: BatchRecord, requests: Sequence[Request]) -> None:
        core = self._core
        record.delivered_s = record.freed_s = core.clock.now()
        with core.guard:
            user_code.call("the policy's observe", core.policy.observe, record.feedback())
        if core.observers:
            user_code.call_each(
                f"the observer of batch {record.batch}", core.observers, record, requests
            )

    # Death and absence.

    def run_until_drained(self) -> None:
        """Serve; whatever ends the loop early counts as a death, after which it starts anew."""
        own_threads.enter(self._core.holds)
        while not self.ended:
            try:
                self.serve()
                self.ended = True
            except BaseException as error:  # noqa: BLE001 - a dead worker is replaced
                self.ended = not self._rise(error)
        own_threads.leave()
        with self._core.guard:
            self._core.wake_all()

    def _rise(self, error: BaseException) -> bool:
        """Put what was in hand back, once; False if this worker dies too often to go on."""
        core, why = self._core, describe(error)
        log.warning("worker %d died and is replaced: %s", self.worker.index, why)
        with core.guard:
            self.deaths += 1
            hopeless = self.deaths >= _MAX_DEATHS
            if hopeless:
                self.worker.set_healthy(False)
                core.leave(self)
            ended = self.give_back(partial(WorkerDiedError, f"the worker died: {why}"))
            ended += self._if_none_is_healthy()
        hand_over(ended)
        return not hopeless

    def give_back(self, make_error: MakeError) -> list[Request]:
        """Under the guard: return what is in hand to its lanes, or end what had its chance."""
        core = self._core
        ended: list[Request] = []
        for request in self.in_hand:
            if request.status != "pending":
                continue
            extra = request.more()
            extra.crashes += 1
            extra.attempts += 1
            if isnan(extra.first_failed_s):
                extra.first_failed_s = core.clock.now()
            if extra.crashes > 1 or not any(core.healthy):
                ended += core.end_all([request], "failed", make_error)
            else:
                core.delay(request, core.clock.now())
        if not isnan(self.busy_since_s):
            self.worker.put_down()
        self.in_hand = []
        self.busy_since_s = nan
        self.epoch += 1
        return ended

    def give_up(self, make_error: MakeError) -> list[Request]:
        """Under the guard: its thread does not return; what it holds is taken away from it."""
        self.worker.step_back()
        self.away = True
        return self.give_back(make_error) + self._if_none_is_healthy()

    def _if_none_is_healthy(self) -> list[Request]:
        core = self._core
        if any(core.healthy):
            return []
        ended = core.end_all(core.waiting, "failed", partial(WorkerDiedError, "no replica answers"))
        core.waiting.clear()  # nobody will look through the lanes again
        return ended
