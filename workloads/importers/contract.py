"""What an importer is, what it is told, and what it hands over.

A new format is a file with an `Importer` and a line in `workloads.importers.IMPORTERS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from workloads.errors import TraceFileError
from workloads.importers.stream import Head, Stream
from workloads.importers.units import TimeUnit
from workloads.specs import DescribedTrace, ListedTrace

MISSING = -1  # the token count of a request that has none


@dataclass(frozen=True)
class Reading:
    """How a trace file is to be read, where its content alone does not say.

    Attributes:
        format: Name of an importer, or None to recognise the format by the content.
        time_column: The column or field with the arrival times, for files that have several.
        time_unit: Unit of numeric times: s, ms, us or ns.
        skip_bad: At most this many bad lines are left out; one more is an error.

    Raises:
        TraceFileError: A unit that does not exist, or a negative skip_bad.
    """

    format: str | None = None
    time_column: str | None = None
    time_unit: TimeUnit | None = None
    skip_bad: int = 0

    def __post_init__(self) -> None:
        if self.time_unit is not None and self.time_unit not in get_args(TimeUnit):
            units = ", ".join(get_args(TimeUnit))
            raise TraceFileError(f"time_unit must be one of {units}, but got {self.time_unit}")
        if self.skip_bad < 0:
            raise TraceFileError(f"skip_bad must be >= 0, but got {self.skip_bad}")


class BadEntryError(ValueError):
    """One line, row or sample is not as the format says; the message says what is wrong."""


@dataclass(frozen=True)
class Chunk:
    """Some of a recording's requests, in the order of the file.

    Attributes:
        time_ns: int64 `[N]`, arrival times in nanoseconds since whatever the file counts from.
        input_tokens: int64 `[N]`, MISSING where a request has none; or None.
        output_tokens: int64 `[N]`, likewise.
    """

    time_ns: NDArray[np.int64]
    input_tokens: NDArray[np.int64] | None = None
    output_tokens: NDArray[np.int64] | None = None


class Findings:
    """What an importer came upon: bad lines, counted against the limit, and notes.

    Args:
        skip_bad: How many bad lines are left out before the next one is an error.
    """

    def __init__(self, skip_bad: int) -> None:
        self.notes: list[str] = []
        self.bad = 0
        # Set by an importer that knows them better than its requests tell.
        self.window_ns: tuple[int, int] | None = None
        self.entries: int | None = None
        self._limit = skip_bad
        self._first = ""

    @property
    def bad_left(self) -> int:
        """How many more bad lines would be left out."""
        return self._limit - self.bad

    def note(self, text: str) -> None:
        """Keep a sentence for whoever uses the trace; the same one is kept once."""
        if text not in self.notes:
            self.notes.append(text)

    def leave_out(self, complaints: Mapping[int, str], word: str = "line") -> None:
        """Count bad lines, given by their number in the file.

        Raises:
            TraceFileError: One more than may be left out; it is the one that the message names.
        """
        for number in sorted(complaints):
            where = f"{word} {number:,}: {complaints[number]}"
            if not self.bad_left:
                if self._limit:
                    where += f"; it is one more bad {word} than the {self._limit:,} of skip_bad"
                raise TraceFileError(where)
            self._first = self._first or where
            self.bad += 1

    def summarise_bad(self, requests: int, word: str = "line") -> None:
        """Note what was left out of a file in which `requests` were found."""
        if self.bad:
            entries = f"{word}s" if self.bad > 1 else word
            of = self.bad + (requests if self.entries is None else self.entries)
            self.note(f"{self.bad:,} bad {entries} of {of:,} skipped; the first: {self._first}")


class Importer(ABC):
    """One format of trace files.

    Attributes:
        format: What `--trace-format` calls it.
        what: What it is, in a few words.
        generic: True for a container of any columns; specific formats are asked first.
        takes_time_column: Whether `Reading.time_column` means anything here.
        takes_time_unit: Whether `Reading.time_unit` does.
    """

    format: ClassVar[str]
    what: ClassVar[str]
    generic: ClassVar[bool] = False
    takes_time_column: ClassVar[bool] = False
    takes_time_unit: ClassVar[bool] = False

    @abstractmethod
    def recognises(self, head: Head) -> bool:
        """Whether a file that begins like this is of the format; never raises."""

    @abstractmethod
    def load(
        self, stream: Stream, reading: Reading, *, name: str, path: str
    ) -> DescribedTrace | ListedTrace:
        """What the file holds; `name` and `path` are what the trace is called after.

        Raises:
            WorkloadError: The content is not as the format or the reading says.
        """


class RecordingImporter(Importer):
    """A format that records requests one by one, whenever they arrived."""

    entry: ClassVar[str] = "line"  # what one request is in the file

    @abstractmethod
    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests as they stand in the file.

        Raises:
            TraceFileError: An entry that is no request, beyond those that may be left out.
        """

    def load(self, stream: Stream, reading: Reading, *, name: str, path: str) -> ListedTrace:
        """The recording, sorted, with notes on how it was read; see `assemble`."""
        from workloads.importers.assembly import assemble

        findings = Findings(reading.skip_bad)
        chunks = self.read(stream, reading, findings)
        return assemble(chunks, findings, self, name=name, path=path)
