"""JSON lines of any origin, with a field of arrival times."""

from collections.abc import Iterator

from workloads.errors import TraceFileError
from workloads.importers.contract import Chunk, Findings, Reading, RecordingImporter
from workloads.importers.convert import Times
from workloads.importers.dynbatch_json import DynbatchJson
from workloads.importers.json_lines import read_rows
from workloads.importers.rows import (
    INPUT_NAMES,
    OUTPUT_NAMES,
    Columns,
    choose_time,
    choose_tokens,
    chunks,
)
from workloads.importers.stream import Head, Stream


class PlainJsonLines(RecordingImporter):
    """JSON lines whose time field is named by the user, or by itself."""

    format = "jsonl"
    what = "JSON lines with a field of times"
    generic = True
    takes_time_column = True
    takes_time_unit = True

    def recognises(self, head: Head) -> bool:
        """By objects that are lines of their own, and are not dynbatch's own."""
        return bool(head.first_object) and not DynbatchJson().recognises(head)

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line."""
        names = list(stream.head.first_object)
        if not names:
            raise TraceFileError("the first line must be a JSON object, but is not")
        columns = Columns(
            time=choose_time(names, reading.time_column),
            input=choose_tokens(names, INPUT_NAMES, findings.note),
            output=choose_tokens(names, OUTPUT_NAMES, findings.note),
            optional=True,
        )
        time = Times(columns.time, unit=reading.time_unit, note=findings.note)
        return chunks(read_rows(stream, columns.names), columns, time, findings)
