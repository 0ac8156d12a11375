"""Which threads belong to a batcher: waiting for that batcher in one of them would never end."""

import threading
from collections.abc import Callable
from typing import Any

from batching.errors import WrongThreadError

Holds = Callable[[Any], bool]

# By thread: whether a request is still to be ended by that thread's batcher.
_owners: dict[int, Holds] = {}


def enter(holds: Holds) -> None:
    """Count the calling thread among those of a batcher, from now until `leave`."""
    _owners[threading.get_ident()] = holds


def leave() -> None:
    """The calling thread ends, or is nobody's any more."""
    _owners.pop(threading.get_ident(), None)


def reset() -> None:
    """In a forked child: none of those threads is here."""
    _owners.clear()


def is_of(holds: Holds) -> bool:
    """Whether the calling thread is one of that batcher's."""
    return _owners.get(threading.get_ident()) == holds


def refuse_to_wait_for_itself(request: Any) -> None:
    """Raise if the calling thread would have to run this very request.

    Raises:
        WrongThreadError: it would.
    """
    holds = _owners.get(threading.get_ident())
    if holds is not None and holds(request):
        raise WrongThreadError(
            "a request must not be waited for in a thread of its own batcher (by the model, a "
            "callback, an observer), which would have to run it: that would never end"
        )
