"""Virtual time for real threads: exact, deterministic, and without sleeping.

Every thread that takes part is either the one running or parked on the clock. When the running one
parks, the clock moves to the earliest moment anyone is parked for and lets exactly that thread run.
At one instant the order is: completions (workers whose sleep ends), then arrivals (clients whose
sleep ends), then workers with a decision to make, by index. So a batch that is dispatched at an
instant sees every request that arrives at that instant, as it does in the simulator.
"""

import heapq
import itertools
import math
import threading
from collections.abc import Callable
from enum import IntEnum

from batching.clock import Role
from batching.errors import BatchingError


class VirtualDeadlockError(BatchingError):
    """Every thread waits for a wake-up that nobody is left to give."""


class _Rank(IntEnum):
    COMPLETION = 0
    ARRIVAL = 1
    DECISION = 2


class _Parked:
    """One thread's place in the queue for time; `due` is cleared once it may run."""

    __slots__ = ("deadlocked", "due", "gate")

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.due = True
        self.deadlocked = False


class VirtualWaiter:
    """A waiter on a `VirtualClock`; a wake is delivered after the instant's arrivals."""

    def __init__(self, clock: "VirtualClock", order: int) -> None:
        self._clock = clock
        self._order = order
        self._woken = False
        self._parked: _Parked | None = None

    def wait(self, until_s: float | None) -> None:
        """Park until `until_s` or a wake; even a poll lets the instant's arrivals go first."""
        clock = self._clock
        due_s = math.inf if until_s is None else max(until_s, clock.now())
        if self._woken:
            due_s = clock.now()
        self._parked = parked = _Parked()
        clock.park(parked, due_s, _Rank.DECISION, self._order)
        self._parked = None
        self._woken = False

    def wake(self) -> None:
        """Make the parked thread due now, or the next wait a poll."""
        self._woken = True
        if self._parked is not None:
            self._clock.make_due(self._parked, _Rank.DECISION, self._order)


class VirtualClock:
    """A clock that jumps from event to event; the thread that makes it takes part as a client."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s
        self._queue: list[tuple[float, int, int, int, _Parked]] = []
        self._tickets = itertools.count()
        self._forever: list[_Parked] = []
        self._joiners: dict[threading.Thread, list[_Parked]] = {}
        self._ended: set[threading.Thread] = set()
        self._rank = threading.local()
        self._guard = threading.Lock()

    def now(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def sleep_until(self, until_s: float, *, exact: bool = False) -> None:
        """Park until `until_s`; always exact."""
        del exact
        if until_s > self._now_s:
            rank = getattr(self._rank, "value", _Rank.ARRIVAL)
            self.park(_Parked(), until_s, rank, 0)

    def waiter(self, order: int = 0) -> VirtualWaiter:
        """Make a waiter whose thread goes in `order` among those due at one instant."""
        return VirtualWaiter(self, order)

    def spawn(
        self, target: Callable[[], None], *, name: str, role: Role = "worker"
    ) -> threading.Thread:
        """Start a thread that first runs when the present one parks."""
        place = _Parked()
        rank = _Rank.COMPLETION if role == "worker" else _Rank.ARRIVAL

        def run() -> None:
            place.gate.acquire()
            self._rank.value = rank
            try:
                target()
            finally:
                self._leave(thread)

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._enqueue(place, self._now_s, rank, 0)
        thread.start()
        return thread

    def join(self, thread: threading.Thread) -> None:
        """Park until `thread` has ended."""
        with self._guard:
            if thread in self._ended:
                return
            parked = _Parked()
            self._joiners.setdefault(thread, []).append(parked)
        self.park(parked, math.inf, _Rank.ARRIVAL, 0)

    def park(self, parked: _Parked, due_s: float, rank: int, order: int) -> None:
        """Give up the calling thread's turn until it is due.

        Raises:
            VirtualDeadlockError: nobody is left who could ever run.
        """
        self._enqueue(parked, due_s, rank, order)
        self._pass_turn()
        parked.gate.acquire()
        if parked.deadlocked:
            raise VirtualDeadlockError("every thread waits for a wake-up that nobody can give")

    def make_due(self, parked: _Parked, rank: int, order: int) -> None:
        """Move a parked thread to the present instant."""
        if parked.due:
            self._enqueue(parked, self._now_s, rank, order)

    def _enqueue(self, parked: _Parked, due_s: float, rank: int, order: int) -> None:
        with self._guard:
            if due_s == math.inf:
                self._forever.append(parked)
            else:
                heapq.heappush(self._queue, (due_s, rank, order, next(self._tickets), parked))

    def _pass_turn(self) -> None:
        with self._guard:
            while self._queue:
                due_s, _, _, _, parked = heapq.heappop(self._queue)
                if not parked.due:
                    continue  # woken earlier than this entry; it has run since
                parked.due = False
                if parked in self._forever:
                    self._forever.remove(parked)
                self._now_s = max(self._now_s, due_s)
                parked.gate.release()
                return
            # Nobody can ever wake these: an error in each beats a test that hangs.
            for parked in self._forever:
                parked.due, parked.deadlocked = False, True
                parked.gate.release()
            self._forever.clear()

    def _leave(self, thread: threading.Thread) -> None:
        with self._guard:
            self._ended.add(thread)
            joiners = self._joiners.pop(thread, [])
        for parked in joiners:
            self.make_due(parked, _Rank.ARRIVAL, 0)
        self._pass_turn()
