"""The batcher's rules on a clock that jumps: one step a batch, not one a request.

It asks the very policies of the live batcher, at the very instants at which that asks them, and
`tests/bench/simulation/test_engine.py` holds the two together: on the virtual clock, with a model
that takes an exact time, they form the same batches of the same members at the same times.

At one instant the order is: batches that end, then all arrivals, then workers with a decision to
make, by index. Of the workers that are idle one asks, the lead: one that is wholly free before one
that still runs a batch, then the lowest index. It asks when it becomes the lead, and again when
the wait that the policy answered is over, when a deadline passes, and once no further request will
come.

Requests of a trace are all of one lane and one priority and are let in by the same rules, so those
that wait are always the latest of those that were let in: the queue is two numbers, and the whole
state of it does not grow with the load.
"""

import heapq
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np

from batching.policies import BatchingPolicy, Lane, Shed, Wait, Waiting
from batching.policies.contract import Decision, FinishedBatch, check_decision
from bench.profiling.service_times import Overheads, Service
from bench.simulation import compiled
from bench.simulation.record import Simulation

Floats = np.ndarray[Any, np.dtype[np.float64]]
_NOTHING_WAITS = Wait(inf, until_weight=1)


def simulate(
    arrival_s: "Sequence[float] | Floats",
    policy: BatchingPolicy,
    service: Service,
    *,
    replicas: int = 1,
    in_flight: int = 1,
    max_queue_size: int | None = None,
    deadline_s: float | None = None,
    overheads: Overheads | None = None,
) -> Simulation:
    """Serve a trace to its last request.

    The policies `timeout` and `window` are served by compiled code once it pays; equal inputs give
    equal results, to the last bit, by either.

    Args:
        arrival_s: when requests arrive, `[N]`, non-decreasing.
        policy: a fresh one; it learns from the batches as it would live.
        service: batch times.
        replicas: workers that share the queue.
        in_flight: batches a worker may hold, 1 or 2.
        max_queue_size: most requests that may wait; None: no limit.
        deadline_s: how long a request may wait before it expires; None: for ever.
        overheads: what the batcher's threads lose around a batch; None: nothing.
    """
    overheads = overheads or Overheads()
    limits = compiled.Limits(replicas, in_flight, max_queue_size, deadline_s)
    case = compiled.case_of(policy, service, overheads)
    if case is not None and compiled.pays(len(arrival_s)):
        return compiled.serve(np.asarray(arrival_s, dtype=np.float64), case, limits)
    return simulate_plainly(arrival_s, policy, service, limits, overheads)


def simulate_plainly(
    arrival_s: "Sequence[float] | Floats",
    policy: BatchingPolicy,
    service: Service,
    limits: compiled.Limits,
    overheads: Overheads,
) -> Simulation:
    """The same by the engine that takes any policy, the reference of the other."""
    times_s = arrival_s.tolist() if isinstance(arrival_s, np.ndarray) else arrival_s
    engine = _Engine(times_s, policy, service, replicas=limits.replicas, in_flight=limits.in_flight)
    engine.overheads = overheads
    if limits.max_queue_size is not None:
        engine.limit_queue(limits.max_queue_size)
    if limits.deadline_s is not None:
        engine.deadline_s = limits.deadline_s
    engine.run()
    return engine.done


