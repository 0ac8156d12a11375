"""Where a command writes: results to stdout, everything else to stderr."""

import contextlib
import os
import sys
from collections.abc import Iterator

from rich.console import Console


def message_console(*, quiet: bool = False) -> Console:
    """Progress and remarks, on stderr."""
    return Console(stderr=True, quiet=quiet, highlight=False)


def output_console() -> Console:
    """Results, on stdout."""
    return Console(highlight=False)


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
