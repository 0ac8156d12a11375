"""Trace files: JSON that either describes a process or lists arrivals."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, StrictFloat, StrictInt, StrictStr

from workloads import described, schema
from workloads.errors import TraceError, TraceFileError, WorkloadError
from workloads.specs import DescribedTrace, ListedTrace
from workloads.trace import MOST_TOKENS, Trace

# fail_fast, so that a column of a million wrong entries is one complaint.
Seconds = Annotated[list[StrictFloat], Field(fail_fast=True)]
Lengths = Annotated[list[Annotated[StrictInt, Field(ge=0, le=MOST_TOKENS)]], Field(fail_fast=True)]


@dataclass(frozen=True)
class _Listing:
    """The fields of a file that lists arrivals; ListedTrace is what becomes of it."""

    arrival_s: Seconds
    input_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    duration_s: StrictFloat | None = None
    name: StrictStr = "recording"

    def __post_init__(self) -> None:
        if not self.arrival_s:
            raise TraceError("arrival_s must list at least one arrival, but got []")

    def trace(self, path: str) -> Trace:
        """The requests as columns."""
        return Trace(
            arrival_s=np.array(self.arrival_s, dtype=np.float64),
            duration_s=self.arrival_s[-1] if self.duration_s is None else self.duration_s,
            input_tokens=_column(self.input_tokens),
            output_tokens=_column(self.output_tokens),
            name=self.name,
            source={"kind": "recording", "path": path},
        )


def _column(tokens: list[int] | None) -> Any:
    return None if tokens is None else np.array(tokens, dtype=np.int64)


def builtin_names() -> list[str]:
    """The traces that come with the package, as `load` knows them."""
    return sorted(entry.name for entry in _builtins().iterdir() if entry.name.endswith(".json"))


def load(path_or_builtin: str | Path) -> DescribedTrace | ListedTrace:
    """Read a trace file, or the built-in of that name where there is no such file.

    A built-in may be named with or without `.json`.

    Raises:
        TraceFileError: No such file or built-in, or one that is no trace; the message starts
            with its name.
    """
    path = Path(path_or_builtin)
    try:
        raw = _read(path)
    except OSError as error:
        raise TraceFileError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        return _understand(raw, path)
    except WorkloadError as error:
        raise TraceFileError(f"{path}: {error}") from None


def save(trace: Trace, path: str | Path) -> None:
    """Write the trace as a list of arrivals, whole or not at all.

    Loading the file gives back the same columns, bit by bit.

    Raises:
        TraceFileError: The file cannot be written, or the trace has no arrivals to list.
    """
    path = Path(path)
    if not len(trace):
        raise TraceFileError(f"{path}: only a trace with arrivals can be saved, but this has none")
    content: dict[str, Any] = {"name": trace.name, "duration_s": float(trace.duration_s)}
    for name in ("arrival_s", "input_tokens", "output_tokens"):
        column = getattr(trace, name)
        if column is not None:
            content[name] = column.tolist()
    # In the same folder, since a rename is atomic within one file system only.
    draft = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        draft.write_text(json.dumps(content) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise TraceFileError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):  # still there only if something failed
            draft.unlink()


def _builtins() -> Any:
    return files("workloads") / "builtin"


def _read(path: Path) -> bytes:
    if path.exists() and not path.is_dir():
        return path.read_bytes()
    for builtin in builtin_names():
        if str(path) in (builtin, builtin.removesuffix(".json")):
            content: bytes = (_builtins() / builtin).read_bytes()
            return content
    what = "is a folder, not a trace file" if path.is_dir() else "does not exist"
    raise TraceFileError(f"{path} {what}; the built-in traces are {', '.join(builtin_names())}")


def _understand(raw: bytes, path: Path) -> DescribedTrace | ListedTrace:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TraceFileError(
            f"must be UTF-8 text, but byte {error.start} is 0x{raw[error.start]:02x}"
        ) from None
    values = schema.parse(text)
    forms = [key for key in ("process", "arrival_s") if key in values]
    if len(forms) != 1:
        raise TraceFileError(
            'must have either "process", to describe arrivals, or "arrival_s", to list them, '
            f"but has {'both' if forms else 'neither'}"
        )
    named = {"name": _text(path.stem)} | values
    return described.parse(named) if forms == ["process"] else _listed(named, path)


def _listed(values: dict[str, Any], path: Path) -> ListedTrace:
    schema.check_known(values, schema.field_names(_Listing))
    return ListedTrace(schema.build(_Listing, values).trace(_text(path)))


def _text(path: str | Path) -> str:
    """A file's name as text that JSON can hold; names are bytes, and need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")
