"""Folders that commands write to: made early, and taken away again where nothing was put in."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.errors import InputError
from results.run.record import RunDirectory, update_latest


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


@contextlib.contextmanager
def run_folder(out: Path | None, *subjects: str) -> Iterator[Path]:
    """The run's folder, made early so that a bad one is found before a measurement is spent.

    Left empty by whatever goes wrong before there is something to keep, it is removed again. One in
    `runs/` in which something was kept is `runs/latest` from then on, whatever command wrote it.

    Args:
        out: the folder asked for; None makes one in `runs/`.
        subjects: what the run is of, for its name.

    Raises:
        InputError: it cannot be made or written to.
        RunExistsError: it holds a run already.
    """
    if out is not None and not out.name:
        raise InputError(f"out must name a folder, but got {str(out)!r}")
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    name = "-".join([now, *(Path(subject).stem for subject in subjects)])
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    made: list[Path] = []
    folder = out or _unused(Path("runs") / name)
    try:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        if out is None:
            folder.parent.mkdir(exist_ok=True)
            folder.mkdir()  # a run that was started in the same second has another
        RunDirectory.create(folder)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"out must be a folder to write to, but {folder}: {reason}") from None
    try:
        yield folder
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # not empty: there is something in it to keep
                path.rmdir()
        if out is None and folder.exists():
            update_latest(folder)


def _unused(folder: Path) -> Path:
    number, free = 2, folder
    while free.exists():
        free = folder.with_name(f"{folder.name}-{number}")
        number += 1
    return free
