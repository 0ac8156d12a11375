"""Files written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def beside(path: Path) -> Path:
    """Where to write what takes the place of `path` afterwards, in the same folder."""
    return path.with_name(f".{path.name}.{os.getpid()}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which then takes the place of the one given.

    Raises:
        OSError: It cannot be written; `filename` is the path given, of a full disk too.
    """
    fresh = beside(path)
    try:
        yield fresh
        fresh.replace(path)
    except OSError as error:
        if error.filename in (None, str(fresh)):
            # One that holds a message alone, as those of pyarrow may, is said by its strerror.
            error.strerror = error.strerror or str(error)
            error.filename = str(path)
        raise
    finally:
        fresh.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8")
