"""Settings of a run: one TOML schema, with keys named as the command line's options.

The command line wins over the file, the file over the defaults.
"""

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from bench.errors import InputError

# A file's `true` is no number, and its "8" is none either.
Positive = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False)]
AtLeastOne = Annotated[StrictInt, Field(ge=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Table):
    """`[model]`: what runs, and where."""

    model: StrictStr = "mlp"
    device: StrictStr = "auto"
    dtype: StrictStr = "fp32"
    weights: Path | None = None
    length_buckets: tuple[AtLeastOne, ...] = ()


class BatcherSettings(_Table):
    """`[batcher]`: the knobs of the batcher."""

    policy: StrictStr = "timeout"
    max_batch_size: Annotated[AtLeastOne, Field(le=65536)] = 32
    batch_timeout_ms: NotNegative = 10.0
    min_wait_ms: NotNegative = 0.0
    preferred_batch_sizes: tuple[AtLeastOne, ...] = ()
    slo_ms: Positive | None = None
    max_queue_size: AtLeastOne | None = None
    deadline_ms: Positive | None = None
    execute_timeout_ms: Positive | None = None
    replicas: Annotated[AtLeastOne, Field(le=1024)] | None = None
    in_flight: Annotated[AtLeastOne, Field(le=2)] = 1


class ReplaySettings(_Table):
    """`[replay]`: what arrives, how fast, for how long, and who sends it."""

    trace: StrictStr = "bursty.json"
    rate: Positive | None = None
    utilization: Positive | None = None
    time_scale: Positive = 1.0
    duration: Positive | None = None
    seed: Annotated[StrictInt, Field(ge=0)] | None = None
    match_load: StrictBool | None = None
    rate_by: Literal["time", "thin", "superpose", "auto"] | None = None
    loop: StrictBool = False
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


# Kept in the same file, and of no consequence for a run: `bench.recommendation`.
IGNORED = ("recommendation",)

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
        raise InputError(_one_line(error, config, given)) from None
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
        if name not in {*TABLES, *IGNORED} or not isinstance(table, dict):
            expected = ", ".join(f"[{known}]" for known in TABLES)
            raise InputError(f"config {path}: must hold the tables {expected}, but got {name!r}")
    return tables


def _one_line(error: ValidationError, config: Path | None, given: Collection[str]) -> str:
    first = error.errors()[0]
    table, *rest = (str(part) for part in first["loc"])
    where = ".".join(rest)
    if first["type"] == "extra_forbidden":
        known = ", ".join(TABLES[table].model_fields)
        return f"config {config}: [{table}] takes {known}, but got {where!r}"
    message = first["msg"].removeprefix("Input ").replace("should", "must")
    source = "" if config is None or rest[0] in given else f"config {config}: [{table}] "
    return f"{source}{where} {message}, but got {first['input']!r}"
