"""Trace files: reading them in any known format, and writing them."""

import gzip
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from workloads.errors import TraceFileError, WorkloadError
from workloads.importers import Reading, choose
from workloads.importers.packing import SUFFIXES
from workloads.importers.parquet import METADATA, NATIVE
from workloads.importers.stream import Stream
from workloads.specs import DescribedTrace, ListedTrace
from workloads.trace import Trace
from workloads.writing import check_folder, replacing

STDIN = "-"
_COMPRESSIONS = (".gz", ".zst")
_WRITERS = (".json", ".csv", ".parquet")
_CSV_ROWS = 1 << 18


def builtin_names() -> list[str]:
    """The traces that come with the package, as `load` knows them."""
    return sorted(entry.name for entry in _builtins().iterdir() if entry.name.endswith(".json"))


def load(
    path_or_builtin: str | Path, reading: Reading | None = None
) -> DescribedTrace | ListedTrace:
    """Read a trace file, or the built-in of that name where there is no such file.

    A built-in may be named with or without `.json`. The format is recognised by the content,
    which may be compressed by gzip, zstd, bzip2, xz or zip. A recording starts at its first
    arrival, unless its format says when recording began.

    Args:
        path_or_builtin: The file; "-" is standard input.
        reading: How to read it, where the content alone does not say.

    Raises:
        TraceFileError: No such file or built-in, or one that is no trace; the message starts
            with its name.
    """
    path = Path(path_or_builtin)
    reading = reading or Reading()
    name = "stdin" if str(path) == STDIN else _text(_stem(path))
    try:
        with _opened(path) as raw:
            try:
                stream = Stream(raw, path if path.is_file() else None, reading.max_unpacked_gb)
                importer = choose(stream.head, reading, path.suffixes)
                return importer.load(stream, reading, name=name, path=_text(path))
            except WorkloadError as error:
                raise TraceFileError(f"{path}: {error}") from None
    except OSError as error:
        raise TraceFileError(f"{path} cannot be read: {error.strerror or error}") from None


def save(trace: Trace, path: str | Path) -> None:
    """Write the trace as a list of arrivals, whole or not at all.

    The suffix says the form: `.json`, `.csv` or `.parquet`; the first two also with `.gz` or
    `.zst` after it. Loading the file gives back the same columns: bit by bit from `.json` and
    `.parquet`; from `.csv` to the nanosecond, from its first arrival on, without the name and
    the silence at the end. How the arrivals came about (`ListedTrace.notes`) is kept in the
    first two.

    Raises:
        TraceFileError: The file cannot be written, its suffix says no form, or the trace has no
            arrivals to list.
    """
    path = Path(path)
    form, compression = check_writable(path)
    if not len(trace):
        raise TraceFileError(f"{path}: only a trace with arrivals can be saved, but this has none")
    with replacing(path) as draft:
        if form == ".parquet":
            _write_parquet(trace, draft)
        else:
            with _compressed(draft, compression) as file:
                (_write_json if form == ".json" else _write_csv)(trace, file)


def check_writable(path: str | Path) -> tuple[str, str]:
    """The form and the compression that a file's name asks for, as suffixes.

    Raises:
        TraceFileError: There is no such form, or no file can be made in its folder.
    """
    path = Path(path)
    compression = path.suffix if path.suffix in _COMPRESSIONS else ""
    form = Path(path.name.removesuffix(compression)).suffix
    if form not in _WRITERS or (form == ".parquet" and compression):
        raise TraceFileError(
            f"{path}: a trace's name must end in .json, .csv or .parquet, the first two also with "
            f".gz or .zst, but got {form + compression or 'no suffix'}"
        )
    check_folder(path)
    return form, compression


def _write_json(trace: Trace, file: BinaryIO) -> None:
    content = _about(trace)
    content |= {name: column.tolist() for name, column in _columns(trace).items()}
    file.write(f"{json.dumps(content)}\n".encode())


def _write_csv(trace: Trace, file: BinaryIO) -> None:
    """Blocks of rows, with the shortest decimal that reads back as the same number."""
    columns = _columns(trace)
    file.write(f"{','.join(columns)}\n".encode())
    for start in range(0, len(trace), _CSV_ROWS):
        texts = [
            [np.format_float_positional(value, trim="0") for value in part]
            if part.dtype.kind == "f"
            else map(str, part.tolist())
            for part in (column[start : start + _CSV_ROWS] for column in columns.values())
        ]
        lines = [",".join(fields) for fields in zip(*texts, strict=True)]
        file.write(("\n".join(lines) + "\n").encode())


def _write_parquet(trace: Trace, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = json.dumps(_about(trace))
    table = pa.table(_columns(trace)).replace_schema_metadata({METADATA: about})
    # Arrival times hardly repeat: a dictionary of them only costs time.
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def _about(trace: Trace) -> dict[str, Any]:
    """What goes with the columns; the notes too, lest rebuilt arrivals pass for recorded ones."""
    about: dict[str, Any] = {"name": trace.name, "duration_s": float(trace.duration_s)}
    notes = list(trace.source.get("notes", ()))
    about |= {"notes": notes} if notes else {}
    return about | ({} if trace.resolution_s is None else {"resolution_s": trace.resolution_s})


def _columns(trace: Trace) -> dict[str, Any]:
    named = {name: getattr(trace, name) for name in NATIVE}
    return {name: column for name, column in named.items() if column is not None}


@contextmanager
def _compressed(path: Path, compression: str) -> Iterator[Any]:
    if compression == ".gz":
        with gzip.open(path, "wb", compresslevel=6) as file:
            yield file
    elif compression == ".zst":
        import pyarrow as pa

        with pa.output_stream(str(path), compression="zstd") as file:
            yield file
    else:
        with path.open("wb") as file:
            yield file


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if str(path) == STDIN:
        yield sys.stdin.buffer
        return
    if path.exists() and not path.is_dir():
        with path.open("rb") as file:
            yield file
        return
    for builtin in builtin_names():
        if str(path) in (builtin, builtin.removesuffix(".json")):
            yield io.BytesIO((_builtins() / builtin).read_bytes())
            return
    what = "is a folder, not a trace file" if path.is_dir() else "does not exist"
    raise TraceFileError(f"{path} {what}; the built-in traces are {', '.join(builtin_names())}")


def _builtins() -> Any:
    return files("workloads") / "builtin"


def _stem(path: Path) -> str:
    """A file's name without what says its form: day.csv.gz is called day."""
    if path.suffix in SUFFIXES:
        path = path.with_suffix("")
    return path.stem


def _text(path: str | Path) -> str:
    """A file's name as text that JSON can hold; names are bytes, and need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")
