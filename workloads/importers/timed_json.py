"""What the importers of JSON lines with fixed fields have in common."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import ClassVar

from workloads.importers.assembly import RecordingImporter
from workloads.importers.contract import BadEntryError, Chunk, Findings, Reading
from workloads.importers.convert import Times
from workloads.importers.json_records import Entries, Object
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
    takes = frozenset({"time_unit"})

    def requests(self, line: Object) -> Sequence[Object]:
        """The requests that a line tells of.

        Raises:
            BadEntryError: It has something that is no request; the message says what.
        """
        return (line,)

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line."""
        return self.timed(stream, reading.time_unit or self.unit, findings)

    def timed(self, stream: Stream, unit: TimeUnit, findings: Findings) -> Iterator[Chunk]:
        """The requests, with their timestamps in this unit."""
        entries = Entries(stream, findings)
        names = list(dict.fromkeys(self._names(entries.first)))
        rows = entries.rows(self.columns.names, self.requests)
        time = Times(self.columns.time, ("number",), unit)
        return chunks(rows, self.columns, time, findings, names=names)

    def _names(self, entries: Sequence[Object]) -> Iterator[str]:
        for entry in entries:
            with suppress(BadEntryError):
                for request in self.requests(entry):
                    yield from request


def refuse_delays(request: Object) -> None:
    """Raise BadEntryError for a request that is timed by the answer to the one before it."""
    if request.get("timestamp") is None and request.get("delay") is not None:
        raise BadEntryError(
            "a request must have a timestamp, but this has a delay: it follows the answer to "
            "the one before, so when it arrives is not in the file"
        )
