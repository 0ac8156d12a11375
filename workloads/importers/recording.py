"""Recordings of our own recorder; `workloads.recorder` documents the format.

A service that was killed leaves a file that ends at its last flush, perhaps within a line. So a
last line without a line break is left out even where it looks whole: 1534 may be the beginning of
1534211.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from workloads import schema
from workloads.errors import TraceFileError
from workloads.importers.assembly import RecordingImporter
from workloads.importers.contract import Chunk, Findings, Reading
from workloads.importers.convert import Times, shown
from workloads.importers.csv_table import Header, read_rows
from workloads.importers.rows import Columns, chunks
from workloads.importers.stream import Block, Head, Stream
from workloads.recorder import ARRIVAL, END, LOST, MAGIC, VERSION

_TOKENS = "input_tokens"
_REMARK = re.compile(rf"({END}|{LOST})(\d{{1,18}})".encode())


class Recording(RecordingImporter):
    """What `TraceRecorder` writes: the recording begins and ends when the recorder did."""

    format = "dynbatch-recording"
    what = "dynbatch's own recording of a live service"

    def recognises(self, head: Head) -> bool:
        """By the magic word in the header."""
        return MAGIC in head.first_object

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line; the silence before the first and after the last counts."""
        size = _size_column(stream.head.first_object)
        if size not in {None, _TOKENS}:
            findings.note(f"{schema.shown(size)} is not a number of tokens, and was not kept")
        columns = Columns(time=ARRIVAL, input=_TOKENS if size == _TOKENS else None)
        header = Header("", given=(ARRIVAL,) if size is None else (ARRIVAL, _TOKENS))
        remarks = _Remarks(findings)
        rows = read_rows(remarks.taken_from(stream.blocks()), header, columns.names)
        first_ns = last_ns = 0
        for chunk in chunks(rows, columns, Times(ARRIVAL, ("number",), "ns"), findings):
            first_ns = int(chunk.time_ns.min(initial=first_ns))
            last_ns = int(chunk.time_ns.max(initial=last_ns))
            yield chunk
        remarks.summarise()
        findings.window_ns = first_ns, max(last_ns, remarks.end_ns or 0)


def _size_column(header: Mapping[str, Any]) -> str | None:
    """What the second number of a row is, if there is one."""
    if MAGIC not in header:
        raise TraceFileError(f'the first line must be the header of a recording, with "{MAGIC}"')
    if header[MAGIC] != VERSION:
        raise TraceFileError(f"{MAGIC} must be {VERSION}, but got {schema.shown(header[MAGIC])}")
    columns = header.get("columns")
    match columns:
        case [str(first)] if first == ARRIVAL:
            return None
        case [str(first), str(size)] if first == ARRIVAL:
            return size
    raise TraceFileError(
        f"columns must be {ARRIVAL} and at most one more, but got {schema.shown(columns)}"
    )


class _Remarks:
    """What a file says beside its rows, and how it ends."""

    def __init__(self, findings: Findings) -> None:
        self.end_ns: int | None = None
        self._lost = 0
        self._findings = findings

    def taken_from(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The blocks with blank lines for remarks, and without a last line that was cut off."""
        headers = 0
        for block in blocks:
            headers += block.raw.count(MAGIC.encode())
            if headers > 1:
                raise TraceFileError(
                    "must be one recording, but holds several, whose times each begin at 0: keep "
                    "them in files of their own (dynbatch trace merge --concat joins them)"
                )
            whole, _, cut = block.raw.rpartition(b"\n")
            if cut.strip():
                self._findings.note(
                    "the last line has no line break and was left out: it may have been cut off"
                )
            lines = whole.split(b"\n") if b"#" in whole else [whole]
            for i, line in enumerate(lines):
                if line.startswith(b"#"):
                    self._read(line.strip(), block.first_line + i)
                    lines[i] = b""
            yield Block(b"\n".join(lines) + b"\n", block.first_line)

    def summarise(self) -> None:
        """Note what it means for the trace."""
        if self._lost:
            self._findings.note(
                f"{self._lost:,} further arrivals were lost: the recorder could not write them"
            )
        if self.end_ns is None:
            self._findings.note(
                "the recorder was not closed: what came after its last flush is not in the file"
            )

    def _read(self, line: bytes, number: int) -> None:
        found = _REMARK.fullmatch(line)
        if found is None:
            if line.startswith((END.encode().strip(), LOST.encode().strip())):
                complaint = f"a remark must be like {END}60000000000, but got {shown(line)}"
                self._findings.leave_out({number: complaint})
        elif found[1] == END.encode():
            self.end_ns = max(self.end_ns or 0, int(found[2]))
        else:
            self._lost += int(found[2])
