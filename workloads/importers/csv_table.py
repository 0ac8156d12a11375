"""CSV in blocks, parsed by Arrow, with the number of every line that is not as it should be."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from workloads import schema
from workloads.errors import TraceFileError
from workloads.importers.rows import Rows
from workloads.importers.stream import Block, Head

_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Header:
    """The first line of a CSV file.

    Attributes:
        line: The line itself.
    """

    line: str

    @cached_property
    def delimiter(self) -> str:
        """Whatever of comma, semicolon and tab there is most of."""
        return max(_DELIMITERS, key=self.line.count)

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns, without blanks around them."""
        try:
            fields = next(csv.reader([self.line], delimiter=self.delimiter), [])
        except csv.Error:
            return []
        return [field.strip() for field in fields]

    @classmethod
    def of(cls, head: Head) -> "Header":
        """The header of a file that begins like this; without names if there is none."""
        return cls(head.first_line)


def read_rows(blocks: Iterator[Block], header: Header, wanted: Sequence[str]) -> Iterator[Rows]:
    """The wanted columns, a block of lines at a time; every record must be one line.

    The first line with something in it is taken for the header, whatever it says.

    Raises:
        TraceFileError: A wanted column is not there, or there twice.
    """
    for name in wanted:
        if header.names.count(name) != 1:
            listed = schema.shown(", ".join(header.names))
            raise TraceFileError(f"must have one column {schema.shown(name)}, but has {listed}")
    is_header = True
    for block in blocks:
        content = block
        if is_header:
            content = _after_header(block)
            is_header = not content.raw and not block.raw.strip()
        if content.raw.strip():
            yield _parsed(content, header, wanted)


def _after_header(block: Block) -> Block:
    for number, _ in block.lines():
        skipped = number - block.first_line + 1
        parts = block.raw.split(b"\n", skipped)
        return Block(parts[skipped] if len(parts) > skipped else b"", number + 1)
    return Block(b"", block.first_line)


def _parsed(block: Block, header: Header, wanted: Sequence[str]) -> Rows:
    complaints: dict[int, str] = {}
    while True:
        records = _Records.of(block.raw, header, wanted)
        numbers = _line_numbers(block, records.count)
        if records.table is not None and numbers is not None:
            break
        # A quote that was opened and not closed makes several lines one record.
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
        complaints |= dict.fromkeys(broken, "a record must be one line, but its quotes are open")
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
