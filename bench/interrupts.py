"""Ctrl-C and SIGTERM end a command, at whatever moment they come.

Imports the standard library only, so that it is at work before anything else is.
"""

import os
import signal
import sys
import threading
from types import FrameType


def catch_interrupts() -> None:
    """Have both signals raise KeyboardInterrupt in the main thread, and have none of them lost."""
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not of a background job
        signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = _unraisable


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, but not into the native code of a torch that is being imported.

    That would abort the process. The signal is sent again until torch is there.
    """
    spec = getattr(sys.modules.get("torch"), "__spec__", None)
    if not getattr(spec, "_initializing", False):
        signal.default_int_handler(number, frame)
    _send_again(number)


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    """Send a signal again that came in a finaliser or a collection, where nothing can be raised."""
    if lost.exc_type is KeyboardInterrupt:
        _send_again(signal.SIGINT)
    else:
        sys.__unraisablehook__(lost)


def _send_again(number: int) -> None:
    again = threading.Timer(0.05, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
