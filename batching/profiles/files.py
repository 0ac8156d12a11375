"""A profile as a JSON file: columns of samples, whole or not at all."""

import contextlib
import os
from math import isnan
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from batching.errors import ProfileError
from batching.execution.warm_up import ColdStart
from batching.profiles.builtin import is_name, known_names, located
from batching.profiles.profile import ServiceProfile, Stopped
from batching.profiles.samples import BatchSample
from batching.profiles.subject import Subject

KIND = "service profile"
SCHEMA_VERSION = 1

_PLAIN = (
    "stopped", "stopped_at", "refusal", "target", "budget_s", "spent_s", "seed", "callers_rps",
    "interrupted",
)  # fmt: skip
_OVERHEADS = ("wake_s", "timer_s", "turn_s")
_COLD_TIMES = ("load_s", "first_request_s", "warm_up_s")

_Seconds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
_Size = Annotated[int, Field(ge=1, le=2**31)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Subject(_Table):
    model: str
    device: str
    device_name: str
    dtype: str
    engine: str
    torch_threads: int | None
    versions: dict[str, str]
    captured_batch_sizes: Annotated[tuple[_Size, ...], Field(strict=False)] = ()
    channels_last: bool = False


class _ColdStart(_Table):
    load_s: _Seconds | None
    first_request_s: _Seconds | None
    warm_up_s: _Seconds | None
    sizes: list[_Size]
    engine_s: _Seconds | None = None
    engine_bytes: Annotated[int, Field(ge=0)] | None = None


class _Samples(_Table):
    """Columns of one length, a row a batch; `length` is null as a whole if no batch has one."""

    at_s: list[_Seconds]
    size: list[_Size]
    length: list[_Size | None] | None
    wake_s: list[_Seconds]
    collate_s: list[_Seconds]
    execute_s: list[_Seconds]
    deliver_s: list[_Seconds]

    @model_validator(mode="after")
    def _as_long_as_each_other(self) -> Self:
        lengths = {len(column) for _, column in self if column is not None}
        if len(lengths) > 1:
            raise ValueError("its columns must be of one length")
        return self


class _File(_Table):
    kind: Literal["service profile"]
    schema_version: Literal[1]
    created: Annotated[AwareDatetime, Field(strict=False)]
    subject: _Subject
    stopped: Stopped
    stopped_at: int
    refusal: str = ""
    target: _Seconds
    budget_s: _Seconds
    spent_s: _Seconds
    seed: int
    callers_rps: _Seconds = 0.0
    interrupted: bool
    cold_start: _ColdStart
    memory_bytes: dict[Annotated[int, Field(strict=False, ge=1)], int]
    wake_s: list[_Seconds]
    timer_s: list[_Seconds]
    turn_s: list[_Seconds]
    samples: _Samples


def save_profile(profile: ServiceProfile, path: Path) -> None:
    """Write a profile as JSON, in place of one that is there.

    Raises:
        ProfileError: the file cannot be written.
    """
    subject, cold = profile.subject, profile.cold_start
    file = _File.model_validate(
        {
            "kind": KIND,
            "schema_version": SCHEMA_VERSION,
            "created": profile.created,
            "subject": {name: getattr(subject, name) for name in _Subject.model_fields},
            **{name: getattr(profile, name) for name in _PLAIN},
            "cold_start": {
                **{name: _or_none(getattr(cold, name)) for name in _COLD_TIMES},
                "sizes": list(cold.sizes),
                "engine_s": cold.engine_s,
                "engine_bytes": cold.engine_bytes,
            },
            "memory_bytes": dict(profile.memory_bytes),
            **{name: list(getattr(profile, name)) for name in _OVERHEADS},
            "samples": _columns(profile.samples),
        }
    )
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(file.model_dump_json() + "\n", encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise ProfileError(f"profile {path}: cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


def load_profile(path: Path) -> ServiceProfile:
    """Read a profile that `save_profile` wrote.

    Args:
        path: the file, or else the name of a built-in profile: see `batching.profiles.builtin`.

    Raises:
        ProfileError: the file is missing, unreadable, damaged, or of another version or kind.
    """
    try:
        file = _File.model_validate_json(located(path).read_bytes())
    except OSError as error:
        if is_name(path):
            raise ProfileError(
                f"profile must be a file or a built-in, but got {str(path)!r}; {known_names()}"
            ) from None
        raise ProfileError(f"profile {path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise ProfileError(f"profile {path}: {_fault(error)}") from None
    cold = file.cold_start
    plain: dict[str, Any] = {name: getattr(file, name) for name in _PLAIN}
    overheads: dict[str, Any] = {name: tuple(getattr(file, name)) for name in _OVERHEADS}
    try:
        return ServiceProfile(
            subject=Subject(**file.subject.model_dump()),
            samples=_rows(file.samples),
            cold_start=ColdStart(
                **{name: _or_nan(getattr(cold, name)) for name in _COLD_TIMES},
                sizes=tuple(cold.sizes),
                engine_s=cold.engine_s,
                engine_bytes=cold.engine_bytes,
            ),
            memory_bytes=file.memory_bytes,
            created=file.created.isoformat(timespec="seconds"),
            **overheads,
            **plain,
        )
    except ProfileError as error:
        raise ProfileError(f"profile {path}: {error}") from None


def _columns(samples: tuple[BatchSample, ...]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        name: [getattr(sample, name) for sample in samples] for name in BatchSample._fields
    }
    if all(length is None for length in columns["length"]):
        columns["length"] = None
    return columns


def _rows(columns: _Samples) -> tuple[BatchSample, ...]:
    lengths = columns.length or [None] * len(columns.size)
    return tuple(
        map(
            BatchSample,
            columns.at_s,
            columns.size,
            lengths,
            columns.wake_s,
            columns.collate_s,
            columns.execute_s,
            columns.deliver_s,
        )
    )


def _or_none(seconds: float) -> float | None:
    return None if isnan(seconds) else seconds


def _or_nan(seconds: float | None) -> float:
    return float("nan") if seconds is None else seconds


def _fault(error: ValidationError) -> str:
    """The first thing wrong with a file, on one line."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message.replace("should", "must")
    if fault["type"] == "json_invalid":
        return f"must be a service profile in JSON, but {message}"
    if where in {"kind", "schema_version"} and fault["type"] == "literal_error":
        return f"{where} {message}, but got {fault['input']!r}"
    return f"must be a service profile: {where or 'it'}: {message}"
