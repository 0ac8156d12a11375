"""Parquet: dynbatch's own for huge traces, and any other with a column of arrival times."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from workloads import schema
from workloads.errors import TraceFileError
from workloads.importers.assembly import RecordingImporter
from workloads.importers.contract import OPTIONS, Chunk, Findings, Importer, Reading
from workloads.importers.meaning import meaning_of
from workloads.importers.rows import Rows, chunks
from workloads.importers.sample import Sample
from workloads.importers.stream import Head, Stream
from workloads.specs import ListedTrace
from workloads.trace import Trace

MAGIC = b"PAR1"
_ROWS_SAMPLED = 1000
# The key in the schema's metadata under which a native file keeps name and duration_s.
METADATA = b"dynbatch"
NATIVE = ("arrival_s", "input_tokens", "output_tokens")


class Parquet(Importer):
    """A native file comes back bit by bit; of any other the time column is chosen."""

    format = "parquet"
    what = "Parquet: dynbatch's own, or with a column of times"
    takes = frozenset(OPTIONS) - {"columns"}

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
        step_s = about.get("resolution_s")
        known = {} if step_s is None else {"resolution_s": float(step_s)}
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
            source={
                "kind": "recording",
                "path": path,
                "format": Parquet.format,
                "notes": notes,
                **known,
            },
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
        sample = _sample(self._file)
        meaning = meaning_of(sample, reading, findings)
        rows = _rows(self._file, meaning.columns.names)
        return chunks(
            rows,
            meaning.columns,
            meaning.time,
            findings,
            names=sample.names,
            took=meaning.took,
            counts=meaning.counts,
        )


def _sample(file: Any) -> Sample:
    """The first rows; a column that holds neither times nor numbers nor text is only named."""
    import pyarrow as pa

    batch = next(file.iter_batches(batch_size=_ROWS_SAMPLED), None)
    names = [name for name, _ in _leaves(pa.Table.from_batches([], file.schema_arrow))]
    if batch is None:
        return Sample(names)
    columns = {}
    for name, column in _leaves(pa.Table.from_batches([batch])):
        with suppress(TraceFileError, pa.ArrowException):
            texts = _texts(column, name).to_pylist()
            columns[name] = [text.decode("utf-8", "replace") for text in texts]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return Sample(names, rows)


def _leaves(table: Any) -> list[tuple[str, Any]]:
    """Name and values of each column, with those inside structs by their dotted paths."""
    import pyarrow as pa

    while any(pa.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    columns = [column.combine_chunks() for column in table.columns]
    return list(zip(table.schema.names, columns, strict=True))


def _rows(file: Any, wanted: list[str]) -> Iterator[Rows]:
    """The columns as text, the form that every importer's values are checked in."""
    import pyarrow as pa

    number = 1
    outer = file.schema_arrow.names
    tops = [name if name in outer else name.partition(".")[0] for name in wanted]
    for batch in file.iter_batches(columns=list(dict.fromkeys(tops))):
        if tops == wanted:
            there = {name: batch.column(name) for name in wanted}
        else:
            there = dict(_leaves(pa.Table.from_batches([batch])))
        columns = {name: _texts(there[name], name) for name in wanted}
        yield Rows(columns, np.arange(number, number + batch.num_rows))
        number += batch.num_rows


def _texts(column: Any, name: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_timestamp(kind):
        # With all digits, and local times as local: what is compared is only the difference.
        column = column.cast(pa.timestamp("ns", kind.tz))
    elif pa.types.is_date(kind):
        column = column.cast(pa.timestamp("ns"))
    elif pa.types.is_duration(kind):
        # Its unit is in its type, so it goes with the number.
        nanoseconds = column.cast(pa.duration("ns")).cast(pa.int64()).cast(pa.string())
        column = pc.binary_join_element_wise(nanoseconds, "ns", "")
    elif not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    ):
        raise TraceFileError(
            f"{schema.shown(name)} must be a column of times or numbers, but is one of {kind}"
        )
    return column.cast(pa.string()).fill_null("").cast(pa.binary())
