"""Rows of text, whatever held them, and the requests they tell of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.importers.contract import Chunk, Findings
from workloads.importers.convert import Times, shown, tokens
from workloads.importers.counts import Counts


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
class Where:
    """Which rows are meant: those with this value in a column."""

    column: str
    value: str

    def __str__(self) -> str:
        return f"{self.column} {self.value}"


@dataclass(frozen=True)
class Columns:
    """Which columns tell of what.

    Attributes:
        time: When a request arrived, or else ended.
        day: The day of `time`, where that is a time of day only.
        input: Its input tokens, if there is such a column.
        output: Its output tokens.
        took: How long it took, where `time` is its end.
        count: How many requests the row stands for, where it is not one.
        where: Which rows are read, those that meet all of these; all rows without.
        optional: Whether a request may lack a token count.
    """

    time: str
    day: str | None = None
    input: str | None = None
    output: str | None = None
    took: str | None = None
    count: str | None = None
    where: tuple[Where, ...] = ()
    optional: bool = False

    @property
    def names(self) -> list[str]:
        """All of them, once each."""
        where = [condition.column for condition in self.where]
        named = [self.time, self.day, self.input, self.output, self.took, self.count, *where]
        return list(dict.fromkeys(name for name in named if name is not None))

    @property
    def arrival(self) -> str:
        """What was taken for the arrival, in words."""
        stamp = self.time if self.day is None else f"{self.day} and {self.time}"
        return stamp if self.took is None else f"{stamp} - {self.took}"


def chunks(
    rows: Iterator[Rows],
    columns: Columns,
    time: Times,
    findings: Findings,
    *,
    names: Sequence[str] = (),
    took: Times | None = None,
    counts: Counts | None = None,
) -> Iterator[Chunk]:
    """The requests that the rows tell of, without the bad ones; notes what was assumed.

    Args:
        rows: The rows.
        columns: What they are read for.
        time: How the arrival times, or ends, are converted.
        findings: Is told of bad rows, and of what each row was taken for.
        names: All the columns that there are; the others are named in the note.
        took: How durations are converted, if they are taken off.
        counts: Where the rows are counts of requests.

    Raises:
        TraceFileError: More bad rows than may be left out.
    """
    for part in rows:
        findings.read += len(part.numbers) + len(part.complaints)
        checked = _Checked(_chosen(part, columns.where), findings.most_bad)
        stamp_ns = time_ns = checked.times(columns, time)
        if took is not None and columns.took is not None:
            took_ns = checked.column(columns.took, took.convert, took.complaint)
            time_ns = checked.before(time_ns, took_ns, columns.took)
        tokens_of = [
            None if name is None else checked.tokens(name, optional=columns.optional)
            for name in (columns.input, columns.output)
        ]
        counted = None
        if columns.count is not None:
            counted = checked.counts(columns.count)
        findings.leave_out(checked.complaints)
        if checked.bad.any():
            good = ~checked.bad
            time_ns, stamp_ns = time_ns[good], stamp_ns[good]
            tokens_of = [None if c is None else c[good] for c in tokens_of]
            counted = None if counted is None else counted[good]
        if columns.took is not None:
            findings.stamps_ns.append(stamp_ns)
        if counts is None or counted is None:
            yield Chunk(time_ns, *tokens_of)
        else:
            counts.add(time_ns, counted)
    if counts is not None:
        yield Chunk(counts.spread(findings))
    elif names:
        _note_assumed(columns, names, findings)


def _note_assumed(columns: Columns, names: Sequence[str], findings: Findings) -> None:
    used = set(columns.names)
    others = [name for name in dict.fromkeys(names) if name not in used and name]
    tokens_of = [
        f"{name} {which}"
        for name, which in ((columns.input, "in"), (columns.output, "out"))
        if name is not None
    ]
    findings.assumed = f"taken as one request at its {columns.arrival}"
    findings.chosen = " and ".join(map(str, columns.where))
    if tokens_of:
        findings.assumed += f", tokens {' and '.join(tokens_of)}"
    if others:
        findings.assumed += f"; other columns: {shortened(others)}"


def shortened(names: Sequence[str], most: int = 12) -> str:
    """A list of names on one line, safe to print, with a count of those that are left out."""
    shown_ = []
    for name in names[:most]:
        text = name if name.isprintable() and len(name) <= 40 else shown(name)
        shown_.append(text)
    more = len(names) - most
    return ", ".join(shown_) + (f" and {more} more" if more > 0 else "")


def _chosen(rows: Rows, where: Sequence[Where]) -> Rows:
    import pyarrow as pa
    import pyarrow.compute as pc

    for condition in where:
        value = pa.scalar(condition.value.encode(), pa.binary())
        mask = pc.fill_null(pc.equal(rows.columns[condition.column], value), False)
        columns = {name: column.filter(mask) for name, column in rows.columns.items()}
        rows = Rows(columns, rows.numbers[np.asarray(mask)], rows.complaints)
    return rows


class _Checked:
    """The values of some rows, and what is wrong with any of them; the first complaint counts."""

    def __init__(self, rows: Rows, most_bad: int) -> None:
        self.complaints = dict(rows.complaints)
        self.bad = np.zeros(len(rows.numbers), bool)
        self._rows = rows
        self._most_bad = most_bad

    def times(self, columns: Columns, time: Times) -> NDArray[np.int64]:
        texts = self._rows.columns[columns.time]
        if columns.day is not None:
            texts = _joined(self._rows.columns[columns.day], texts)
        return self._converted(texts, time.convert, time.complaint)

    def column(
        self,
        name: str,
        convert: Callable[[Any, int], tuple[NDArray[np.int64], list[int]]],
        complain: Callable[[bytes], str],
    ) -> NDArray[np.int64]:
        return self._converted(self._rows.columns[name], convert, complain)

    def tokens(self, name: str, *, optional: bool) -> NDArray[np.int64]:
        return self.column(
            name,
            partial(tokens, optional=optional),
            lambda text: f"{name} must be a whole number of tokens, but got {shown(text)}",
        )

    def counts(self, name: str) -> NDArray[np.int64]:
        return self.column(
            name,
            partial(tokens, optional=False),
            lambda text: f"{name} must be a whole number of requests, but got {shown(text)}",
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

    def _converted(
        self,
        texts: Any,
        convert: Callable[[Any, int], tuple[NDArray[np.int64], list[int]]],
        complain: Callable[[bytes], str],
    ) -> NDArray[np.int64]:
        values, wrong = convert(texts, self._most_bad)
        for i in wrong:
            self._complain(i, complain(texts[i].as_py()))
        return values

    def _complain(self, i: int, complaint: str) -> None:
        self.bad[i] = True
        self.complaints.setdefault(int(self._rows.numbers[i]), complaint)


def _joined(days: Any, times: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(days, times, pa.scalar(b" ", pa.binary()))
