"""Lanes: requests that may share a batch, in order of arrival."""

import heapq
from collections import deque
from collections.abc import Hashable, Iterator
from itertools import islice
from math import inf

from batching.policies import Lane
from batching.request import Request

# More than can ever wait. A small integer, because comparing a length with it is on the hot path,
# and the interpreter has a quick way to compare two small integers.
NEVER = 1 << 29
# Entries of the heap of deadlines that may be of requests which have ended, before it is cleaned.
_SLACK = 64


class LaneQueue:
    """Waiting requests of one shape class and one priority, oldest first.

    Adding to `queue` takes no lock (`deque.append` is atomic); everything else is done under the
    core's guard. A request that ends while it waits is left where it is as a tombstone and
    skipped when its turn comes, because taking it out of the middle would cost a search.

    Attributes:
        append: adds a request at the end; `queue.append`, bound once.
        wake_at: the length of `queue` at which the asking worker wants to be woken; `NEVER` while
            nobody asks.
        dead: tombstones in `queue`.
    """

    __slots__ = ("_deadlines", "append", "dead", "key", "priority", "queue", "wake_at")

    def __init__(self, key: Hashable = None, priority: int = 0) -> None:
        self.key = key
        self.priority = priority
        self.queue: deque[Request] = deque()
        self.append = self.queue.append
        self.wake_at = NEVER
        self.dead = 0
        self._deadlines: list[tuple[float, int, Request]] = []

    def __len__(self) -> int:
        """How many wait."""
        return len(self.queue) - self.dead

    @property
    def idle(self) -> bool:
        """Whether nothing is kept here, so that the lane may go until it is needed again."""
        return not self.queue and self.earliest_deadline_s() == inf

    def add_deadline(self, deadline_s: float, ticket: int, request: Request) -> None:
        """Remember when a request expires; increasing deadlines cost next to nothing."""
        deadlines = self._deadlines
        # Those that ended in time are dropped at the latest when they outnumber those that wait.
        if len(deadlines) > _SLACK + 2 * len(self.queue):
            deadlines[:] = [entry for entry in deadlines if _waits(entry[2])]
            heapq.heapify(deadlines)
        heapq.heappush(deadlines, (deadline_s, ticket, request))

    def earliest_deadline_s(self) -> float:
        """The first deadline of a request that waits here; infinite if none has one."""
        deadlines = self._deadlines
        while deadlines and not _waits(deadlines[0][2]):
            heapq.heappop(deadlines)
        return deadlines[0][0] if deadlines else inf

    def overdue(self, now_s: float) -> Iterator[Request]:
        """Requests that wait past their deadline; the caller ends each before asking for more."""
        while self.earliest_deadline_s() <= now_s:
            yield self._deadlines[0][2]

    def withdraw(self, request: Request) -> bool:
        """Take out a request as if it had never come; False if it no longer waits in the queue."""
        try:
            self.queue.remove(request)
        except ValueError:
            return False
        self._deadlines = [entry for entry in self._deadlines if entry[2] is not request]
        heapq.heapify(self._deadlines)
        return True

    def clear(self) -> None:
        """Forget all; every request that was here has ended."""
        self.queue.clear()
        self._deadlines.clear()
        self.dead = 0

    def view(self) -> Lane | None:
        """What a policy sees of this lane; None if nobody waits in it."""
        queue = self.queue
        if self.dead:
            while queue and queue[0].status != "pending":
                queue.popleft()
                self.dead -= 1
        count = len(queue) - self.dead
        if count <= 0:
            return None
        deadline_s = self.earliest_deadline_s() if self._deadlines else inf
        return Lane(count, count, queue[0].enqueued_s, deadline_s, self.priority)

    def oldest(self, count: int) -> list[Request]:
        """The `count` oldest that wait, or as many as there are; they stay where they are."""
        # By index: others append meanwhile, which an iterator of a deque does not survive.
        waiting = (self.queue[i] for i in range(len(self.queue)))
        return list(islice((r for r in waiting if r.status == "pending"), count))

    def take(self, count: int) -> list[Request]:
        """Take the `count` oldest out, or as many as there are."""
        popleft = self.queue.popleft
        count = min(count, len(self))
        if not self.dead:
            return [popleft() for _ in range(count)]
        taken: list[Request] = []
        while len(taken) < count:
            request = popleft()
            if request.status == "pending":
                taken.append(request)
            else:
                self.dead -= 1
        return taken


def _waits(request: Request) -> bool:
    return request.status == "pending" and request.batch is None
