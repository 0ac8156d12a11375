"""What the importers of text logs have in common: a line is a request, in one of a few forms."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from workloads.errors import TraceFileError
from workloads.importers.assembly import RecordingImporter
from workloads.importers.contract import Chunk, Findings, Reading
from workloads.importers.convert import DURATION, Kind, Times, shown
from workloads.importers.rows import Columns, Rows, chunks
from workloads.importers.stream import Block, Head, Stream
from workloads.importers.units import TimeUnit


@dataclass(frozen=True)
class Form:
    """One way in which a log's lines are written.

    Attributes:
        pattern: The whole line, with a group `time`, and a group `took` where its duration is
            to be taken off.
        kinds: How the time is written.
        note: What to know of the time, if there is anything.
        took: Name and unit of the duration.
    """

    pattern: re.Pattern[bytes]
    kinds: tuple[Kind, ...]
    note: str = ""
    took: tuple[str, TimeUnit] | None = None


class LogLines(RecordingImporter):
    """A log whose lines are requests.

    Attributes:
        forms: The ways to write a line, of which the first that fits one of the first lines counts.
        example: What a line is like, for the message about one that is not.
    """

    forms: ClassVar[tuple[Form, ...]]
    example: ClassVar[str]
    takes = frozenset({"stamp"})

    def recognises(self, head: Head) -> bool:
        """By one of the first lines."""
        return self._form(head) is not None

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line."""
        form = self._form(stream.head) or self.forms[0]
        took = form.took if reading.stamp != "start" else None
        if reading.stamp == "end" and took is None:
            raise TraceFileError(
                f"stamp end must come with durations to take off, which {self.format} has not"
            )
        if form.note:
            findings.note(form.note)
        columns = Columns(time="time", took=None if took is None else took[0])
        rows = (self._rows(block, form, columns) for block in stream.blocks())
        return chunks(
            rows,
            columns,
            Times("time", form.kinds, "s"),
            findings,
            names=columns.names,
            took=None if took is None else Times(took[0], DURATION, took[1]),
        )

    def _form(self, head: Head) -> Form | None:
        lines = [line.encode("utf-8", "replace") for line in head.first_lines]
        for form in self.forms:
            if any(form.pattern.fullmatch(line) for line in lines):
                return form
        return None

    def _rows(self, block: Block, form: Form, columns: Columns) -> Rows:
        import pyarrow as pa

        texts: list[bytes] = []
        durations: list[bytes] = []
        numbers: list[int] = []
        complaints: dict[int, str] = {}
        for number, line in block.lines():
            match = form.pattern.fullmatch(line)
            if match is None:
                complaints[number] = f"a line must be like {self.example}, but got {shown(line)}"
                continue
            texts.append(match["time"])
            numbers.append(number)
            if columns.took is not None:
                durations.append(match["took"])
        there = {"time": pa.array(texts, pa.binary())}
        if columns.took is not None:
            there[columns.took] = pa.array(durations, pa.binary())
        return Rows(there, np.array(numbers, np.int64), complaints)
