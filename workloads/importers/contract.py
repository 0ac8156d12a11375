"""What an importer is, what it is told, and what it hands over.

A new format is a file with an `Importer` and a line in `workloads.importers.IMPORTERS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from workloads.errors import TraceFileError
from workloads.importers.dates import DateOrder
from workloads.importers.stream import UNPACKED_GB, Head, Stream
from workloads.importers.units import TimeUnit
from workloads.specs import DescribedTrace, ListedTrace

Stamp: TypeAlias = Literal["start", "end"]
# How each option of a Reading is called where not every format takes it.
OPTIONS = (
    "time_column", "time_unit", "stamp", "duration_column", "duration_unit", "count_column",
    "where", "columns", "date_order",
)  # fmt: skip

_CHOICES = {
    "time_unit": TimeUnit, "duration_unit": TimeUnit, "stamp": Stamp, "date_order": DateOrder,
}  # fmt: skip

# Bad lines are counted so far, to say how many there are, even where one is too many.
MOST_COUNTED = 1000
MISSING = -1  # the token count of a request that has none


@dataclass(frozen=True)
class Reading:
    """How a trace file is to be read, where its content alone does not say.

    Attributes:
        format: Name of an importer, or None to recognise the format by the content.
        time_column: The column or field with the arrival times, for files that have several.
        time_unit: Unit of numeric times: s, ms, us or ns.
        date_order: What comes first in dates such as 01/03/2026: the "day" or the "month".
        stamp: Whether times are those of a request's "start", or of its "end", in which case its
            duration is taken off; None does what the format is known to say.
        duration_column: The column with the durations.
        duration_unit: Unit of numeric durations.
        count_column: The column that says how many requests a row stands for; "none" says that
            every row is one request, however it looks.
        where: Conditions "COLUMN=VALUE": only the rows with all these values there. One may be
            given as it is.
        columns: Names for the columns of a CSV file without a header.
        skip_bad: At most this many bad lines are left out; one more is an error.
        max_unpacked_gb: The most that a compressed file may hold, GB (10^9 bytes).

    Raises:
        TraceFileError: A unit or a stamp that does not exist, or a number out of range.
    """

    format: str | None = None
    time_column: str | None = None
    time_unit: TimeUnit | None = None
    date_order: DateOrder | None = None
    stamp: Stamp | None = None
    duration_column: str | None = None
    duration_unit: TimeUnit | None = None
    count_column: str | None = None
    where: tuple[str, ...] | str = ()
    columns: tuple[str, ...] = ()
    skip_bad: int = 0
    max_unpacked_gb: float = UNPACKED_GB

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise TraceFileError(f"{name} must be one of {known}, but got {value}")
        if self.skip_bad < 0:
            raise TraceFileError(f"skip_bad must be >= 0, but got {self.skip_bad}")
        if not self.max_unpacked_gb > 0:
            raise TraceFileError(f"max_unpacked_gb must be > 0, but got {self.max_unpacked_gb:g}")
        if isinstance(self.where, str):
            object.__setattr__(self, "where", (self.where,))
        if any(not text.partition("=")[0] or "=" not in text for text in self.where):
            raise TraceFileError(f"where must be COLUMN=VALUE, but got {', '.join(self.where)}")
        if len(self.conditions) < len(self.where):
            raise TraceFileError(
                f"where must name each column once, but got {', '.join(self.where)}: every "
                "condition must hold"
            )
        if self.stamp == "start" and (self.duration_unit or self.duration_column):
            raise TraceFileError(
                "stamp must be end for a duration to be taken off, but got start with a duration"
            )

    @property
    def conditions(self) -> dict[str, str]:
        """The value that a row must have, by its column."""
        return {text.partition("=")[0]: text.partition("=")[2] for text in self.where}

    @property
    def takes_durations_off(self) -> bool:
        """Whether the user said that a duration is to be taken off."""
        return bool(self.stamp == "end" or self.duration_unit or self.duration_column)


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
        word: What an entry of the file is called.
    """

    def __init__(self, skip_bad: int, word: str = "line") -> None:
        self.notes: list[str] = []
        self.word = word
        # Which rows were read, and what each was taken for, to go behind how many there are.
        self.chosen = self.assumed = ""
        self.bad = 0
        # Set by an importer that knows them better than its requests tell.
        self.window_ns: tuple[int, int] | None = None
        self.entries: int | None = None
        # How many entries there were, those of no interest too.
        self.read = 0
        # The step to which arrivals are known, where several share one.
        self.resolution_ns: int | None = None
        # What the rows are stamped with, where that is not the arrival.
        self.stamps_ns: list[NDArray[np.int64]] = []
        self._limit = skip_bad
        self._first = ""

    @property
    def bad_left(self) -> int:
        """How many more bad lines would be left out."""
        return self._limit - self.bad

    @property
    def most_bad(self) -> int:
        """After how many more bad lines there is no need to look for others."""
        return max(self.bad_left, MOST_COUNTED)

    def note(self, text: str) -> None:
        """Keep a sentence for whoever uses the trace; the same one is kept once."""
        if text not in self.notes:
            self.notes.append(text)

    def leave_out(self, complaints: Mapping[int, str]) -> None:
        """Count bad lines, given by their number in the file.

        Raises:
            TraceFileError: One more than may be left out; it is the one that the message names.
        """
        word = self.word
        for number in sorted(complaints):
            where = f"{word} {number:,}: {complaints[number]}"
            if not self.bad_left:
                left = len([other for other in complaints if other >= number])
                raise TraceFileError(f"{where}; {self._beyond(self.bad + left)}")
            self._first = self._first or where
            self.bad += 1

    def _beyond(self, bad: int) -> str:
        """What to say of so many bad lines, one of which is one more than may be left out."""
        word = self.word
        are = "are" if bad > 1 else "is"
        found = f"{bad:,} of the {self.read:,} {word}s read so far {are} bad"
        remedy = f"--skip-bad {bad} leaves {'them' if bad > 1 else 'it'} out"
        if bad > MOST_COUNTED:
            found = f"more than {MOST_COUNTED:,} {word}s are bad"
            remedy = "--skip-bad N leaves out so many"
        elif bad > self.read:
            found = f"{bad:,} {word}{'s' if bad > 1 else ''} {are} bad"
        if bad == self.read > 1:
            remedy = "is it of another format (--trace-format), or are its columns others?"
        if self._limit:
            found = f"it is one more bad {word} than the {self._limit:,} of skip_bad, and {found}"
        return f"{found}: {remedy}"

    def summarise(self, requests: int) -> None:
        """Note what a file in which `requests` were found was read as, and what was left out."""
        if self.assumed:
            rows = f"{requests:,} row{'s' if requests > 1 else ''}"
            rows += f" of {self.read:,}, those with {self.chosen}," if self.chosen else ","
            rows += " each" if requests > 1 else ""
            self.notes.insert(0, f"{rows} {self.assumed}")
        word = self.word
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
        takes: The options of a `Reading` that mean anything here, beside those that always do.
    """

    format: ClassVar[str]
    what: ClassVar[str]
    generic: ClassVar[bool] = False
    takes: ClassVar[frozenset[str]] = frozenset()

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
