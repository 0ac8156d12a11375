"""Writing down when a live service's requests arrive, so that they can be replayed.

A recording is text. Its first line is a JSON object that says what it is and when it began; each
further line is a request, as whole numbers with commas between:

    {"dynbatch_recording": 1, "started": "2026-03-01T09:30:00.000000+00:00", "columns": [...]}
    1534211
    1987400
    # end 60000000000

The first number is the arrival in nanoseconds from the start. Lines that begin with `#` are
remarks: where the recording ended, so that silence at its end is part of it, and how many arrivals
could not be written, if any. The file is only ever appended to: after a crash it ends at the last
flush, at worst in the middle of a line, which a reader leaves out.
"""

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, Self, TextIO

from workloads.checks import positive
from workloads.errors import TraceError, TraceFileError

log = logging.getLogger("workloads")

VERSION = 1
MAGIC = "dynbatch_recording"
ARRIVAL = "arrival_ns"
END, LOST = "# end ", "# lost "


class TraceRecorder:
    """Writes arrivals to a file from a thread of its own; `record` only appends to a buffer.

    Closed, rotated or cut off by a crash, each file can be given to `--trace` as it is. A file
    that is there already is kept under a name with a number: `arrivals-1.rec`, then -2, and so on,
    as is one that has reached its largest size.

    Args:
        path: the file; `{pid}` in it stands for the process, for services of several processes.
        size_of: gives the number that is kept of a payload, its tokens say; None keeps only times.
            It is called for every request by the thread that submits it; where it raises, or
            gives no whole number >= 0, 0 is kept.
        column: what that number is; a replay takes `input_tokens` for what it says and leaves
            others out.
        flush_s: seconds between two writes; what a crash may lose.
        rotate_bytes: size from which a file is closed and the next begun.
        now: the clock that the arrivals given to `record` are on, in seconds.

    Raises:
        TraceError: a number out of its range.
        TraceFileError: the file cannot be made.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size_of: Callable[[Any], int] | None = None,
        column: str = "input_tokens",
        flush_s: float = 1.0,
        rotate_bytes: int = 256 << 20,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        positive("flush_s", flush_s, TraceError)
        positive("rotate_bytes", rotate_bytes, TraceError)
        self.path = Path(str(path).replace("{pid}", str(os.getpid())))
        self._size_of = size_of
        self._columns = [ARRIVAL] + ([] if size_of is None else [column])
        self._flush_s = flush_s
        self._rotate_bytes = rotate_bytes
        self._now = now
        self._buffer: deque[Any] = deque()
        self._append: Callable[[Any], None] = self._buffer.append
        self._lost = 0
        self._writing = threading.Lock()
        try:
            self._file = self._open()
        except OSError as error:
            raise TraceFileError(f"{self.path} cannot be written: {error.strerror}") from None
        self._closing = threading.Event()
        self._flusher = threading.Thread(
            target=self._flush_repeatedly, name="trace-recorder", daemon=True
        )
        self._flusher.start()

    def record(self, at_s: float, payload: Any = None) -> None:
        """Note one arrival; from any thread, without a lock and without waiting for the disk.

        Args:
            at_s: when, on the recorder's clock.
            payload: what `size_of` takes; it is not kept.
        """
        if self._size_of is None:
            self._append(at_s)
            return
        try:
            size = self._size_of(payload)
        except Exception:  # noqa: BLE001 - a request is not to fail because it could not be measured
            size = 0
        self._append((at_s, size))

    def arrived(self, payload: Any = None) -> None:
        """Note one arrival now."""
        self.record(self._now(), payload)

    def flush(self) -> None:
        """Write what has been noted so far and hand it to the operating system."""
        with self._writing:
            self._write()

    def close(self) -> None:
        """Write the rest and where the recording ended; what comes later is left out."""
        self._append = _forget  # a service that goes on does not fill its memory
        self._closing.set()
        self._flusher.join()
        with self._writing:
            if self._file.closed:
                return
            self._write()
            self._end_file()

    def __enter__(self) -> Self:
        """The recorder itself; it records from its making on."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _flush_repeatedly(self) -> None:
        while not self._closing.wait(self._flush_s):
            self.flush()

    def _open(self) -> TextIO:
        if self.path.exists():
            self.path.rename(self._free_name())
        # From here on; taken before the header is written, since requests do not wait for that.
        self._began_s = self._now()
        started = datetime.now(UTC).isoformat(timespec="microseconds")
        file = self.path.open("x", encoding="ascii")
        header = {MAGIC: VERSION, "started": started, "columns": self._columns}
        file.write(json.dumps(header) + "\n")
        file.flush()
        return file

    def _free_name(self) -> Path:
        number = 1
        while True:
            path = self.path.with_name(f"{self.path.stem}-{number}{self.path.suffix}")
            if not path.exists():
                return path
            number += 1

    def _write(self) -> None:
        """Under the lock: move the buffer into the file."""
        rows: list[Any] = []
        # Callers go on appending meanwhile; `popleft` loses none, as swapping the buffer could.
        with suppress(IndexError):
            while True:
                rows.append(self._buffer.popleft())
        if not rows or self._file.closed:
            return
        # Threads may come in between stamping and appending; sizes need not be comparable.
        rows.sort(key=None if self._size_of is None else itemgetter(0))
        began_s = self._began_s
        if self._size_of is None:
            text = "".join([f"{_ns(at_s - began_s)}\n" for at_s in rows])
        else:
            text = "".join([f"{_ns(at_s - began_s)},{_whole(size)}\n" for at_s, size in rows])
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            if not self._lost:
                log.warning("%s: arrivals are lost: %s", self.path, error.strerror)
            self._lost += len(rows)
            return
        if self._file.tell() >= self._rotate_bytes:
            self._end_file()
            try:
                self._file = self._open()
            except OSError as error:
                log.warning("%s: recording ends here: %s", self.path, error.strerror)

    def _end_file(self) -> None:
        with suppress(OSError):  # the disk is full: the rows that are there are still a trace
            if self._lost:
                self._file.write(f"{LOST}{self._lost}\n")
            self._file.write(f"{END}{_ns(self._now() - self._began_s)}\n")
        with suppress(OSError):
            self._file.close()


def _forget(_: Any) -> None:
    pass


def _ns(seconds: float) -> int:
    return max(0, round(seconds * 1e9))


def _whole(size: Any) -> int:
    try:
        return max(0, int(size))
    except (TypeError, ValueError, OverflowError):
        return 0
