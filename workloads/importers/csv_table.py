"""CSV in blocks, parsed by Arrow, with the number of every line that is not as it should be."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from workloads import schema
from workloads.errors import TraceFileError
from workloads.importers.rows import Rows
from workloads.importers.sample import Sample
from workloads.importers.stream import Block, Head

_DELIMITERS = ",;\t"
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_ROWS_SAMPLED = 1000
_REMARKS_TRIED = 100
# No field of a log is longer; a quote that stays open for more was opened by mistake.
_LONGEST_RECORD_BYTES = 1 << 20


@dataclass(frozen=True)
class Header:
    """The line of a CSV file that names its columns, and the lines before it.

    Attributes:
        line: The line itself, without a "#" that it may begin with.
        skipped: How many lines with something in them come before the first row.
        separator: The delimiter that the file says it has (Excel's "sep=;").
        given: Names from the user, for a file that has no such line.
    """

    line: str
    skipped: int = 1
    separator: str = ""
    given: tuple[str, ...] = ()

    @cached_property
    def delimiter(self) -> str:
        """The one that the file names, or whatever of comma, semicolon and tab there is most of."""
        return self.separator or max(_DELIMITERS, key=self.line.count)

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns, without blanks around them."""
        return list(self.given) or self.split(self.line)

    def split(self, line: str) -> list[str]:
        """The fields of a line, without blanks around them."""
        try:
            fields = next(csv.reader([line], delimiter=self.delimiter), [])
        except csv.Error:
            return []
        return [field.strip() for field in fields]

    @classmethod
    def of(cls, head: Head, given: tuple[str, ...] = ()) -> "Header":
        """The header of a file that begins like this; without names if there is none.

        Lines that begin with "#" are remarks, but for the last of them if it has as many fields
        as the line after it.
        """
        lines = head.lines[:_REMARKS_TRIED]
        separator, skipped = "", 0
        if lines and (said := _SEPARATOR.fullmatch(lines[0])):
            separator, skipped = said[1], 1
        remarks = skipped
        while remarks < len(lines) and lines[remarks].startswith("#"):
            remarks += 1
        rest = lines[remarks] if remarks < len(lines) else ""
        if given:
            return cls(rest, remarks, separator, given)
        if remarks > skipped:
            named = cls(lines[remarks - 1].lstrip("# "), remarks, separator)
            if len(named.names) == len(named.split(rest)) > 1:
                return named
        return cls(rest, remarks + 1, separator)

    def sample(self, head: Head) -> Sample:
        """The first rows of the file."""
        lines = head.lines[self.skipped :][:_ROWS_SAMPLED]
        names = self.names
        # Of two columns of one name neither can be asked for.
        rows = [dict(zip(names, self.split(line), strict=False)) for line in lines]
        return Sample(names, rows)


def read_rows(blocks: Iterator[Block], header: Header, wanted: Sequence[str]) -> Iterator[Rows]:
    """The wanted columns, a block of lines at a time.

    A field in quotes may go over several lines; the number of its record is that of the first.

    Raises:
        TraceFileError: A wanted column is not there, or there twice.
    """
    for name in wanted:
        if header.names.count(name) != 1:
            listed = schema.shown(", ".join(header.names))
            raise TraceFileError(f"must have one column {schema.shown(name)}, but has {listed}")
    to_skip = header.skipped
    for block in _whole_records(blocks):
        content, to_skip = _after(block, to_skip)
        if content.raw.strip():
            yield _parsed(content, header, wanted)


def _after(block: Block, lines: int) -> tuple[Block, int]:
    """What follows a few lines with something in them, and how many of them are yet to come."""
    if not lines:
        return block, 0
    for number, _ in block.lines():
        lines -= 1
        if not lines:
            skipped = number - block.first_line + 1
            parts = block.raw.split(b"\n", skipped)
            return Block(parts[skipped] if len(parts) > skipped else b"", number + 1), 0
    return Block(b"", block.first_line), lines


def _whole_records(blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks, so that a record that goes over their border is whole."""
    rest = Block(b"", 1)
    for block in blocks:
        raw = rest.raw + block.raw
        first_line = rest.first_line if rest.raw else block.first_line
        rest = Block(b"", 1)
        if raw.count(b'"') % 2 and (start := _open_record(raw)):
            rest = Block(raw[start:], first_line + raw.count(b"\n", 0, start))
            raw = raw[:start]
        yield Block(raw, first_line)
    if rest.raw:
        yield rest


def _parsed(block: Block, header: Header, wanted: Sequence[str]) -> Rows:
    complaints: dict[int, str] = {}
    while True:
        records = _Records.of(block.raw, header, wanted)
        numbers = _line_numbers(block, records.count)
        if records.table is not None and numbers is not None:
            break
        # A quote that was opened and not closed makes several lines one record.
        joined = _joined(block, header)
        if joined is not None:
            block = joined
            continue
        broken = {
            number
            for number, line in block.lines()
            if line.count(b'"') % 2 or b"\r" in line.rstrip(b"\r")
        }
        if not broken:
            raise TraceFileError(
                f"lines {block.first_line:,} to {block.first_line + block.count - 1:,} must be "
                "CSV with one record a line, but are not"
            )
        complaints |= dict.fromkeys(
            broken, "its quotes are open: they must be closed in the same record"
        )
        block = _without(block, broken)
        if not block.raw.strip():
            empty = _Records.empty(wanted)
            return Rows(empty, np.empty(0, np.int64), complaints)
    expected = len(header.names)
    complaints |= {
        int(numbers[record]): f"a line must have {expected} fields, but this has {fields}"
        for record, fields in records.invalid
    }
    kept = np.delete(numbers, [record for record, _ in records.invalid])
    columns = dict(zip(wanted, records.table.columns, strict=True))
    combined = {name: column.combine_chunks() for name, column in columns.items()}
    return Rows(combined, kept, complaints)


@dataclass(frozen=True)
class _Records:
    """What Arrow made of a block: a table, and the records with another number of fields."""

    table: Any
    invalid: list[tuple[int, int]]

    @property
    def count(self) -> int:
        return (0 if self.table is None else self.table.num_rows) + len(self.invalid)

    @classmethod
    def of(cls, raw: bytes, header: Header, wanted: Sequence[str]) -> "_Records":
        import pyarrow as pa
        import pyarrow.csv

        if not raw.isascii():
            # Arrow decodes a record before it lets us leave it out, and cannot be told how.
            raw = raw.decode("utf-8", "replace").encode()
        invalid: list[tuple[int, int]] = []

        def leave_out(row: Any) -> str:
            invalid.append((row.number - 1, row.actual_columns))
            return "skip"

        # Two columns may be called the same, so they go by their place.
        places = [str(place) for place in range(len(header.names))]
        chosen = [str(header.names.index(name)) for name in wanted]
        try:
            table = pyarrow.csv.read_csv(
                pa.BufferReader(raw),
                # One thread: the records are numbered then.
                read_options=pyarrow.csv.ReadOptions(
                    column_names=places, use_threads=False, block_size=len(raw) + 1
                ),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=header.delimiter, invalid_row_handler=leave_out
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(chosen, pa.binary()), include_columns=chosen
                ),
            )
        except pa.ArrowInvalid:
            return cls(None, [])
        return cls(table, invalid)

    @staticmethod
    def empty(wanted: Sequence[str]) -> dict[str, Any]:
        import pyarrow as pa

        return {name: pa.array([], pa.binary()) for name in wanted}


def _line_numbers(block: Block, records: int) -> Any:
    """The line of each record, or None if the records are not one a line; blank lines are none."""
    if records == block.count:
        return np.arange(block.first_line, block.first_line + records)
    lines = [
        number
        for number, line in enumerate(block.raw.split(b"\n"), block.first_line)
        if line.rstrip(b"\r")
    ]
    return np.array(lines, np.int64) if len(lines) == records else None


def _without(block: Block, broken: set[int]) -> Block:
    lines = block.raw.split(b"\n")
    for number in broken:
        lines[number - block.first_line] = b""
    return Block(b"\n".join(lines), block.first_line)


def _open_record(raw: bytes) -> int:
    """Where the last line with an odd number of quotes begins, near the end; 0 if nowhere."""
    start = len(raw)
    while start > max(0, len(raw) - _LONGEST_RECORD_BYTES):
        end, start = start, raw.rfind(b"\n", 0, start - 1) + 1
        if raw.count(b'"', start, end) % 2:
            return start
    return 0


def _joined(block: Block, header: Header) -> Block | None:
    """The block with every record on one line, or None if there are none over several.

    Blank lines take the place of those that were joined to the one before. A record counts as
    such if it is whole, and has as many fields as there are columns.
    """
    lines = block.raw.split(b"\n")
    found, at = False, 0
    while at < len(lines):
        end = _record_end(lines, at) if lines[at].count(b'"') % 2 else at
        if end > at:
            record = b" ".join(line.rstrip(b"\r") for line in lines[at : end + 1])
            if len(header.split(record.decode("utf-8", "replace"))) == len(header.names):
                lines[at : end + 1] = [record, *([b""] * (end - at))]
                found, at = True, end
        at += 1
    return Block(b"\n".join(lines), block.first_line) if found else None


def _record_end(lines: list[bytes], start: int) -> int:
    """The line where a record that begins at `start` closes its quotes; `start` if nowhere."""
    size = 0
    for end in range(start + 1, len(lines)):
        size += len(lines[end]) + 1
        if size > _LONGEST_RECORD_BYTES:
            break
        if lines[end].count(b'"') % 2:
            return end
    return start
