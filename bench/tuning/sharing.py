"""Several workers on one study: whose turn it is, and who is still at work on which trial.

A worker proposes and tells only in its turn, which it takes from the database that all share, so
that no two are given the same trial or the same setting. A turn is a few milliseconds of queries
and sampling; what a trial costs is spent outside it.

Optuna's own heartbeat is not used. In ask and tell nothing records it, `ask` warns of it, and a
trial whose worker died before its first beat is never found. Instead a trial says in its
attribute `worker` who runs it and counts beats there. Whoever sees the same count for
`LEASE_S` of its own monotonic clock takes the worker for lost: no two clocks are compared. On the
worker's own machine there is no need to wait, as its process is known to be gone.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import RunFailedError
from bench.tuning.search.storage import is_database

if TYPE_CHECKING:
    import optuna

BEAT_S = 5.0
LEASE_S = 60.0
# How often somebody who has nothing to do looks again.
POLL_S = 0.5
# A worker that hangs in its turn holds up all others.
_LONGEST_TURN_S = 60
_SHARED = ("postgresql", "sqlite")
WORKER = "worker"


class Observer:
    """Who has shown no sign of life for too long.

    Args:
        lease_s: for so long a worker may be silent.
        now: a clock that only ever goes forward, seconds.
    """

    def __init__(self, lease_s: float = LEASE_S, now: Callable[[], float] = time.monotonic) -> None:
        self._lease_s = lease_s
        self._now = now
        self._seen: dict[object, tuple[Any, float]] = {}

    def is_lost(self, key: object, worker: Mapping[str, Any] | None) -> bool:
        """Whether a worker is lost, by what it last said of itself.

        Args:
            key: of what it does.
            worker: its attribute; None if it has said nothing yet.
        """
        if worker is not None and is_gone(worker):
            return True
        now_s = self._now()
        if key not in self._seen or self._seen[key][0] != worker:
            self._seen[key] = (worker, now_s)
            return False
        return now_s - self._seen[key][1] > self._lease_s


@dataclass(frozen=True)
class Team:
    """What a worker knows of those it shares a study with.

    Attributes:
        turn: gives a context in which no other worker proposes or tells.
        observer: which of the others are lost.
        pulse_s: how often this one says that it is still there.
    """

    turn: Callable[[], AbstractContextManager[None]]
    observer: Observer = field(default_factory=Observer)
    pulse_s: float = BEAT_S


def team_on(storage: "optuna.storages.BaseStorage", name: str) -> Team | None:
    """The team that shares the trials of a tuning; None if its storage is for one process only.

    Args:
        storage: of its studies.
        name: of the tuning: all its studies share one turn.
    """
    engine = getattr(storage, "engine", None)
    if not is_database(storage) or engine is None or engine.name not in _SHARED:
        return None
    if engine.name == "sqlite":
        database = engine.url.database
        if not database or database == ":memory:":
            return None
        return Team(lambda: _file_turn(Path(f"{database}.turn")))
    return Team(lambda: _advisory_turn(engine, name))


@contextlib.contextmanager
def _advisory_turn(engine: Any, name: str) -> Iterator[None]:
    """A lock of PostgreSQL's that ends with its transaction, and so with whoever holds it."""
    from hashlib import blake2b

    from sqlalchemy import text

    digest = blake2b(f"dynbatch {name}".encode(), digest_size=8).digest()
    key = int.from_bytes(digest, "big", signed=True)
    with engine.begin() as connection:
        for limit in ("lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SET LOCAL {limit} = '{_LONGEST_TURN_S}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        yield


@contextlib.contextmanager
def _file_turn(path: Path) -> Iterator[None]:
    """A lock beside an SQLite database, which is for the processes of one machine anyway.

    Not on the database itself: closing any other handle of it ends the locks that SQLite has there.
    """
    import fcntl

    with path.open("w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@cache
def _pid_space() -> str:
    """Where a process number means the same process; empty where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    return f"{boot} {namespace}"


def this_worker() -> dict[str, Any]:
    """Who this process is, JSON-able."""
    import psutil

    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "started": psutil.Process(pid).create_time(),
        "pid_space": _pid_space(),
    }


def is_gone(worker: Mapping[str, Any]) -> bool:
    """Whether a worker is known to have ended: one of this machine, whose process is no more."""
    import psutil

    if not worker.get("pid_space") or worker["pid_space"] != _pid_space():
        return False
    try:
        process = psutil.Process(worker["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return bool(abs(process.create_time() - worker["started"]) > 1.0)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


class Pulse:
    """Beats, from a thread of its own, as long as its context lasts.

    Args:
        write: puts down a worker with its count of beats.
        every_s: how often.
    """

    def __init__(self, write: Callable[[dict[str, Any]], None], every_s: float = BEAT_S) -> None:
        self._write = write
        self._every_s = every_s
        self._worker = this_worker()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def __enter__(self) -> None:
        """Start the thread."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """End the thread; it writes nothing after this."""
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        beat = 0
        while not self._ended.wait(self._every_s):
            beat += 1
            # A storage that is away for a moment costs a beat. A trial that others have taken for
            # lost cannot be written any more; its result will be refused when it is told.
            with contextlib.suppress(Exception):
                self._write({**self._worker, "beat": beat})


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
