"""What a fork leaves of a batcher: its memory without its threads.

A child that submitted to it would wait for ever (a web server that loads the application before it
forks its workers does just that), so in the child the batcher is closed, and says why.
"""

import os
import weakref
from typing import Protocol

from batching import request
from batching.queueing import delivery
from batching.workers import own_threads


class Forked(Protocol):
    """A batcher that has been started."""

    def end_in_child(self) -> None:
        """In the child: close, and end what waits."""
        ...


_started: "weakref.WeakSet[Forked]" = weakref.WeakSet()


def end_in_forked_children(batcher: Forked) -> None:
    """From now on, close this batcher in every child that the process forks."""
    _started.add(batcher)


def _in_child() -> None:
    # Another thread of the parent may have had any of these.
    delivery.reset()
    own_threads.reset()
    request.reset()
    for batcher in list(_started):
        batcher.end_in_child()
    _started.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_in_child)
