"""Handing results back: one call into each event loop a batch, not one a request."""

import contextlib
from asyncio import AbstractEventLoop
from collections.abc import Sequence

from batching.request import Request


def hand_over(requests: Sequence[Request]) -> None:
    """Resume whoever waits for these requests, all of which have ended."""
    loops = {request.loop for request in requests}
    for loop in loops:
        if loop is not None:
            # A loop that was closed has nobody left to resume.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_resume_callers, loop, requests)
    for request in requests:
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
