"""Folders that commands write to: made early, and taken away again where nothing was put in."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.errors import InputError


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[Path]:
    """The folder, made early so that a bad one is found before long work is done for nothing.

    What was made of it, and of those above it, is removed again if it was left empty.

    Raises:
        InputError: It cannot be made, or nothing can be written into it.
    """
    made: list[Path] = []
    try:
        with writing(folder):
            made = [path for path in (folder, *folder.parents) if not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".writable"
            probe.touch()
            probe.unlink()
        yield folder
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # not empty: there is something in it to keep
                path.rmdir()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write to the path into one line.

    Raises:
        InputError: What was an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"out must be a place to write to, but {path}: {reason}") from None
