"""Handing results back to whoever waits, with as few calls into an event loop as possible."""

import contextlib
import threading
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from batching.request import Request

_mailboxes: "WeakKeyDictionary[AbstractEventLoop, _Mailbox]" = WeakKeyDictionary()
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
            # A loop that was closed has nobody left to resume.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._deliver, loop)

    def _deliver(self, loop: AbstractEventLoop) -> None:
        # Before looking: what is posted from here on calls anew.
        self._called = False
        while self._posted:
            _resume_callers(loop, self._posted.popleft())


def hand_over(requests: Sequence[Request]) -> None:
    """Resume whoever waits for these requests, all of which have ended."""
    loops = {request.loop for request in requests}
    loops.discard(None)
    for loop in loops:
        assert loop is not None  # noqa: S101 - for the type checker: discarded above
        mailbox = _mailboxes.get(loop)
        if mailbox is None:
            with _mailboxes_guard:
                mailbox = _mailboxes.setdefault(loop, _Mailbox())
        mailbox.post(loop, requests)
    for request in requests:
        if request.extra is not None:
            request.run_callbacks()


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
