"""The bytes of a trace file: decompressed, from front to back, in blocks of whole lines."""

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from workloads.errors import TraceFileError
from workloads.importers import packing

HEAD_BYTES = 1 << 18
BLOCK_BYTES = 1 << 24
# No request of a trace is described by more; a line without end would fill the memory instead.
LONGEST_LINE_BYTES = 1 << 26
# A compressed file may hold a thousand times its size, so there is a limit; 10 million requests
# take about a third of this.
UNPACKED_GB = 1.0
# Logs hardly shrink by more; gzip reaches 1,032.
_HONEST_RATIO = 50

# A log that was rotated may begin with the rest of a line.
_LINES_TRIED = 10
# Enough to see whether rows come at equal steps, and what fields they have.
_OBJECTS_TRIED = 200

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Head:
    """The first bytes of a file, decompressed, by which its format is recognised."""

    raw: bytes
    is_all: bool = True

    @cached_property
    def text(self) -> str:
        """As text, whatever the bytes; without a byte order mark."""
        return self.raw.removeprefix(_BOM).decode("utf-8", "replace")

    @cached_property
    def lines(self) -> list[str]:
        """The whole lines with something in them."""
        lines = self.text.split("\n")
        if not self.is_all:
            lines.pop()
        return [line.rstrip("\r") for line in lines if line.strip()]

    @property
    def first_lines(self) -> list[str]:
        """As many of the lines as are worth a look."""
        return self.lines[:_LINES_TRIED]

    @property
    def first_line(self) -> str:
        """The first line with something in it, or nothing."""
        return self.lines[0] if self.lines else ""

    @cached_property
    def object_lines(self) -> list[dict[str, Any]]:
        """The JSON objects that are lines of their own.

        A few lines before the first may be broken; indented ones are parts of something larger.
        """
        found: list[dict[str, Any]] = []
        for number, line in enumerate(self.lines[:_OBJECTS_TRIED]):
            if line.startswith("{"):
                with suppress(ValueError, RecursionError):
                    value = json.loads(line, parse_float=Decimal)
                    found += [value] if isinstance(value, dict) else []
            if not found and number >= _LINES_TRIED:
                break
        return found

    @cached_property
    def first_object(self) -> dict[str, Any]:
        """The first JSON object: a line, an element of an array, or all there is; or empty."""
        if self.object_lines:
            return self.object_lines[0]
        text = self.text.lstrip()
        if text.startswith("["):
            text = text[1:].lstrip()
        if text.startswith("{"):
            with suppress(ValueError, RecursionError):
                value, _ = json.JSONDecoder(parse_float=Decimal).raw_decode(text)
                return value if isinstance(value, dict) else {}
        return {}


@dataclass(frozen=True)
class Block:
    """Whole lines of a file; the last line of the file may lack its line break.

    Attributes:
        raw: The lines, with their line breaks.
        first_line: Number in the file of the first of them, from 1.
    """

    raw: bytes
    first_line: int

    @property
    def count(self) -> int:
        """How many lines there are."""
        return self.raw.count(b"\n") + (not self.raw.endswith(b"\n"))

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Number and content of each line that is not blank."""
        for number, line in enumerate(self.raw.split(b"\n"), self.first_line):
            if content := line.strip():
                yield number, content


class Stream:
    """What is in a file, in plain or compressed by gzip, zstd, bzip2, xz or zip.

    Args:
        raw: The bytes as stored.
        path: Where they are, if they are a file that can be opened again.
        max_unpacked_gb: The most that a compressed file may hold, GB (10^9 bytes).

    Raises:
        TraceFileError: The bytes cannot be read or decompressed, here and while reading; they are
            more than they may be; or they are UTF-16.
    """

    def __init__(
        self, raw: BinaryIO, path: Path | None = None, max_unpacked_gb: float = UNPACKED_GB
    ) -> None:
        start = _at_most(raw, packing.MAGIC_BYTES)
        packed = io.BufferedReader(_Chained(start, raw), 1 << 20)
        self._codec = packing.codec_of(start)
        self._max_unpacked_gb = max_unpacked_gb
        self._left_bytes = max_unpacked_gb * 1e9 if self._codec else float("inf")
        try:
            self._bytes: Any = packing.unpacked(self._codec, packed)
        except packing.ERRORS as error:
            raise self._damaged(error) from None
        self.path = None if self._codec else path
        if self._codec and path is not None:
            self._check_unpacked(path)
        self._ahead = self._read(HEAD_BYTES)
        if self._ahead.startswith(_UTF16):
            raise TraceFileError("must be UTF-8 text, but begins with the mark of UTF-16")
        packing.check_no_archive(self._ahead)
        self.head = Head(self._ahead, is_all=len(self._ahead) < HEAD_BYTES)

    def blocks(self, size: int = BLOCK_BYTES) -> Iterator[Block]:
        """The content in blocks of about `size` bytes; for text only, without a byte order mark.

        Raises:
            TraceFileError: A line that is too long, or a file cut short.
        """
        rest, number = self._ahead.removeprefix(_BOM), 1
        while True:
            more = self._read(size)
            whole, line_break, begun = (rest + more).rpartition(b"\n")
            if not more:
                whole, line_break, begun = rest, b"", b""
            if whole or line_break:
                block = Block(whole + line_break, number)
                number += block.count
                yield block
            if not more:
                return
            if len(begun) > LONGEST_LINE_BYTES:
                raise TraceFileError(
                    f"line {number:,} must end within {LONGEST_LINE_BYTES >> 20} MiB, but does not"
                )
            rest = begun

    def everything(self) -> bytes:
        """The whole content, for formats that make no sense in parts."""
        parts = [self._ahead]
        while part := self._read(BLOCK_BYTES):
            parts.append(part)
        return b"".join(parts)

    def _read(self, size: int) -> bytes:
        try:
            content = _at_most(self._bytes, size)
        except packing.ERRORS as error:
            raise self._damaged(error) from None
        self._left_bytes -= len(content)
        if self._left_bytes < 0:
            raise self._too_large()
        return content

    def _check_unpacked(self, path: Path) -> None:
        """Refuse a small file that holds too much before its rows are read, which takes longer."""
        if path.stat().st_size * _HONEST_RATIO > self._left_bytes:
            return
        left_bytes = self._left_bytes
        with path.open("rb") as packed:
            try:
                content = packing.unpacked(self._codec, packed)
                while left_bytes >= 0 and (part := content.read(BLOCK_BYTES)):
                    left_bytes -= len(part)
            except packing.ERRORS as error:
                raise self._damaged(error) from None
        if left_bytes < 0:
            raise self._too_large()

    def _too_large(self) -> TraceFileError:
        return TraceFileError(
            f"must hold at most {self._max_unpacked_gb:g} GB when unpacked from {self._codec}, "
            "but holds more: raise --max-unpacked-gb if it is meant to"
        )

    def _damaged(self, error: Exception) -> TraceFileError:
        if self._codec:
            message = f"must be a whole {self._codec} file, but: {error}"
        else:
            message = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        return TraceFileError(" ".join(message.split()))


class _Chained(io.RawIOBase):
    """Bytes that were read already, then the rest: pipes cannot be wound back."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._start[: len(buffer)] or self._rest.read(len(buffer))
        self._start = self._start[len(part) :]
        buffer[: len(part)] = part
        return len(part)


def _at_most(raw: Any, size: int) -> bytes:
    """`size` bytes, fewer only at the end: one read of a pipe may give less than it has."""
    parts: list[bytes] = []
    while size and (part := raw.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
