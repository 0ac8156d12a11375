"""Where a command writes: results to stdout, everything else to stderr."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from results.format import escaped


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
