"""Web servers' access logs in the common and combined formats, as Apache and nginx write them.

`host ident user [day/month/year:hour:minute:second zone] "request" status bytes`, with whatever
after it. Apache stamps when a request came, nginx when it was answered; the line does not say.
"""

import re
from collections.abc import Iterator

import numpy as np

from workloads.importers.contract import Chunk, Findings, Reading, RecordingImporter
from workloads.importers.convert import Times, shown
from workloads.importers.rows import Columns, Rows, chunks
from workloads.importers.stream import Block, Head, Stream

# The request is greedy: a client may have put quotes into it.
_LINE = re.compile(rb'\S.* \[([^\[\]"]+)\] ".*" (?:\d{3}|-) (?:\d+|-)(?:\s.*)?')


class AccessLog(RecordingImporter):
    """Lines in the common or combined log format."""

    format = "access-log"
    what = "Apache or nginx access log, common or combined"

    def recognises(self, head: Head) -> bool:
        """By the form of one of the first lines."""
        return any(_LINE.fullmatch(line.encode("utf-8", "replace")) for line in head.first_lines)

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line."""
        findings.note(
            "an access log may stamp a request's start (Apache) or its end (nginx); the stamp was "
            "taken as the arrival"
        )
        rows = (_rows(block) for block in stream.blocks())
        return chunks(rows, Columns(time="time"), Times("time", ("log",)), findings)


def _rows(block: Block) -> Rows:
    import pyarrow as pa

    texts: list[bytes] = []
    numbers: list[int] = []
    complaints: dict[int, str] = {}
    for number, line in block.lines():
        if match := _LINE.fullmatch(line):
            texts.append(match[1])
            numbers.append(number)
        else:
            complaints[number] = (
                f'a line must be like host - - [time] "request" status bytes, but got {shown(line)}'
            )
    return Rows({"time": pa.array(texts, pa.binary())}, np.array(numbers, np.int64), complaints)
