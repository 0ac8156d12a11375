"""Lanes: requests that may share a batch, in order of arrival."""

import heapq
from collections import deque
from collections.abc import Hashable, Iterator
from math import inf

from batching.policies import Lane
from batching.request import Request

# More than can ever wait. A small integer, because comparing a length with it is on the hot path,
# and the interpreter has a quick way to compare two small integers.
NEVER = 1 << 29


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

    def add_deadline(self, deadline_s: float, ticket: int, request: Request) -> None:
        """Remember when a request expires; increasing deadlines cost next to nothing."""
        heapq.heappush(self._deadlines, (deadline_s, ticket, request))

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

    def view(self, now_s: float, starvation_s: float, top_priority: int) -> Lane | None:
        """What a policy sees of this lane; None if nobody waits in it.

        A lane whose oldest request has waited `starvation_s` counts as of `top_priority`, so that
        low priority means later, never not at all.
        """
        queue = self.queue
        if self.dead:
            while queue and queue[0].status != "pending":
                queue.popleft()
                self.dead -= 1
        count = len(queue) - self.dead
        if count <= 0:
            return None
        oldest_s = queue[0].enqueued_s
        priority = self.priority
        if priority < top_priority and now_s >= oldest_s + starvation_s:
            priority = top_priority
        deadline_s = self.earliest_deadline_s() if self._deadlines else inf
        return Lane(count, count, oldest_s, deadline_s, priority)

    def take(self, count: int) -> list[Request]:
        """Take the `count` oldest out."""
        popleft = self.queue.popleft
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
