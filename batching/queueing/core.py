"""What callers and workers share: who waits, who is free, what has ended. Kept bare: it is hot.

Adding a request to the default lane takes no lock: `deque.append` is atomic, and the order
"append, then read `wake_at`" on one side, "write `wake_at`, then read the length" on the other,
makes it impossible for both to miss each other. A needless wake-up is possible and harmless.
Likewise "append, then read `open`" and "close, then end what waits": whoever comes late sees that
it is closed. Everything else happens under `guard`, which a worker takes twice a batch; in
particular every request ends under it, which is why it ends once.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from math import inf, isnan
from typing import Any, Protocol

from batching.clock import Clock, Waiter
from batching.errors import (
    BatcherClosedError,
    QueueFullError,
    RequestCancelledError,
    RequestError,
    RequestExpiredError,
)
from batching.options import Admission, RetryBudget, check_count, check_ms
from batching.policies import BatchingPolicy, Dispatch, Lane, Wait, Waiting
from batching.policies.contract import Decision
from batching.queueing.lanes import NEVER, LaneQueue
from batching.queueing.waiting import WaitingRequests
from batching.request import BatchRecord, Request, Status

BatchObserver = Callable[[BatchRecord, Sequence[Request]], None]
MakeError = Callable[[], RequestError]

# The rate behind `retry_after_s` is taken over this many of the latest batches.
_RECENT_BATCHES = 32


class Asker(Protocol):
    """A slot that is free and may ask the policy."""

    index: int
    waiter: Waiter
    in_hand: list[Request]

    @property
    def ahead(self) -> bool:
        """Whether its worker is still running another batch."""
        ...


class Core:
    """Waiting, free and ended; see the module's docstring for who may touch what.

    Attributes:
        accepting: between start and stop.
        open: accepting, and somebody serves.
        draining: nothing further is let in, and workers end once all has ended.
        abandoned: what waits is ended, not run.
        healthy: of each worker, whether it returns from its batches.
        in_hand: requests that workers have taken and that have not ended.
    """

    def __init__(
        self,
        clock: Clock,
        policy: BatchingPolicy,
        *,
        max_batch_size: int,
        admission: Admission,
        retry_share: float,
        lane_key: Callable[[Any], Hashable] | None,
        observer: BatchObserver | None,
    ) -> None:
        self.clock = clock
        self.policy = policy
        self.max_batch_size = max_batch_size
        self.admission = admission
        self.lane_key = lane_key
        self.observers: list[BatchObserver] = [] if observer is None else [observer]
        # It can be taken again by the thread that has it: a policy is asked under it, and a
        # payload's or a result's last reference may go there, and what either does is a user's.
        self.guard = threading.RLock()
        self.waiting = WaitingRequests()
        self.retry_budget = RetryBudget(retry_share)
        self.accepting = False
        self.open = False
        self.draining = False
        self.abandoned = False
        self.closed_because = "the batcher accepts requests between start and stop only"
        self.healthy: list[bool] = []
        self.stoppers: list[Waiter] = []
        self.in_hand = 0
        self.batches = 0
        self.ended: dict[str, int] = dict.fromkeys(
            ("ok", "rejected", "expired", "failed", "cancelled"), 0
        )
        self.lead_waiter: Waiter = clock.waiter()
        self._lead: Asker | None = None
        self._lead_ahead = False
        self._idle: list[Asker] = []
        self._all: list[Asker] = []
        self._armed_weight = NEVER
        self._armed_priority = 0
        self._armed_until_s = -inf
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT_BATCHES)
        self.plain = False

    # Admission: any thread.

    def refresh(self) -> None:
        """Decide anew who is let in, and who without a lock: those without wishes of their own."""
        serving = any(self.healthy)
        self.open = self.accepting and serving
        self.plain = (
            self.admission.max_queue_size is None
            and self.admission.deadline_ms is None
            and self.lane_key is None
            and serving
        )

    def admit(self, request: Request, priority: int, deadline_ms: float | None) -> LaneQueue:
        """Put a request in its lane, under the limits.

        Raises:
            BatcherClosedError: the batcher does not serve.
            QueueFullError: `max_queue_size` requests wait already, or no replica answers.
            ConfigError: the deadline is not a time, or the priority not an integer.
        """
        key = None
        if self.lane_key is not None:
            key = self.lane_key(request.payload)
            hash(key)  # what cannot be one is the caller's error, and raised here
        if type(priority) is not int:
            priority = check_count("priority", priority, least=None)
        if deadline_ms is None:
            deadline_ms = self.admission.deadline_ms
        else:
            check_ms("deadline_ms", deadline_ms)
        with self.guard:
            if not self.open:
                self._refuse_closed(request)
            limit = self.admission.max_queue_size
            if limit is not None and (count := len(self.waiting)) >= limit:
                after_s = self.backlog_s(count)
                self._refuse(request, f"{count} requests wait already", after_s)
            lane = self._lane(key, priority)
            request.lane = lane
            if deadline_ms is not None:
                request.deadline_s = request.enqueued_s + deadline_ms / 1e3
                self.waiting.expires(request, lane)
                if request.deadline_s < self._armed_until_s:
                    self.lead_waiter.wake()  # it would sleep through this request's end
            lane.queue.append(request)
        return lane

    def withdraw(self, request: Request) -> None:
        """Refuse a request that was added while the batcher closed; if it was taken it stays.

        Raises:
            BatcherClosedError: the batcher does not serve.
            QueueFullError: no replica answers.
        """
        with self.guard:
            if request.status != "pending" or self.open:
                return  # the last drain has ended it, or it serves after all
            if self.waiting.lane_of(request).withdraw(request):
                self._refuse_closed(request)

    def _refuse_closed(self, request: Request) -> None:
        if self.accepting:
            self._refuse(request, "no replica answers", inf)
        request.payload = None
        request.status = "rejected"
        raise BatcherClosedError(self.closed_because)

    def _refuse(self, request: Request, why: str, retry_after_s: float) -> None:
        request.payload = None
        request.more().ended_s = request.enqueued_s
        request.status = "rejected"
        self.ended["rejected"] += 1
        raise QueueFullError(f"refused: {why}", retry_after_s, request)

    def _lane(self, key: Hashable, priority: int) -> LaneQueue:
        lane = self.waiting.find(key, priority)
        if lane is None:
            lane = self.waiting.open(key, priority)
            lane.wake_at = self._wake_at(lane)
        return lane

    def backlog_s(self, waiting: int) -> float:
        """How long the backlog lasts at the rate of the latest batches; 0 if none is known."""
        if len(self._recent) < 2:
            return 0.0
        served = sum(size for _, size in self._recent) - self._recent[0][1]
        span_s = self._recent[-1][0] - self._recent[0][0]
        return waiting * span_s / served

    # Who asks: under the guard.

    def enrol(self, slots: Sequence[Asker]) -> None:
        """Make a worker's slots known, so that a drain can wake them."""
        self._all.extend(slots)
        self.healthy.append(True)
        self.refresh()

    def become_free(self, slot: Asker) -> None:
        """Let a slot ask again."""
        if slot not in self._idle:
            self._idle.append(slot)
        self._elect(slot)

    def leave(self, slot: Asker) -> None:
        """Take a slot out of the askers: it has a batch, or it is given up."""
        if slot in self._idle:
            self._idle.remove(slot)
        self._elect(slot)

    def leads(self, slot: Asker) -> bool:
        """Whether it is this slot's turn to ask."""
        return self._lead is slot

    def _elect(self, caller: Asker) -> None:
        """Choose who asks: a slot whose worker is wholly free, then the one of lowest index."""
        idle = self._idle
        if len(idle) > 1:
            lead: Asker | None = min(idle, key=lambda s: (s.ahead, s.index))
        else:
            lead = idle[0] if idle else None
        ahead = lead is not None and lead.ahead
        if lead is self._lead and ahead == self._lead_ahead:
            return
        self._lead, self._lead_ahead = lead, ahead
        self.disarm()
        if lead is not None:
            self.lead_waiter = lead.waiter
            if lead is not caller:
                lead.waiter.wake()

    def wake_all(self) -> None:
        """Have every slot, and whoever stops the batcher, look again."""
        for slot in self._all:
            slot.waiter.wake()
        for waiter in self.stoppers:
            waiter.wake()

    # Questions: the lead, under the guard.

    def decide(self, now_s: float, waiting: Waiting) -> Decision:
        """What the policy says, but that no lane is passed over once it starves.

        A lane starves when its oldest request has waited `max_starvation_ms`. The next batch is
        then of the lane that starves longest, whichever the policy would take. The policy still
        says how many go, and a partial batch still does not go ahead of a running one: then
        nothing does, until the worker is free.
        """
        decision = self.policy.decide(now_s, waiting)
        if len(waiting.lanes) == 1 or not isinstance(decision, Dispatch):
            return decision
        starving = self._starving(now_s, waiting.lanes)
        if starving is None or starving == decision.lane:
            return decision
        alone = Waiting(
            [waiting.lanes[starving]],
            waiting.free_since_s,
            waiting.worker,
            waiting.slot,
            draining=waiting.slot == "now",  # it has waited long enough for company
        )
        answer = self.policy.decide(now_s, alone)
        if isinstance(answer, Wait):
            return Wait(answer.until_s)  # other lanes may have its weight already
        answer.lane = starving
        return answer

    def _starving(self, now_s: float, lanes: Sequence[Lane]) -> int | None:
        oldest = min(range(len(lanes)), key=lambda i: lanes[i].oldest_s)
        starved_s = lanes[oldest].oldest_s + self.admission.max_starvation_ms / 1e3
        return oldest if now_s >= starved_s else None

    def arm(self, answer: Wait, until_s: float) -> bool:
        """Say when the lead wants to be woken; False if that is the case already."""
        self._armed_weight = int(min(answer.until_weight, NEVER))
        waiting = [lane.priority for lane in self.waiting.lanes if len(lane)]
        self._armed_priority = max(waiting, default=0)
        self._armed_until_s = until_s
        quiet = True
        for lane in self.waiting.lanes:
            lane.wake_at = self._wake_at(lane)
            quiet = quiet and len(lane.queue) < lane.wake_at
        return quiet

    def disarm(self) -> None:
        """Let nobody wake the lead: it is about to look by itself."""
        self._armed_weight = NEVER
        self._armed_until_s = -inf
        for lane in self.waiting.lanes:
            lane.wake_at = NEVER

    def _wake_at(self, lane: LaneQueue) -> int:
        if self._lead is None:
            return NEVER
        # An arrival in a lane more urgent than all that wait changes the answer at once.
        if lane.priority > self._armed_priority and not lane.queue:
            return 1
        return self._armed_weight + lane.dead

    # Retries: under the guard.

    def delay(self, request: Request, until_s: float) -> None:
        """Let a request that was in hand wait for its next attempt."""
        self.in_hand -= 1
        self.waiting.delay(request, until_s)
        # Whoever asks may sleep past that time.
        self.lead_waiter.wake()

    # Endings: under the guard; the caller hands the requests over once it has let go of it.

    def end(self, request: Request, status: Status, value: Any) -> None:
        """End a request wherever it is; a batch that succeeds ends its own, in the same way."""
        batch = request.batch
        if batch is None:
            self.waiting.leave(request)
        else:
            self.in_hand -= 1
        if batch is None or isnan(batch.delivered_s):
            request.more().ended_s = self.clock.now()
        request.payload = None
        request.value = value
        request.status = status
        self.ended[status] += 1

    def end_all(
        self, requests: Iterable[Request], status: Status, make_error: MakeError
    ) -> list[Request]:
        """End each with an error of its own; returns them."""
        ended: list[Request] = []
        for request in requests:
            self.end(request, status, make_error())
            ended.append(request)
        return ended

    def expire(self, now_s: float) -> list[Request]:
        """End what waits past its deadline; returns what has ended."""
        return self.end_all(
            self.waiting.overdue(now_s),
            "expired",
            lambda: RequestExpiredError("its deadline passed while it waited"),
        )

    def abandon(self) -> list[Request]:
        """End what waits as cancelled, now that it will not be run; returns what has ended."""
        return self.end_all(
            self.waiting,
            "cancelled",
            lambda: RequestCancelledError("the batcher was stopped before it ran this"),
        )

    def cancel(self, request: Request) -> bool:
        """End a request as cancelled wherever it is; False if it has ended already."""
        if request.status != "pending":
            return False
        self.end(request, "cancelled", RequestCancelledError("cancelled by its caller"))
        return True

    def holds(self, request: Request) -> bool:
        """Whether a request waits here or is in a worker's hands. Takes the guard."""
        with self.guard:
            return any(one is request for one in self.waiting) or any(
                one is request for slot in self._all for one in slot.in_hand
            )

    def note_batch(self, record: BatchRecord) -> None:
        """Remember a finished batch for the rate behind `retry_after_s`."""
        self._recent.append((record.completed_s, record.size))

    @property
    def finished(self) -> bool:
        """Whether a drain has nothing left to do."""
        return self.draining and not self.in_hand and not len(self.waiting)
