"""What the importers of JSON lines with fixed fields have in common."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from workloads.importers.contract import BadEntryError, Chunk, Findings, Reading, RecordingImporter
from workloads.importers.convert import Times
from workloads.importers.json_lines import Object, read_rows
from workloads.importers.rows import Columns, chunks
from workloads.importers.stream import Stream
from workloads.importers.units import TimeUnit


class TimedJson(RecordingImporter):
    """JSON lines with a numeric `timestamp`; a request may lack a length.

    Attributes:
        columns: The fields that are read.
        unit: The unit of `timestamp`, where the user names no other.
    """

    columns: ClassVar[Columns] = Columns(
        time="timestamp", input="input_length", output="output_length", optional=True
    )
    unit: ClassVar[TimeUnit]
    takes_time_unit = True

    def requests(self, line: Object) -> Sequence[Object]:
        """The requests that a line tells of.

        Raises:
            BadEntryError: It has something that is no request; the message says what.
        """
        return (line,)

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line."""
        rows = read_rows(stream, self.columns.names, self.requests)
        time = Times(self.columns.time, ("number",), reading.time_unit or self.unit)
        return chunks(rows, self.columns, time, findings)


def refuse_delays(request: Object) -> None:
    """Raise BadEntryError for a request that is timed by the answer to the one before it."""
    if request.get("timestamp") is None and request.get("delay") is not None:
        raise BadEntryError(
            "a request must have a timestamp, but this has a delay: it follows the answer to "
            "the one before, so when it arrives is not in the file"
        )
