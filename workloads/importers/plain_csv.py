"""CSV of any origin, with a column of arrival times."""

from collections.abc import Iterator

from workloads import schema
from workloads.errors import TraceFileError
from workloads.importers import dates
from workloads.importers.assembly import RecordingImporter
from workloads.importers.contract import OPTIONS, Chunk, Findings, Reading
from workloads.importers.csv_table import Header, read_rows
from workloads.importers.meaning import meaning_of
from workloads.importers.names import is_time_name
from workloads.importers.rows import chunks
from workloads.importers.stream import Head, Stream


class PlainCsv(RecordingImporter):
    """CSV whose time column is named by the user, or by itself."""

    format = "csv"
    what = "CSV with a header and a column of times"
    generic = True
    takes = frozenset(OPTIONS)

    def recognises(self, head: Head) -> bool:
        """By a first line of several names, or of one that means a time."""
        names = Header.of(head).names
        return _is_header(names) and (len(names) > 1 or is_time_name(names[0]))

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line."""
        header = Header.of(stream.head, reading.columns)
        if not reading.columns and not _is_header(header.names):
            raise _no_header(header)
        meaning = meaning_of(header.sample(stream.head), reading, findings)
        rows = read_rows(stream.blocks(), header, meaning.columns.names)
        return chunks(
            rows,
            meaning.columns,
            meaning.time,
            findings,
            names=header.names,
            took=meaning.took,
            counts=meaning.counts,
        )


def refuse_without_header(head: Head) -> None:
    """Raise TraceFileError for what looks like CSV of which the first line is a row already."""
    header = Header.of(head)
    if len(header.names) > 1 and any(_is_value(name) for name in header.names):
        raise _no_header(header)


def _no_header(header: Header) -> TraceFileError:
    if not header.line:
        return TraceFileError("the first line must name the columns, but is not there")
    fields, remedy = header.names, ""
    if any(_is_value(text) for text in fields):
        time = next(n for n, text in enumerate(fields) if _is_value(text))
        names = ["time" if n == time else f"c{n + 1}" for n in range(len(fields))]
        remedy = f": name its columns, as in --columns {','.join(names)}"
    return TraceFileError(
        f"the first line must name the columns, but is {schema.shown(header.line)}{remedy}"
    )


def _is_value(text: str) -> bool:
    return dates.is_number(text) or dates.is_date(text)


def _is_header(names: list[str]) -> bool:
    """Names, not values: the first begins like a name, and none is a number or a date.

    One may be empty, as that of the index that pandas writes.
    """
    named = [name for name in names if name]
    return (
        bool(named)
        and (named[0][0].isalpha() or named[0][0] in "_@")
        and all(name.isprintable() and not _is_value(name) for name in named)
    )
