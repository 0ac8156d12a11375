"""What callers and workers share: who waits, who is free, what has ended. Kept bare: it is hot.

Adding a request to a lane takes no lock: `deque.append` is atomic, and the order "append, then
read `wake_at`" on one side, "write `wake_at`, then read the length" on the other, makes it
impossible for both to miss each other. A needless wake-up is possible and harmless. Everything
else happens under `guard`, which a worker takes twice a batch; in particular every request ends
under it, which is why it ends once.
"""

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from math import inf
from typing import Any, Protocol

from batching.clock import Clock, Waiter
from batching.errors import (
    QueueFullError,
    RequestCancelledError,
    RequestError,
    RequestExpiredError,
)
from batching.lanes import NEVER, LaneQueue
from batching.options import Admission, RetryBudget, check_ms
from batching.policies import BatchingPolicy, Lane, Wait
from batching.request import BatchRecord, Request, Status

BatchObserver = Callable[[BatchRecord, Sequence[Request]], None]

# The rate behind `retry_after_s` is taken over this many of the latest batches.
_RECENT_BATCHES = 32


class Asker(Protocol):
    """A slot that is free and may ask the policy."""

    index: int
    waiter: Waiter

    @property
    def ahead(self) -> bool:
        """Whether its worker is still running another batch."""
        ...


