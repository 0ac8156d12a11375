"""Calling what a user wrote: callbacks, observers, recorders, predicates, a policy's `observe`.

One rule for all of it: whatever it raises is logged, and nobody else notices. The exceptions that
mean "end this program" go on where they mean that, in the main thread: a Ctrl-C during a callback
there is not lost. In any other thread `SystemExit` would end the thread only, and with it whatever
that thread has yet to do for others.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

log = logging.getLogger("batching")


def call(what: str, function: Callable[..., Any], *args: Any, otherwise: Any = None) -> Any:
    """What `function(*args)` returns; if it raises, that is logged and `otherwise` returned."""
    try:
        return function(*args)
    except BaseException as error:
        log.exception("%s raised", what)
        if not isinstance(error, Exception) and _in_main_thread():
            raise
        return otherwise


def call_each(what: str, functions: Iterable[Callable[..., Any]], *args: Any) -> None:
    """Call each of them, whatever the others raise."""
    stopped: BaseException | None = None
    for function in functions:
        try:
            call(what, function, *args)
        except BaseException as error:  # noqa: BLE001 - raised again once all have been called
            stopped = error
    if stopped is not None:
        raise stopped


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
