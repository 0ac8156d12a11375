"""Settings of a run: one TOML schema, with keys named as the command line's options.

The command line wins over the file, the file over the defaults.
"""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.errors import InputError


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Table):
    """`[model]`: what runs, and where."""

    model: str = "mlp"
    device: str = "auto"
    dtype: str = "fp32"
    weights: Path | None = None


class BatcherSettings(_Table):
    """`[batcher]`: the knobs of the batcher."""

    policy: str = "timeout"
    max_batch_size: int = Field(default=32, ge=1, le=65536)
    batch_timeout_ms: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    min_wait_ms: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    preferred_batch_sizes: tuple[int, ...] = ()
    slo_ms: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_queue_size: int | None = Field(default=None, ge=1)
    deadline_ms: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    replicas: int | None = Field(default=None, ge=1, le=1024)
    in_flight: Literal[1, 2] = 1


class ReplaySettings(_Table):
    """`[replay]`: what arrives, how fast, for how long, and who sends it."""

    trace: str = "bursty.json"
    rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    utilization: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    time_scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    duration: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=0)
    client: Literal["thread", "loop"] = "thread"
    trace_format: str | None = None
    time_column: str | None = None
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    skip_bad: int = Field(default=0, ge=0)


class Settings(_Table):
    """Everything that decides a run."""

    model: ModelSettings = ModelSettings()
    batcher: BatcherSettings = BatcherSettings()
    replay: ReplaySettings = ReplaySettings()


TABLES: dict[str, type[_Table]] = {
    "model": ModelSettings,
    "batcher": BatcherSettings,
    "replay": ReplaySettings,
}

_READING = ("trace_format", "time_column", "time_unit", "skip_bad")


def load_settings(config: Path | None, options: dict[str, Any]) -> Settings:
    """Settings from a TOML file, if one is given, and the options that were given (not None).

    Raises:
        InputError: the file cannot be read, or a value is unknown or out of its range.
    """
    tables = _read_toml(config) if config is not None else {}
    given = {key: value for key, value in options.items() if value is not None}
    merged: dict[str, dict[str, Any]] = {}
    for name, table in TABLES.items():
        overrides = {key: given[key] for key in table.model_fields if key in given}
        of_file = dict(tables.get(name, {}))
        if {"rate", "utilization"} & overrides.keys():
            # One of the two on the command line replaces either in the file.
            of_file.pop("rate", None)
            of_file.pop("utilization", None)
        if "trace" in overrides:
            # Another trace than the file's is not to be read by the file's rules for its own.
            of_file = {key: value for key, value in of_file.items() if key not in _READING}
        merged[name] = {**of_file, **overrides}
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise InputError(_one_line(error, config)) from None
    if settings.replay.rate is not None and settings.replay.utilization is not None:
        raise InputError("load must be given as --rate or as --utilization, but got both")
    return settings


def _read_toml(path: Path) -> dict[str, dict[str, Any]]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"config {path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"config {path}: must be TOML, but {error}") from None
    for name, table in tables.items():
        if name not in TABLES or not isinstance(table, dict):
            expected = ", ".join(f"[{known}]" for known in TABLES)
            raise InputError(f"config {path}: must hold the tables {expected}, but got {name!r}")
    return tables


def _one_line(error: ValidationError, config: Path | None) -> str:
    first = error.errors()[0]
    table, *rest = (str(part) for part in first["loc"])
    where = ".".join(rest)
    if first["type"] == "extra_forbidden":
        known = ", ".join(TABLES[table].model_fields)
        return f"config {config}: [{table}] takes {known}, but got {where!r}"
    message = first["msg"].removeprefix("Input ").replace("should", "must")
    return f"{where} {message}, but got {first['input']!r}"
