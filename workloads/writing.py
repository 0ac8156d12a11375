"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workloads.errors import TraceFileError


def check_folder(path: Path) -> None:
    """Raise TraceFileError unless a file can be made in the folder of `path`."""
    folder = path.parent
    if not folder.is_dir():
        raise TraceFileError(f"{path} cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise TraceFileError(f"{path} cannot be written: {folder} lets nothing be made in it")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file to write to; it takes the place of `path` once all is written.

    Raises:
        TraceFileError: It cannot be written.
    """
    # In the same folder, since a rename is atomic within one file system only.
    draft = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        yield draft
        draft.replace(path)
    except OSError as error:
        raise TraceFileError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):  # still there only if something failed
            draft.unlink()
