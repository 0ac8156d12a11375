"""How far a search is, for a person who waits."""

import time
from typing import Self

from rich.console import Console
from rich.live import Live

from bench.console import progress_line

_REFRESH_S = 0.25
# Without a terminal to redraw a line in, a line now and then.
_SPOKEN_S = 10.0


class SearchLine:
    """One line that redraws itself; on a console that is no terminal, a line every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._shown = console.is_terminal and not console.quiet
        self._next_s = 0.0
        self._what = ""

    def __enter__(self) -> Self:
        """Nothing is shown before there is something to show."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._live.stop()

    def show(self, what: str, done: int, of: int, best: str) -> None:
        """Say what is being done, how far it is, and the best setting so far, if there is one."""
        now_s = time.monotonic()
        if now_s < self._next_s and what == self._what:
            return
        if not self._shown:
            if what != self._what or now_s >= self._next_s:
                said = f"{what}: {done} of {of} at most"
                self._console.print(f"{said}; {best}" if best else said, soft_wrap=True)
                self._next_s = now_s + _SPOKEN_S
            self._what = what
            return
        self._what, self._next_s = what, now_s + _REFRESH_S
        width, total = self._console.width, max(of, done)
        line = progress_line(width, done, total, what, f"{done}/{of}", best)
        self._live.start()
        self._live.update(line, refresh=True)
        if done >= of:
            self._live.stop()
