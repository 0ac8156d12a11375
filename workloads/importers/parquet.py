"""Parquet: dynbatch's own for huge traces, and any other with a column of arrival times."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from workloads import schema
from workloads.errors import TraceFileError
from workloads.importers.contract import (
    Chunk,
    Findings,
    Importer,
    Reading,
    RecordingImporter,
)
from workloads.importers.convert import Times
from workloads.importers.rows import (
    INPUT_NAMES,
    OUTPUT_NAMES,
    Columns,
    Rows,
    choose_time,
    choose_tokens,
    chunks,
)
from workloads.importers.stream import Head, Stream
from workloads.specs import ListedTrace
from workloads.trace import Trace

MAGIC = b"PAR1"
# The key in the schema's metadata under which a native file keeps name and duration_s.
METADATA = b"dynbatch"
NATIVE = ("arrival_s", "input_tokens", "output_tokens")


class Parquet(Importer):
    """A native file comes back bit by bit; of any other the time column is chosen."""

    format = "parquet"
    what = "Parquet: dynbatch's own, or with a column of times"
    takes_time_column = True
    takes_time_unit = True

    def recognises(self, head: Head) -> bool:
        """By the magic number."""
        return head.raw.startswith(MAGIC)

    def load(self, stream: Stream, reading: Reading, *, name: str, path: str) -> ListedTrace:
        """The trace in the file."""
        import pyarrow as pa

        try:
            with _opened(stream) as file:
                metadata = file.schema_arrow.metadata or {}
                if METADATA in metadata and reading.time_column is None:
                    return _native(file, metadata[METADATA], name=name, path=path)
                return _Foreign(file).load(stream, reading, name=name, path=path)
        except (pa.ArrowException, OSError) as error:
            message = " ".join(str(error).split())
            raise TraceFileError(f"must be a whole Parquet file, but: {message}") from None


def _opened(stream: Stream) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.ParquetFile(stream.path or pa.BufferReader(stream.everything()))


def _native(file: Any, metadata: bytes, *, name: str, path: str) -> ListedTrace:
    try:
        about = json.loads(metadata)
        named, duration_s = str(about["name"]), float(about["duration_s"])
        notes = [str(note) for note in about.get("notes", ())]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TraceFileError("metadata must have name and duration_s, but has not") from None
    columns = [column for column in NATIVE if column in file.schema_arrow.names]
    if "arrival_s" not in columns:
        raise TraceFileError("must have a column arrival_s, but has not")
    table = file.read(columns)
    for column in columns:
        if table[column].null_count:
            raise TraceFileError(f"{column} must have no gaps, but has {table[column].null_count}")
    return ListedTrace(
        Trace(
            **{column: table[column].to_numpy() for column in columns},
            duration_s=duration_s,
            name=named or name,
            source={"kind": "recording", "path": path, "format": Parquet.format, "notes": notes},
        ),
        format=Parquet.format,
        notes=tuple(notes),
    )


class _Foreign(RecordingImporter):
    """A Parquet file of any origin, already open."""

    format = Parquet.format
    what = Parquet.what
    entry = "row"

    def __init__(self, file: Any) -> None:
        self._file = file

    def recognises(self, head: Head) -> bool:
        return False

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        names = self._file.schema_arrow.names
        columns = Columns(
            time=choose_time(names, reading.time_column),
            input=choose_tokens(names, INPUT_NAMES, findings.note),
            output=choose_tokens(names, OUTPUT_NAMES, findings.note),
            optional=True,
        )
        time = Times(columns.time, unit=reading.time_unit, note=findings.note)
        rows = _rows(self._file, columns.names)
        return chunks(rows, columns, time, findings, word=self.entry)


def _rows(file: Any, wanted: list[str]) -> Iterator[Rows]:
    """The columns as text, the form that every importer's values are checked in."""
    number = 1
    for batch in file.iter_batches(columns=wanted):
        columns = {name: _texts(batch.column(name), name) for name in wanted}
        yield Rows(columns, np.arange(number, number + batch.num_rows))
        number += batch.num_rows


def _texts(column: Any, name: str) -> Any:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind):
        # With all digits, and local times as local: what is compared is only the difference.
        column = column.cast(pa.timestamp("ns", kind.tz))
    elif not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    ):
        raise TraceFileError(
            f"{schema.shown(name)} must be a column of times or numbers, but is one of {kind}"
        )
    return column.cast(pa.string()).fill_null("").cast(pa.binary())
