"""Handing results back to whoever waits, with as few calls into an event loop as possible."""

import threading
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Sequence

from batching.request import Request

_mailboxes: "dict[AbstractEventLoop, _Mailbox]" = {}
_mailboxes_guard = threading.Lock()


class _Mailbox:
    """Ended requests on their way into one event loop.

    Waking a loop from another thread costs several microseconds and, worse, makes the two threads
    fight for the interpreter. So it is done once for all batches that end before the loop gets
    round to looking, not once a batch.
    """

    def __init__(self) -> None:
        self._posted: deque[Sequence[Request]] = deque()
        self._called = False

    def post(self, loop: AbstractEventLoop, requests: Sequence[Request]) -> None:
        self._posted.append(requests)
        if not self._called:
            self._called = True
            try:
                loop.call_soon_threadsafe(self._deliver, loop)
            except RuntimeError:  # it was closed: nobody is left to resume
                _close_mailbox(loop)

    def _deliver(self, loop: AbstractEventLoop) -> None:
        # Before looking: what is posted from here on calls anew.
        self._called = False
        while self._posted:
            _resume_callers(loop, self._posted.popleft())


def hand_over(requests: Sequence[Request]) -> None:
    """Resume whoever waits for these requests, all of which have ended."""
    for loop in {request.loop for request in requests}:
        if loop is not None:
            (_mailboxes.get(loop) or _open_mailbox(loop)).post(loop, requests)
    for request in requests:
        if request.extra is not None:
            request.run_callbacks()


def reset() -> None:
    """In a forked child: forget the parent's loops, and whoever held the lock."""
    global _mailboxes_guard  # noqa: PLW0603 - a lock that was held at the fork stays held
    _mailboxes_guard = threading.Lock()
    _mailboxes.clear()


def _open_mailbox(loop: AbstractEventLoop) -> _Mailbox:
    with _mailboxes_guard:
        for other in [other for other in _mailboxes if other.is_closed()]:
            del _mailboxes[other]
        return _mailboxes.setdefault(loop, _Mailbox())


def _close_mailbox(loop: AbstractEventLoop) -> None:
    with _mailboxes_guard:
        _mailboxes.pop(loop, None)


def _resume_callers(loop: AbstractEventLoop, requests: Sequence[Request]) -> None:
    """In the loop's own thread: give each of its callers the result or the error."""
    for request in requests:
        if request.loop is not loop:
            continue
        future = request.future
        if future is None or future.done():  # done: the caller was cancelled while it ran
            continue
        if request.status == "ok":
            future.set_result(request.value)
        else:
            future.set_exception(request.value)
            if request.status == "cancelled":
                future.exception()  # whoever cancelled it knows: nothing to warn of if nobody asks
