"""Time as the batcher, the synthetic models and the replay see it.

Everything that waits does so through a `Clock`, so that the very same code runs in real time and,
under `batching.virtual_clock.VirtualClock`, in exact virtual time that never sleeps.
"""

import _thread
import contextlib
import ctypes
import sys
import threading
import time
from collections.abc import Callable
from typing import Literal, Protocol

Role = Literal["worker", "client"]

# The kernel lets a timer fire late by the thread's slack, 50 us unless told otherwise: more than a
# tenth of a short batch timeout. (prctl(2), PR_SET_TIMERSLACK)
_PR_SET_TIMERSLACK = 29
# A sleeping thread is still woken some tens of microseconds late; an exact sleep spins this last
# stretch. It must cover the usual lateness and not much more, since spinning holds the GIL.
_SPIN_S = 60e-6


class Waiter(Protocol):
    """Where one thread waits to be woken by others."""

    def wait(self, until_s: float | None) -> None:
        """Return at `until_s` (never, if None) or soon after `wake`, whichever is first.

        A `wake` that came before the wait is not lost: the next wait consumes it and returns at
        once. A time that has passed makes this a poll that clears such a wake.
        """
        ...

    def wake(self) -> None:
        """End the wait in progress, or the next one. Callable from any thread."""
        ...


class Clock(Protocol):
    """Seconds that only grow, and the ways to wait for them."""

    def now(self) -> float:
        """Seconds since an arbitrary origin."""
        ...

    def sleep_until(self, until_s: float, *, exact: bool = False) -> None:
        """Block the calling thread until `until_s`; return at once if that has passed.

        `exact` asks for the end to be met as closely as the machine can, at the cost of spinning
        through the last tens of microseconds.
        """
        ...

    def waiter(self, order: int = 0) -> Waiter:
        """A new waiter; of several that are due at one instant the lowest `order` goes first."""
        ...

    def spawn(
        self, target: Callable[[], None], *, name: str, role: Role = "worker"
    ) -> threading.Thread:
        """Start a daemon thread that takes part in this clock's time."""
        ...

    def join(self, thread: threading.Thread) -> None:
        """Block until `thread` has ended."""
        ...


class RawWaiter:
    """A waiter made of one raw lock, the cheapest wake-up CPython has."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def wait(self, until_s: float | None) -> None:
        """Wait as `Waiter.wait` says, on `time.perf_counter`."""
        if until_s is None:
            self._lock.acquire()
            return
        remaining_s = until_s - time.perf_counter()
        if remaining_s <= 0.0:
            self._lock.acquire(blocking=False)
        else:
            self._lock.acquire(timeout=min(remaining_s, threading.TIMEOUT_MAX))

    def wake(self) -> None:
        """Release the lock; a second wake before the first is consumed changes nothing."""
        with contextlib.suppress(RuntimeError):
            self._lock.release()


class RealClock:
    """`time.perf_counter` and real threads."""

    now = staticmethod(time.perf_counter)

    def sleep_until(self, until_s: float, *, exact: bool = False) -> None:
        """Sleep as `Clock.sleep_until` says; measured lateness is 30-60 us with sharp timers."""
        now = time.perf_counter
        remaining_s = until_s - now() - (_SPIN_S if exact else 0.0)
        if remaining_s > 0.0:
            time.sleep(remaining_s)
        if exact:
            while now() < until_s:
                pass

    def waiter(self, order: int = 0) -> RawWaiter:
        """Make a waiter; in real time the scheduler decides the order."""
        del order
        return RawWaiter()

    def spawn(
        self, target: Callable[[], None], *, name: str, role: Role = "worker"
    ) -> threading.Thread:
        """Start a daemon thread with sharp timers."""
        del role

        def run() -> None:
            sharpen_timers()
            target()

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def join(self, thread: threading.Thread) -> None:
        """Wait for `thread` to end."""
        thread.join()


def sharpen_timers() -> None:
    """Set the calling thread's timer slack to its least, where the system has such a thing.

    On Linux this takes a 2 ms sleep's lateness from about 90 us to about 30 us; elsewhere it does
    nothing.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
