"""How far a search is, for a person who waits."""

import time
from math import isfinite
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from bench.tuning.search import Finished

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

    def show(self, what: str, done: int, of: int, best: Finished | None) -> None:
        """Say what is being done, how far it is, and the best setting so far."""
        now_s = time.monotonic()
        if now_s < self._next_s and what == self._what:
            return
        if not self._shown:
            if what != self._what or now_s >= self._next_s:
                said = f"{what}: {done} of {of} at most{_said(best)}"
                self._console.print(said, soft_wrap=True)
                self._next_s = now_s + _SPOKEN_S
            self._what = what
            return
        self._what, self._next_s = what, now_s + _REFRESH_S
        line = Table.grid(padding=(0, 2))
        total = max(of, done)
        line.add_row(
            what, ProgressBar(total=total, completed=done, width=24), f"{done}/{of}", _said(best)
        )
        self._live.start()
        self._live.update(line, refresh=True)
        if done >= of:
            self._live.stop()


def _said(best: Finished | None) -> str:
    if best is None or not isfinite(best.score.value):
        return ""
    knobs = ", ".join(f"{name} {value}" for name, value in best.knobs.items())
    return f"; best so far {best.score.value:.4g} with {knobs}"
