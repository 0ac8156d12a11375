"""The process's own streams: what is written to them ends no command, and loses no result.

Imports the standard library only, so that it is at work before anything else is.
"""

import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from results.format import escaped


def say(message: str) -> None:
    """Write one line of the program's own to stderr, also where a command is quiet."""
    sys.stderr.write(f"dynbatch: {escaped(' '.join(message.split()))}\n")


class _Unfailing(FileIO):
    """A stream's file that lets go of what cannot be written, and remembers why.

    Attributes:
        error: the first that a write ended in; None so far.
        kept: where the result is on disk, so that nothing is lost with the stream.
    """

    error: OSError | None = None
    kept: Path | None = None

    def write(self, data: Any, /) -> int:
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return len(memoryview(data).cast("B"))


def secure_streams() -> None:
    """Give the process streams that writing to cannot end it: closed, full or without a reader.

    A closed one is opened on nothing first, or the next file that is opened would be in its place.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            file = os.open(os.devnull, os.O_RDWR)
            if file != number:
                os.dup2(file, number)
                os.close(file)
        if number:
            setattr(sys, name, _unfailing(number, stream))


def _unfailing(number: int, stream: TextIO | None) -> TextIOWrapper:
    # A terminal may know ASCII only; and a line of stderr is seen when it is written.
    return TextIOWrapper(
        BufferedWriter(_Unfailing(number, "w", closefd=False)),
        encoding=None if stream is None else stream.encoding,
        errors="replace",
        line_buffering=number == 2 or (stream is not None and stream.isatty()),
    )


def kept_in(path: Path) -> None:
    """Note that the result is on disk: nothing is lost if stdout does not take it."""
    file = _stdout()
    if file is not None:
        file.kept = path


def lost_output() -> tuple[str, bool] | None:
    """What to say of a result that stdout did not take, and whether it is on disk all the same.

    None if all was written, or if nobody was to read it: a closed stdout, or a reader that left.
    """
    sys.stdout.flush()
    file = _stdout()
    if file is None or file.error is None or isinstance(file.error, BrokenPipeError):
        return None
    said = f"stdout: {file.error.strerror}"
    return (said, False) if file.kept is None else (f"{said}; the result is in {file.kept}", True)


def _stdout() -> _Unfailing | None:
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return file if isinstance(file, _Unfailing) else None
