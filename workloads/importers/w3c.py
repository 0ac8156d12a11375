"""W3C extended logs: IIS, CloudFront, and whatever else begins with a #Fields line.

Day and time are two columns, in UTC and whole seconds, of when a request had been answered. To take
milliseconds off whole seconds would make up an order that is not in the file, so the stamp is the
arrival unless the user says otherwise.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from workloads.errors import TraceFileError
from workloads.importers.assembly import RecordingImporter
from workloads.importers.contract import OPTIONS, Chunk, Findings, Reading
from workloads.importers.csv_table import Header, read_rows
from workloads.importers.meaning import NO_COUNT, meaning_of
from workloads.importers.rows import chunks
from workloads.importers.stream import Block, Head, Stream

_FIELDS = re.compile(r"#Fields:\s*(.+)", re.IGNORECASE)
_TOOK = "time-taken"


class W3cLog(RecordingImporter):
    """Lines of fields, which a line that begins with #Fields: names."""

    format = "w3c-log"
    what = "W3C extended log: IIS, CloudFront"
    takes = frozenset(OPTIONS) - {"columns", "count_column"}

    def recognises(self, head: Head) -> bool:
        """By the line that names the fields."""
        return bool(_fields(head))

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line."""
        names = _fields(stream.head)
        if not names:
            raise TraceFileError("one of the first lines must begin with #Fields:, but none does")
        lines = [line for line in stream.head.lines if not line.startswith("#")]
        separator = "\t" if lines and "\t" in lines[0] else " "
        header = Header("", 0, separator, tuple(names))
        sample = header.sample(replace(stream.head, raw="\n".join(lines).encode()))
        if reading.takes_durations_off and reading.duration_unit is None and _TOOK in names:
            # CloudFront writes seconds with decimals, IIS whole milliseconds.
            unit = "s" if "." in sample.first(_TOOK) else "ms"
            reading = replace(reading, duration_unit=unit)  # type: ignore[arg-type] # a TimeUnit
        reading = replace(reading, count_column=NO_COUNT)
        if {"date", "time"} <= set(names) and reading.time_column is None:
            meaning = meaning_of(sample, reading, findings, choose=lambda _: "time", day="date")
        else:
            meaning = meaning_of(sample, reading, findings)
        return chunks(
            read_rows(_without_remarks(stream.blocks(), names), header, meaning.columns.names),
            meaning.columns,
            meaning.time,
            findings,
            names=names,
            took=meaning.took,
        )


def _fields(head: Head) -> list[str]:
    found = (_FIELDS.fullmatch(line.strip()) for line in head.first_lines)
    return next((match[1].split() for match in found if match), [])


def _without_remarks(blocks: Iterator[Block], names: list[str]) -> Iterator[Block]:
    """The blocks with blank lines for remarks, which a server writes anew when it starts."""
    for block in blocks:
        lines = block.raw.split(b"\n") if b"#" in block.raw else [block.raw]
        for i, line in enumerate(lines):
            if line.startswith(b"#"):
                match = _FIELDS.fullmatch(line.decode("utf-8", "replace").strip())
                if match and match[1].split() != names:
                    raise TraceFileError(
                        f"line {block.first_line + i:,}: the fields must stay the same, but change "
                        "here: split the file"
                    )
                lines[i] = b""
        yield Block(b"\n".join(lines), block.first_line)
