"""What waits: requests in their lanes, and those whose retry is not due yet."""

import heapq
import itertools
from collections.abc import Hashable, Iterator
from math import inf

from batching.policies import Lane
from batching.queueing.lanes import LaneQueue
from batching.request import Request


class WaitingRequests:
    """Lanes come with their first request and go with their last; only the default one stays.

    All of it is touched under the core's guard, but for appending to the default lane.

    Attributes:
        default_lane: of requests without a shape class of their own and of priority 0.
        lanes: those that hold something, the default one first.
        retries: how many wait for their next attempt, outside of every lane.
    """

    def __init__(self) -> None:
        self.default_lane = LaneQueue()
        self.lanes: list[LaneQueue] = [self.default_lane]
        self.retries = 0
        self._by_key: dict[tuple[Hashable, int], LaneQueue] = {(None, 0): self.default_lane}
        self._delayed: list[tuple[float, int, Request]] = []
        self._tickets = itertools.count()
        self._deadlines = False

    def __len__(self) -> int:
        """How many requests wait, in lanes or for a retry."""
        lane = self.default_lane
        if len(self.lanes) == 1:  # as a rule; it is asked for every request
            return len(lane.queue) - lane.dead + self.retries
        return sum(map(len, self.lanes)) + self.retries

    def __iter__(self) -> Iterator[Request]:
        """The requests that wait; the caller may end each as it comes."""
        for _, _, request in self._delayed:
            if request.status == "pending":
                yield request
        for lane in self.lanes:
            for request in list(lane.queue):
                if request.status == "pending":
                    yield request

    def find(self, key: Hashable, priority: int) -> LaneQueue | None:
        """The lane of that shape class and priority, if anything is in it."""
        return self._by_key.get((key, priority))

    def open(self, key: Hashable, priority: int) -> LaneQueue:
        """A new lane."""
        lane = self._by_key[key, priority] = LaneQueue(key, priority)
        self.lanes.append(lane)
        return lane

    def lane_of(self, request: Request) -> LaneQueue:
        """Where a request waits, or is to wait again."""
        lane: LaneQueue | None = request.lane
        if lane is None:
            return self.default_lane
        present = self.find(lane.key, lane.priority)
        if present is None:
            present = self.open(lane.key, lane.priority)
        request.lane = present
        return present

    def views(self) -> tuple[list[LaneQueue], list[Lane]]:
        """The lanes in which something waits, and what the policy sees of each."""
        if len(self.lanes) == 1:
            view = self.default_lane.view()
            return ([], []) if view is None else (self.lanes, [view])
        queues: list[LaneQueue] = []
        views: list[Lane] = []
        idle = False
        for lane in self.lanes:
            view = lane.view()
            if view is not None:
                queues.append(lane)
                views.append(view)
            elif lane is not self.default_lane and lane.idle:
                del self._by_key[lane.key, lane.priority]
                idle = True
        if idle:
            kept = self._by_key
            self.lanes = [q for q in self.lanes if kept.get((q.key, q.priority)) is q]
        return queues, views

    # Deadlines.

    def expires(self, request: Request, lane: LaneQueue) -> None:
        """Remember the deadline of a request that waits from now on."""
        self._deadlines = True
        lane.add_deadline(request.deadline_s, next(self._tickets), request)

    def overdue(self, now_s: float) -> Iterator[Request]:
        """Requests past their deadline; the caller ends each before asking for more."""
        if self._deadlines:
            for lane in self.lanes:
                yield from lane.overdue(now_s)

    def next_event_s(self) -> float:
        """When a deadline passes or a retry is due, whichever comes first; infinite if neither."""
        first_s = inf
        if self._deadlines:
            first_s = min(lane.earliest_deadline_s() for lane in self.lanes)
        delayed = self._delayed
        while delayed and delayed[0][2].status != "pending":
            heapq.heappop(delayed)
        return min(first_s, delayed[0][0]) if delayed else first_s

    # Retries.

    def delay(self, request: Request, until_s: float) -> None:
        """Let a request wait for its next attempt; its deadline goes on counting."""
        request.batch = None
        request.more().delayed = True
        self.retries += 1
        heapq.heappush(self._delayed, (until_s, next(self._tickets), request))
        if request.deadline_s < inf:
            # The lane may have forgotten it while it was in hand.
            self.expires(request, self.lane_of(request))

    def release_due(self, now_s: float) -> None:
        """Put requests whose backoff is over back at the head of their lanes."""
        due: list[Request] = []
        while self._delayed and self._delayed[0][0] <= now_s:
            request = heapq.heappop(self._delayed)[2]
            if request.status == "pending":
                due.append(request)
        for request in reversed(due):  # the first of them is to be the head
            request.more().delayed = False
            self.retries -= 1
            self.lane_of(request).queue.appendleft(request)

    # Endings.

    def leave(self, request: Request) -> None:
        """Count a request out that is about to end; it is skipped where it stands."""
        extra = request.extra
        if extra is not None and extra.delayed:
            extra.delayed = False
            self.retries -= 1
        else:
            self.lane_of(request).dead += 1

    def clear(self) -> None:
        """Forget all; every request that was here has ended."""
        self.default_lane.clear()
        self.lanes = [self.default_lane]
        self._by_key = {(None, 0): self.default_lane}
        self._delayed.clear()
        self.retries = 0