class _Engine:
    """One run.

    `head` and `tail` delimit those that wait, counted among the accepted; `next` is the first
    arrival that has not come yet. Slots are the places for batches, `in_flight` of them a worker.
    """

    def __init__(
        self,
        arrival_s: Sequence[float],
        policy: BatchingPolicy,
        service: Service,
        *,
        replicas: int,
        in_flight: int,
    ) -> None:
        self.done = Simulation()
        self.overheads = Overheads()
        self.deadline_s = inf
        self._arrival_s = arrival_s
        self._waiting_s: Sequence[float] = arrival_s
        self._policy = policy
        self._service = service
        self._in_flight = in_flight
        self._queue_limit: int | None = None
        self._head = self._tail = self._next = 0
        self._draining = False
        self._held = [0] * replicas
        self._free_since_s = [0.0] * replicas
        self._device_free_s = [0.0] * replicas
        self._idle = list(range(replicas * in_flight))
        self._lead = 0 if self._idle else -1
        self._lead_ahead = False
        self._due_s = 0.0 if len(arrival_s) else inf
        self._running: list[tuple[float, float, int, int]] = []
        self._to_decide: list[int] = []
        self._lane = Lane(0, 0, 0.0)
        self._question = Waiting([self._lane], 0.0)

    def limit_queue(self, max_queue_size: int) -> None:
        """Let at most that many wait; from here on the accepted are no longer all."""
        self._queue_limit = max_queue_size
        self.done.accepted = array("q")
        self._waiting_s = array("d")

    def run(self) -> None:
        """Go from instant to instant until nothing is left to happen."""
        running, arrival_s = self._running, self._arrival_s
        if not len(arrival_s):
            return
        last_s = arrival_s[-1]
        while True:
            now_s = min(running[0][0], self._due_s) if running else self._due_s
            if not self._draining and last_s <= now_s:
                now_s = last_s
                self._draining = True
                if self._lead >= 0:
                    self._to_decide.append(self._lead)
            if now_s == inf:
                return
            if running and running[0][0] <= now_s:
                self._free_all(now_s)
            self._arrive(now_s)
            if self._due_s <= now_s and self._lead >= 0:
                heapq.heappush(self._to_decide, self._lead)
            while self._to_decide:
                self._decide(heapq.heappop(self._to_decide), now_s)

    def _free_all(self, now_s: float) -> None:
        """All that has ended by now has; only then is it known who is wholly free."""
        running = self._running
        while running and running[0][0] <= now_s:
            self._free(now_s)
        self._elect(-1)

    def _free(self, now_s: float) -> None:
        """The batch that ends first has ended."""
        _, _, slot, batch = heapq.heappop(self._running)
        worker, done = slot // self._in_flight, self.done
        self._policy.observe(
            FinishedBatch(
                worker,
                done.size[batch],
                done.size[batch],
                done.oldest_s[batch],
                done.taken_s[batch],
                done.completed_s[batch],
                ok=True,
            )
        )
        self._held[worker] -= 1
        if not self._held[worker]:
            self._free_since_s[worker] = now_s
        self._idle.append(slot)

    def _arrive(self, now_s: float) -> None:
        """Let in all that have come by now."""
        first = self._next
        stop = self._next = bisect_right(self._arrival_s, now_s, first)
        if self._queue_limit is None:
            self._tail = stop
            return
        if stop == first:
            return
        accepted = min(stop, first + max(0, self._queue_limit - (self._tail - self._head)))
        if accepted < stop:
            self.done.rejected.append((accepted, stop))
        self.done.accepted.extend(range(first, accepted))  # type: ignore[union-attr]
        self._waiting_s.extend(self._arrival_s[first:accepted])  # type: ignore[attr-defined]
        self._tail += accepted - first

    # Who asks.

    def _elect(self, caller: int) -> None:
        idle = self._idle
        if not idle:
            lead, ahead = -1, False
        elif self._in_flight == 1:
            lead, ahead = min(idle), False
        else:
            lead = min(idle, key=lambda slot: (self._held[slot // 2] > 0, slot))
            ahead = self._held[lead // 2] > 0
        if lead == self._lead and ahead == self._lead_ahead:
            return
        self._lead, self._lead_ahead = lead, ahead
        self._due_s = inf
        if lead >= 0 and lead != caller:
            heapq.heappush(self._to_decide, lead)

    def _decide(self, slot: int, now_s: float) -> None:
        """A slot that became free or was woken looks what there is to do."""
        if self._lead != slot:
            return  # woken for two reasons, and the first made it take a batch
        self._due_s = inf
        self._expire(now_s)
        worker = slot // self._in_flight
        while True:
            answer = self._ask(worker, now_s)
            if isinstance(answer, Wait):
                self._due_s = self._due(answer)
                return
            if isinstance(answer, Shed):
                self.done.expired.append((self._head, self._head + answer.count, now_s))
                self._head += answer.count
                continue
            self._take(slot, answer.count, answer.reason, now_s)
            self._idle.remove(slot)
            self._elect(slot)
            return

    def _ask(self, worker: int, now_s: float) -> Decision:
        count = self._tail - self._head
        if not count:
            return _NOTHING_WAITS
        lane, question = self._lane, self._question
        lane.count = lane.weight = count
        lane.oldest_s = oldest_s = self._waiting_s[self._head]
        lane.earliest_deadline_s = oldest_s + self.deadline_s
        question.free_since_s = self._free_since_s[worker]
        question.worker = worker
        question.slot = "ahead" if self._held[worker] else "now"
        question.draining = self._draining
        answer = self._policy.decide(now_s, question)
        check_decision(answer, now_s)
        return answer

    def _due(self, answer: Wait) -> float:
        """When the wait that the policy answered is over, and the slept-in thread has seen it."""
        until_s, head = answer.until_s, self._head
        if head < self._tail and (next_s := self._waiting_s[head] + self.deadline_s) < until_s:
            until_s = next_s
        missing = answer.until_weight - (self._tail - head)
        limit = self._queue_limit
        if limit is not None and answer.until_weight > limit:
            missing = inf
        index = self._next + missing - 1
        arrives_s = self._arrival_s[int(index)] if index < len(self._arrival_s) else inf
        if arrives_s <= until_s:
            return arrives_s + self.overheads.wake_s()
        return until_s + self.overheads.timer_s()

    def _expire(self, now_s: float) -> None:
        """End those whose deadline has passed; deadlines come in the order of arrival."""
        if self.deadline_s == inf:
            return
        head = first = self._head
        waiting_s, tail, deadline_s = self._waiting_s, self._tail, self.deadline_s
        while head < tail and waiting_s[head] + deadline_s <= now_s:
            head += 1
        if head > first:
            self.done.expired.append((first, head, now_s))
            self._head = head

    def _take(self, slot: int, count: int, reason: str, now_s: float) -> None:
        """Run the oldest `count`; all times of the batch are known at once."""
        done, worker = self.done, slot // self._in_flight
        collate_s, execute_s, deliver_s = self._service.next(count)
        staged_s = now_s + collate_s
        started_s = max(staged_s, self._device_free_s[worker])
        completed_s = self._device_free_s[worker] = started_s + execute_s
        delivered_s = completed_s + deliver_s
        freed_s = delivered_s + self.overheads.gap_s()
        batch = len(done.size)
        done.worker.append(worker)
        done.size.append(count)
        done.first.append(self._head)
        done.reason.append(reason)
        done.oldest_s.append(self._waiting_s[self._head])
        done.taken_s.append(now_s)
        done.staged_s.append(staged_s)
        done.started_s.append(started_s)
        done.completed_s.append(completed_s)
        done.delivered_s.append(delivered_s)
        done.freed_s.append(freed_s)
        self._head += count
        self._held[worker] += 1
        heapq.heappush(self._running, (freed_s, started_s, slot, batch))
