"""Where a command writes: results to stdout, everything else to stderr."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from results.format import escaped

_BAR, _GAP = 24, 2


class _Escaping(Console):
    """Shows control characters instead of passing them on to the terminal.

    What is printed may quote a trace, a model's note or a file name: none of it is markup, and none
    of it may move the cursor.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return markup-free text as it may be shown."""
        return super().render_str(escaped(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render anything, of a kind that was not a string too."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(escaped(segment.text), segment.style)


def message_console(*, quiet: bool = False) -> Console:
    """Progress and remarks, on stderr."""
    return _Escaping(stderr=True, quiet=quiet)


def output_console() -> Console:
    """Results, on stdout."""
    return _Escaping()


def progress_line(width: int, done: float, of: float, first: str, *further: str) -> Table:
    """One line of progress: a text, a bar, and as much of what follows as there is room for.

    Args:
        width: of the terminal, in characters.
        done: how far it is.
        of: how far it goes.
        first: before the bar.
        further: behind it, the more telling first; the one that has no room is cut.
    """
    bar = min(_BAR, max(1, width - cell_len(first) - _GAP))
    cells: list[RenderableType] = [Text(first), ProgressBar(total=of, completed=done, width=bar)]
    left = width - cell_len(first) - _GAP - bar
    for text in further:
        room = left - _GAP
        if room < 1:
            break
        shown = Text(text)
        shown.truncate(room, overflow="ellipsis")
        cells.append(shown)
        left = room - cell_len(text)
    line = Table.grid(padding=(0, _GAP, 0, 0))
    for _ in cells:
        line.add_column(no_wrap=True)
    line.add_row(*cells)
    return line


@contextlib.contextmanager
def stdout_kept(as_json: bool) -> Iterator[None]:
    """With --json, what a model prints goes to stderr, even if it prints past Python."""
    if not as_json:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
