"""Where the results of a command go."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.config import Settings
from bench.errors import InputError
from results.run import RunDirectory


def run_folder(
    out: Path | None, settings: Settings, *, suffix: str = ""
) -> contextlib.AbstractContextManager[Path]:
    """The folder of a run with these settings; see `named_folder`."""
    name = f"{Path(settings.model.model).stem}-{Path(settings.replay.trace).stem}{suffix}"
    return named_folder(out, name)


@contextlib.contextmanager
def named_folder(out: Path | None, name: str) -> Iterator[Path]:
    """The folder of results, made early so that a bad one is found before a measurement is spent.

    Left empty by whatever goes wrong before there is something to keep, it is removed again.

    Args:
        out: what the user asked for; runs/<time>-<name> otherwise.
        name: what the results are of.

    Raises:
        InputError: nothing can be written there.
        RunExistsError: it holds a run already.
    """
    if out is not None and not out.name:
        raise InputError(f"out must name a folder, but got {str(out)!r}")
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in f"{now}-{name}")
    made: list[Path] = []
    folder = out or unused(Path("runs") / name)
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


def unused(folder: Path) -> Path:
    """Return the folder, with a number behind its name if there is one of that name already."""
    number, free = 2, folder
    while free.exists():
        free = folder.with_name(f"{folder.name}-{number}")
        number += 1
    return free