class Core:
    """Waiting, free and ended; see the module's docstring for who may touch what."""

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
        self.observer = observer
        self.guard = threading.Lock()
        self.default_lane = LaneQueue()
        self.lanes: list[LaneQueue] = [self.default_lane]
        self.delayed: list[tuple[float, int, Request]] = []
        self.retry_budget = RetryBudget(retry_share)
        self.accepting = False
        self.deadlines = False
        self.draining = False
        self.abandoned = False
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
        self._by_key: dict[tuple[Hashable, int], LaneQueue] = {(None, 0): self.default_lane}
        self._armed_weight = NEVER
        self._armed_priority = 0
        self._armed_until_s = -inf
        self._tickets = itertools.count()
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT_BATCHES)
        self.plain = False

    # Admission: any thread.

    def refresh_plain(self) -> None:
        """Decide whether a request without wishes of its own may be appended without a lock."""
        self.plain = (
            self.admission.max_queue_size is None
            and self.admission.deadline_ms is None
            and self.lane_key is None
            and any(self.healthy)
        )

    def admit(self, request: Request, priority: int, deadline_ms: float | None) -> LaneQueue:
        """Put a request in its lane, under the limits.

        Raises:
            QueueFullError: `max_queue_size` requests wait already, or no replica answers.
            ConfigError: the deadline is not a time.
        """
        key = None if self.lane_key is None else self.lane_key(request.payload)
        check_ms("deadline_ms", deadline_ms)
        if deadline_ms is None:
            deadline_ms = self.admission.deadline_ms
        with self.guard:
            if not any(self.healthy):
                self._refuse(request, "no replica answers", inf)
            limit = self.admission.max_queue_size
            if limit is not None and (waiting := self.waiting()) >= limit:
                after_s = self.backlog_s(waiting)
                self._refuse(request, f"{waiting} requests wait already", after_s)
            lane = self._lane(key, priority)
            request.lane = lane
            if deadline_ms is not None:
                self.deadlines = True
                deadline_s = request.enqueued_s + deadline_ms / 1e3
                lane.add_deadline(deadline_s, next(self._tickets), request)
                if deadline_s < self._armed_until_s:
                    self.lead_waiter.wake()  # it would sleep through this request's end
            lane.queue.append(request)
        return lane

    def _refuse(self, request: Request, why: str, retry_after_s: float) -> None:
        request.payload = None
        request.more().ended_s = request.enqueued_s
        request.status = "rejected"
        self.ended["rejected"] += 1
        raise QueueFullError(f"refused: {why}", retry_after_s, request)

    def _lane(self, key: Hashable, priority: int) -> LaneQueue:
        lane = self._by_key.get((key, priority))
        if lane is None:
            lane = self._by_key[key, priority] = LaneQueue(key, priority)
            lane.wake_at = self._wake_at(lane)
            self.lanes.append(lane)
        return lane

    def _lane_of(self, request: Request) -> LaneQueue:
        lane: LaneQueue | None = request.lane
        return self.default_lane if lane is None else lane  # an empty lane is falsy

    def waiting(self) -> int:
        """How many requests wait in lanes or for a retry."""
        return sum(map(len, self.lanes)) + len(self.delayed)

    def backlog_s(self, waiting: int) -> float:
        """How long the backlog lasts at the rate of the latest batches; 0 if none is known."""
        if len(self._recent) < 2:
            return 0.0
        served = sum(size for _, size in self._recent) - self._recent[0][1]
        span_s = self._recent[-1][0] - self._recent[0][0]
        return waiting * span_s / served if served else 0.0

    # Who asks: under the guard.

    def enrol(self, slots: Sequence[Asker]) -> None:
        """Make a worker's slots known, so that a drain can wake them."""
        self._all.extend(slots)
        self.healthy.append(True)
        self.refresh_plain()

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

    def views(self, now_s: float) -> tuple[list[LaneQueue], list[Lane]]:
        """The lanes in which something waits, and what the policy sees of each."""
        starvation_s = self.admission.max_starvation_ms / 1e3
        if len(self.lanes) == 1:
            view = self.default_lane.view(now_s, starvation_s, 0)
            return ([], []) if view is None else (self.lanes, [view])
        top = max((lane.priority for lane in self.lanes if len(lane)), default=0)
        queues: list[LaneQueue] = []
        views: list[Lane] = []
        for lane in self.lanes:
            view = lane.view(now_s, starvation_s, top)
            if view is not None:
                queues.append(lane)
                views.append(view)
        return queues, views

    def next_event_s(self) -> float:
        """When a deadline passes or a retry is due, whichever comes first; infinite if neither."""
        first_s = inf
        if self.deadlines:
            first_s = min(lane.earliest_deadline_s() for lane in self.lanes)
        return min(first_s, self.delayed[0][0]) if self.delayed else first_s

    def arm(self, answer: Wait, until_s: float, priority: int) -> bool:
        """Say when the lead wants to be woken; False if that is the case already."""
        self._armed_weight = int(min(answer.until_weight, NEVER))
        self._armed_priority = priority
        self._armed_until_s = until_s
        quiet = True
        for lane in self.lanes:
            lane.wake_at = self._wake_at(lane)
            quiet = quiet and len(lane.queue) < lane.wake_at
        return quiet

    def disarm(self) -> None:
        """Let nobody wake the lead: it is about to look by itself."""
        self._armed_weight, self._armed_priority = NEVER, 0
        self._armed_until_s = -inf
        for lane in self.lanes:
            lane.wake_at = NEVER

    def _wake_at(self, lane: LaneQueue) -> int:
        # An arrival in a lane more urgent than all that wait changes the answer at once.
        if self._lead is None:
            return NEVER
        if lane.priority > self._armed_priority and not len(lane):
            return 1 + lane.dead
        return self._armed_weight + lane.dead

    # Retries: under the guard.

    def delay(self, request: Request, until_s: float) -> None:
        """Let a request that was in hand wait for its next attempt."""
        request.batch = None
        request.more().delayed = True
        self.in_hand -= 1
        heapq.heappush(self.delayed, (until_s, next(self._tickets), request))
        # Whoever asks may sleep past that time.
        self.lead_waiter.wake()

    def release_due(self, now_s: float) -> None:
        """Put requests whose backoff is over back at the head of their lanes."""
        due: list[Request] = []
        while self.delayed and self.delayed[0][0] <= now_s:
            due.append(heapq.heappop(self.delayed)[2])
        for request in reversed(due):  # the first of them is to be the head
            request.more().delayed = False
            self._lane_of(request).queue.appendleft(request)

    # Endings: under the guard; the caller hands the requests over once it has let go of it.

    def end(self, request: Request, status: Status, value: Any) -> None:
        """End a request that is in hand; `end_waiting` is for one that waits."""
        request.value = value
        request.status = status
        self.ended[status] += 1
        self.in_hand -= 1

    def end_waiting(self, request: Request, status: Status, error: RequestError) -> None:
        """End a request that waits in a lane or for a retry."""
        extra = request.more()
        extra.ended_s = self.clock.now()
        if extra.delayed:
            self.delayed = [entry for entry in self.delayed if entry[2] is not request]
            heapq.heapify(self.delayed)
        else:
            self._lane_of(request).dead += 1
        request.payload = None
        self.in_hand += 1  # `end` takes it out of hand again
        self.end(request, status, error)

    def expire(self, now_s: float) -> list[Request]:
        """End what waits past its deadline; returns what has ended."""
        expired: list[Request] = []
        if not self.deadlines:
            return expired
        for lane in self.lanes:
            for request in lane.overdue(now_s):
                error = RequestExpiredError("its deadline passed while it waited")
                self.end_waiting(request, "expired", error)
                expired.append(request)
        return expired

    def end_all_waiting(self, status: Status, error: RequestError) -> list[Request]:
        """End everything that waits; returns what has ended."""
        requests = [entry[2] for entry in self.delayed]
        requests += [r for lane in self.lanes for r in lane.queue if r.status == "pending"]
        for request in requests:
            self.end_waiting(request, status, error)
        return requests

    def cancel(self, request: Request) -> bool:
        """End a request as cancelled wherever it is; False if it has ended already."""
        if request.status != "pending":
            return False
        error = RequestCancelledError("cancelled by its caller")
        if request.batch is None:
            self.end_waiting(request, "cancelled", error)
        else:
            request.more().ended_s = self.clock.now()
            self.end(request, "cancelled", error)
        return True

    def note_batch(self, record: BatchRecord) -> None:
        """Remember a finished batch for the rate behind `retry_after_s`."""
        self._recent.append((record.completed_s, record.size))

    @property
    def finished(self) -> bool:
        """Whether a drain has nothing left to do."""
        return self.draining and not self.in_hand and not self.waiting()
