"""The `dynbatch` command. Heavy packages are imported by the subcommand that needs them."""

import contextlib
import os
import signal
import sys
import threading
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from bench import commands
from bench.exits import FAILED, INPUT, INTERRUPTED, OK

app = typer.Typer(
    name="dynbatch",
    help="Benchmark and tune dynamic batching of PyTorch inference under replayed arrivals.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
commands.register(app)


@app.callback()
def common(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True),
    ] = False,
) -> None:
    """Take the options that go with no subcommand."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may know ASCII only
    code = run()
    if any(t.name.startswith("dynbatch-") and t.is_alive() for t in threading.enumerate()):
        # A model that hangs, or was interrupted in the middle of native code: the interpreter's
        # own way out would wait for that thread or abort in it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run() -> int:
    """Run the command line; every foreseen error is one line and an exit code."""
    if sys.argv[1:2] == ["--version"]:
        from batching.versions import own_version

        sys.stdout.write(f"dynbatch {own_version()}\n")
        return OK
    command: Any = typer.main.get_command(app)
    try:
        code = command.main(args=None, prog_name="dynbatch", standalone_mode=False)
        sys.stdout.flush()  # a full disk shows here, not after the last line of ours has run
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except OSError as error:
        _silence_stdout()
        if isinstance(error, BrokenPipeError):
            return FAILED
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}", FAILED)
    except Exception as error:
        foreseen = outcome_of(error)
        if foreseen is None:
            raise
        return _say(*foreseen)
    return code if isinstance(code, int) else OK


def _silence_stdout() -> None:
    """Point stdout at nothing, so that leaving does not try to write there again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def outcome_of(error: Exception) -> tuple[str, int] | None:
    """Message and exit code of a foreseen error; None for a bug, which deserves its traceback."""
    # Click's own exceptions, by name: typer ships its own copy of click in some versions.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "ClickException" in kinds:
        return str(getattr(error, "format_message", error.__str__)()), INPUT
    if "Abort" in kinds:
        return "interrupted", INTERRUPTED
    from batching.errors import BatchingError, ConfigError
    from bench.errors import BenchError, InputError
    from results.errors import ResultsError
    from workloads.errors import WorkloadError

    if isinstance(error, (ConfigError, WorkloadError, ResultsError, InputError)):
        return str(error), INPUT
    if isinstance(error, (BatchingError, BenchError)):
        return str(error), FAILED
    return None


def _say(message: str, code: int) -> int:
    if not message:
        return code  # a bare `dynbatch` has printed its help
    sys.stderr.write(f"dynbatch: {' '.join(message.split())}\n")
    return code
