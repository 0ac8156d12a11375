"""Studies that last: where trials are kept, and how one that was cut off is taken up again.

A trial is written before it is run and again once it is finished, so that whatever ends the
process loses at most the one in hand. By default they are kept in a journal file, which needs no
server and no locking by the file system; `--storage URL` takes any database that Optuna does.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import InputError, RunFailedError
from bench.hardware.environment import without_password

if TYPE_CHECKING:
    import optuna

JOURNAL = "study.journal"
OWNER = "dynbatch"
_ENGINE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "postgresql": {"connect_args": {"connect_timeout": 10}},
    "sqlite": {"connect_args": {"timeout": 60}},
}


@contextlib.contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Hold a folder's studies, so that no second process resumes what is still running.

    The kernel lets go of it when the process ends, however it ends.

    Raises:
        InputError: another process has them.
    """
    import fcntl

    with (folder / f"{JOURNAL}.held").open("w", encoding="utf-8") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{folder} must not be in use, but another process is tuning there"
            ) from None
        yield


def open_storage(folder: Path, url: str | None) -> "optuna.storages.BaseStorage":
    """The storage at a URL, or the journal in a folder that this process alone uses.

    Raises:
        InputError: it cannot be reached, or the journal is damaged.
    """
    from optuna.storages import JournalStorage

    from bench.tuning.search.journal import Journal

    if url is not None:
        return open_database(url)
    path = folder / JOURNAL
    cut_torn_line(path)
    try:
        return JournalStorage(Journal(path))
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} must be a journal of Optuna, but {error}") from None


@contextlib.contextmanager
def storage_in(folder: Path, url: str | None) -> Iterator["optuna.storages.BaseStorage"]:
    """The storage as `open_storage` finds it, let go at the end of the context.

    Raises:
        InputError: it cannot be reached, or the journal is damaged.
    """
    storage = open_storage(folder, url)
    try:
        yield storage
    finally:
        let_go(storage)


def open_database(url: str) -> "optuna.storages.RDBStorage":
    """The storage at a URL.

    Raises:
        InputError: it is no URL of a database, its driver is missing, or it cannot be reached.
    """
    import optuna
    from sqlalchemy import make_url

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it tells of every study and trial
    shown = without_password(url)
    try:
        parsed = make_url(url)
        if parsed.drivername in {"postgresql", "postgres"}:
            parsed = parsed.set(drivername="postgresql+psycopg")
        options = _ENGINE_OPTIONS.get(parsed.get_backend_name(), {})
        return optuna.storages.RDBStorage(
            parsed.render_as_string(hide_password=False),
            engine_kwargs={"pool_pre_ping": True, **options},
        )
    except ImportError as error:
        if "psycopg" not in repr((error, error.__cause__)):
            raise InputError(
                f"storage must be of a database whose driver is installed, but got {shown!r}"
            ) from None
        raise InputError(
            "storage on PostgreSQL must be with its driver, but psycopg is not installed: "
            "pip install 'dynbatch[postgresql]'"
        ) from None
    except Exception as error:  # noqa: BLE001 - each driver raises errors of its own
        orig = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None)
        reason = " ".join(str(orig or error).split())
        raise InputError(
            f"storage must be the URL of a database that can be reached, "
            f"but got {shown!r}: {reason[:200]}"
        ) from None


def let_go(storage: "optuna.storages.BaseStorage") -> None:
    """Close the connections to a database; they are opened again if it is used again."""
    import optuna

    if isinstance(storage, optuna.storages.RDBStorage):
        storage.engine.dispose()


@contextlib.contextmanager
def storage_failures_told() -> Iterator[None]:
    """Turn a storage that fails in the middle of the work into one line.

    Raises:
        RunFailedError: what was an error of Optuna's storage or of the database's driver.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
        reason = " ".join(str(getattr(cause, "orig", None) or cause).split())
        raise RunFailedError(
            f"the storage failed: {reason[:200]}; trials that were finished are kept"
        ) from None


def cut_torn_line(path: Path) -> bool:
    """Cut off the end of a journal whose writer was killed in the middle of a line.

    Returns:
        Whether there was anything to cut off.

    Raises:
        InputError: something before the last line cannot be read: that is no torn line.
    """
    if not path.exists():
        return False
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if not _is_json(line):
            if number < len(lines):
                raise InputError(f"{path} must be a journal of Optuna, but line {number} is none")
            whole = whole[: -len(line)]
    if len(whole) == len(content):
        return False
    with path.open("r+b") as file:
        file.truncate(len(whole))
        file.flush()
        os.fsync(file.fileno())
    return True


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def open_study(
    storage: "optuna.storages.BaseStorage",
    name: str,
    *,
    maximise: bool,
    identity: Mapping[str, Any],
) -> "optuna.Study":
    """The study of that name, new or taken up again.

    Trials that were running when its process ended are failed. Those that had been asked for by
    name are put back into the queue; the sampler proposes the others again by itself, as what it
    proposes depends on the finished trials only.

    Args:
        storage: where it is, or will be, kept.
        name: of the study.
        maximise: whether more is better.
        identity: what must be the same for its trials to mean the same.

    Raises:
        InputError: there is one of that name that is not ours, or is of something else.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        direction="maximize" if maximise else "minimize",
        load_if_exists=True,
    )
    known = study.user_attrs.get(OWNER)
    if known is None:
        if study.get_trials(deepcopy=False):
            raise InputError(
                f"study {name} must be one that dynbatch made, but it has trials of something else"
            )
        study.set_user_attr(OWNER, dict(identity))
        return study
    check_same(f"study {name} must be resumed with what it was begun with", known, identity)
    requeue_orphans(study)
    return study


def check_same(must: str, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse what is not what was known, by the first name in which they differ.

    Raises:
        InputError: they do.
    """
    wanted = json.loads(json.dumps(wanted))
    differing = sorted(k for k in {*known, *wanted} if known.get(k) != wanted.get(k))
    if differing:
        first = differing[0]
        raise InputError(
            f"{must}, but {first} was {known.get(first)!r} and is {wanted.get(first)!r}"
        )


def requeue_orphans(study: "optuna.Study") -> int:
    """Fail the trials that nobody runs any more; returns how many there were."""
    from optuna.trial import TrialState

    orphans = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for orphan in orphans:
        study.tell(orphan.number, state=TrialState.FAIL)
        asked_for = orphan.system_attrs.get("fixed_params")
        if asked_for is not None:
            study.enqueue_trial(asked_for, user_attrs=dict(orphan.user_attrs))
    return len(orphans)
