"""Rows of text, whatever held them, and the requests they tell of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads import schema
from workloads.errors import TraceFileError
from workloads.importers.contract import Chunk, Findings
from workloads.importers.convert import Times, shown, tokens

# What a column with arrival times is called, but for a unit at the end.
TIME_NAMES = frozenset({
    "@timestamp", "arrival", "arrival_time", "arrived_at", "arrivals", "created", "created_at",
    "date", "date_time", "datetime", "received_at", "request_timestamp",
    "start", "start_time", "start_timestamp", "started_at", "time", "timestamp", "timestamps",
    "timestamp_start_unix", "ts",
})  # fmt: skip
_UNITS = ("s", "sec", "seconds", "ms", "milliseconds", "us", "microseconds", "ns", "nanoseconds")
INPUT_NAMES = frozenset({
    "input_tokens", "input_length", "input_len", "num_input_tokens", "prompt_tokens",
    "prompt_length", "prompt_len", "request_tokens", "context_tokens", "contexttokens",
})  # fmt: skip
OUTPUT_NAMES = frozenset({
    "output_tokens", "output_length", "output_len", "num_output_tokens", "completion_tokens",
    "response_tokens", "generated_tokens", "generatedtokens",
})  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Some rows of a file.

    Attributes:
        columns: By name, an Arrow array of bytes `[N]`.
        numbers: int64 `[N]`, where each row stands in the file.
        complaints: Rows that are left out already, by their number, and why.
    """

    columns: Mapping[str, Any]
    numbers: NDArray[np.int64]
    complaints: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Columns:
    """Which columns tell of what.

    Attributes:
        time: When a request arrived, or else ended.
        input: Its input tokens, if there is such a column.
        output: Its output tokens.
        took: How long it took, where `time` is its end.
        optional: Whether a request may lack a token count.
    """

    time: str
    input: str | None = None
    output: str | None = None
    took: str | None = None
    optional: bool = False

    @property
    def names(self) -> list[str]:
        """All of them, once each."""
        named = (self.time, self.input, self.output, self.took)
        return list(dict.fromkeys(name for name in named if name is not None))


def chunks(
    rows: Iterator[Rows],
    columns: Columns,
    time: Times,
    findings: Findings,
    *,
    took: Times | None = None,
    word: str = "line",
) -> Iterator[Chunk]:
    """The requests that the rows tell of, without the bad ones.

    Raises:
        TraceFileError: More bad rows than may be left out.
    """
    for part in rows:
        checked = _Checked(part, findings.bad_left)
        time_ns = checked.column(columns.time, time.convert, time.complaint)
        if took is not None and columns.took is not None:
            took_ns = checked.column(columns.took, took.convert, took.complaint)
            time_ns = checked.before(time_ns, took_ns, columns.took)
        counts = [
            None if name is None else checked.tokens(name, optional=columns.optional)
            for name in (columns.input, columns.output)
        ]
        findings.leave_out(checked.complaints, word)
        if checked.bad.any():
            time_ns = time_ns[~checked.bad]
            counts = [None if c is None else c[~checked.bad] for c in counts]
        yield Chunk(time_ns, *counts)


class _Checked:
    """The values of some rows, and what is wrong with any of them; the first complaint counts."""

    def __init__(self, rows: Rows, most_bad: int) -> None:
        self.complaints = dict(rows.complaints)
        self.bad = np.zeros(len(rows.numbers), bool)
        self._rows = rows
        self._most_bad = most_bad

    def column(
        self,
        name: str,
        convert: Callable[[Any, int], tuple[NDArray[np.int64], list[int]]],
        complain: Callable[[bytes], str],
    ) -> NDArray[np.int64]:
        texts = self._rows.columns[name]
        values, wrong = convert(texts, self._most_bad)
        for i in wrong:
            self._complain(i, complain(texts[i].as_py()))
        return values

    def tokens(self, name: str, *, optional: bool) -> NDArray[np.int64]:
        return self.column(
            name,
            partial(tokens, optional=optional),
            lambda text: f"{name} must be a whole number of tokens, but got {shown(text)}",
        )

    def before(
        self, end_ns: NDArray[np.int64], took_ns: NDArray[np.int64], name: str
    ) -> NDArray[np.int64]:
        """When requests began that took so long."""
        with np.errstate(over="ignore"):
            began_ns = end_ns - took_ns
        for i in np.flatnonzero((took_ns < 0) | (began_ns > end_ns)).tolist():
            text = self._rows.columns[name][i].as_py()
            self._complain(i, f"{name} must be >= 0 and in reach, but got {shown(text)}")
        return began_ns

    def _complain(self, i: int, complaint: str) -> None:
        self.bad[i] = True
        self.complaints.setdefault(int(self._rows.numbers[i]), complaint)


def choose_time(names: Sequence[str], asked: str | None) -> str:
    """The column with the arrival times: the one asked for, or the only one called so.

    Raises:
        TraceFileError: No such column, none that looks like it, or several.
    """
    listed = schema.shown(", ".join(names))
    if asked is not None:
        if asked not in names:
            raise TraceFileError(
                f"time_column must be one of {listed}, but got {schema.shown(asked)}"
            )
        return asked
    plausible = [name for name in names if is_time_name(name)]
    if len(plausible) == 1:
        return plausible[0]
    if plausible:
        raise TraceFileError(
            f"must have one column of arrival times, but could be {' or '.join(plausible)}: "
            f"name it with --time-column"
        )
    raise TraceFileError(
        f"must have a column of arrival times, but has {listed}: name it with --time-column"
    )


def is_time_name(name: str) -> bool:
    """Whether a column is called as columns of arrival times are."""
    plain = name.strip().lower().replace(" ", "_")
    stem, _, unit = plain.rpartition("_")
    return plain in TIME_NAMES or (unit in _UNITS and stem in TIME_NAMES)


def choose_tokens(
    names: Sequence[str], known: frozenset[str], note: Callable[[str], None]
) -> str | None:
    """The one column of `names` that is called so; several are noted, and none is taken."""
    found = [name for name in names if name.strip().lower().replace(" ", "_") in known]
    if len(found) > 1:
        note(f"{' and '.join(found)} could each be a request's tokens: none was kept")
        return None
    return found[0] if found else None
