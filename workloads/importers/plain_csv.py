"""CSV of any origin, with a header and a column of arrival times."""

from collections.abc import Iterator

from workloads import schema
from workloads.errors import TraceFileError
from workloads.importers.contract import Chunk, Findings, Reading, RecordingImporter
from workloads.importers.convert import Times
from workloads.importers.csv_table import Header, read_rows
from workloads.importers.rows import (
    INPUT_NAMES,
    OUTPUT_NAMES,
    Columns,
    choose_time,
    choose_tokens,
    chunks,
    is_time_name,
)
from workloads.importers.stream import Head, Stream


class PlainCsv(RecordingImporter):
    """CSV whose time column is named by the user, or by itself."""

    format = "csv"
    what = "CSV with a header and a column of times"
    generic = True
    takes_time_column = True
    takes_time_unit = True

    def recognises(self, head: Head) -> bool:
        """By a first line of several names, or of one that means a time."""
        names = Header.of(head).names
        return _is_header(names) and (len(names) > 1 or is_time_name(names[0]))

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line."""
        header = Header.of(stream.head)
        if not _is_header(header.names):
            raise TraceFileError(
                "the first line must name the columns, but is "
                + (schema.shown(header.line) if header.line else "not there")
            )
        columns = Columns(
            time=choose_time(header.names, reading.time_column),
            input=choose_tokens(header.names, INPUT_NAMES, findings.note),
            output=choose_tokens(header.names, OUTPUT_NAMES, findings.note),
            optional=True,
        )
        time = Times(columns.time, unit=reading.time_unit, note=findings.note)
        rows = read_rows(stream.blocks(), header, columns.names)
        return chunks(rows, columns, time, findings)


def _is_header(names: list[str]) -> bool:
    """Names, not values: each is there once, begins like a name, and is one line of text."""
    return (
        bool(names)
        and len(set(names)) == len(names)
        and all((name[:1].isalpha() or name[:1] in "_@") and name.isprintable() for name in names)
        and not names[0].lstrip().startswith("{")
    )
