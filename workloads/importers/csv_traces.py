"""What the importers of CSV traces with fixed columns have in common."""

from collections.abc import Iterator
from typing import ClassVar

from workloads.importers.assembly import RecordingImporter
from workloads.importers.contract import Chunk, Findings, Reading
from workloads.importers.convert import Kind, Times
from workloads.importers.csv_table import Header, read_rows
from workloads.importers.rows import Columns, chunks
from workloads.importers.stream import Head, Stream


class CsvTrace(RecordingImporter):
    """A CSV trace whose columns are known.

    Attributes:
        columns: What is read of it.
        marks: All the columns that it is recognised by.
        kinds: How its times are written; numbers are seconds.
    """

    columns: ClassVar[Columns]
    marks: ClassVar[frozenset[str]]
    kinds: ClassVar[tuple[Kind, ...]]

    def recognises(self, head: Head) -> bool:
        """By the names of its columns, in any order."""
        return self.marks <= set(Header.of(head).names)

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line."""
        header = Header.of(stream.head)
        rows = read_rows(stream.blocks(), header, self.columns.names)
        time = Times(self.columns.time, self.kinds, "s")
        took = None if self.columns.took is None else Times(self.columns.took, ("number",), "s")
        return chunks(rows, self.columns, time, findings, names=header.names, took=took)
