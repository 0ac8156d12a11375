"""The `dynbatch` command. Heavy packages are imported by the subcommand that needs them.

Nothing but the standard library is imported before `main` is at work: from there on Ctrl-C is one
line and an exit code, whatever is being imported.
"""

import os
import signal
import sys
import threading
from typing import Any

from bench.exit_codes import FAILED, INPUT, INTERRUPTED, OK
from bench.interrupts import catch_interrupts


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        catch_interrupts()
        from bench.streams import secure_streams

        secure_streams()
        code = run()
        # All is said and written: what follows is the interpreter's own way out.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        code = _say("interrupted", INTERRUPTED)
    others = set(threading.enumerate()) - {threading.main_thread()}
    if any(not thread.daemon or thread.name.startswith("dynbatch-") for thread in others):
        # A model that hangs, or was interrupted in the middle of native code: the interpreter's
        # own way out would wait for that thread or abort in it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run() -> int:
    """Run the command line; every foreseen error is one line and an exit code."""
    # What a notebook hands down names a backend that need not be here, and nothing is shown: all
    # figures are files.
    os.environ["MPLBACKEND"] = "agg"
    code = _run()
    from bench.streams import lost_output

    lost = lost_output()
    if lost is None:
        return code
    message, kept = lost
    return _say(message, code if kept or code != OK else FAILED)


def _run() -> int:
    if sys.argv[1:2] == ["--version"]:
        from batching.versions import own_version

        sys.stdout.write(f"dynbatch {own_version()}\n")
        return OK
    try:
        import typer

        from bench import commands

        command: Any = typer.main.get_command(commands.application())
        code = command.main(args=None, prog_name="dynbatch", standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}", FAILED)
    except Exception as error:
        foreseen = outcome_of(error)
        if foreseen is None:
            raise
        return _say(*foreseen)
    if code == INTERRUPTED:
        return _say(getattr(code, "message", "interrupted"), INTERRUPTED)
    return code if isinstance(code, int) else OK


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
    if message:  # none for a bare `dynbatch`, which has printed its help
        from bench.streams import say

        say(message)
    return code
