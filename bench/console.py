"""Where a command writes: results to stdout, everything else to stderr."""

from rich.console import Console


def message_console(*, quiet: bool = False) -> Console:
    """Progress and remarks, on stderr."""
    return Console(stderr=True, quiet=quiet, highlight=False)


def output_console() -> Console:
    """Results, on stdout."""
    return Console(highlight=False)
