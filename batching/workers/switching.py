"""The interpreter's switch interval, while batchers live.

A worker that wakes up while the event loop's thread is busy must wait until that thread is made to
let go of the interpreter lock: up to `sys.getswitchinterval()`, 5 ms unless set, which is longer
than many a batch. It is one setting for the process, so it is lowered when the first batcher
starts and restored when the last one has stopped.
"""

import contextlib
import sys
import threading
from collections.abc import Iterator

_guard = threading.Lock()
_users = 0
_before_s = 0.0


@contextlib.contextmanager
def quick_switching(interval_s: float | None) -> Iterator[None]:
    """Have the interpreter switch threads at least this often; None leaves it as it is."""
    if interval_s is None:
        yield
        return
    global _users, _before_s  # noqa: PLW0603 - the setting itself is global to the process
    with _guard:
        if not _users:
            _before_s = sys.getswitchinterval()
        _users += 1
        sys.setswitchinterval(min(interval_s, sys.getswitchinterval()))
    try:
        yield
    finally:
        with _guard:
            _users -= 1
            if not _users:
                sys.setswitchinterval(_before_s)
