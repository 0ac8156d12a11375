"""Settings of a run: one TOML schema, with keys named as the command line's options.

The command line wins over the file, the file over the defaults. Paths in a file are relative to its
folder, those of the command line to the current one.
"""

import os
import re
import tomllib
from collections.abc import Collection
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from bench.errors import InputError

if TYPE_CHECKING:
    from results.run.slo import Kind, Slo

# A file's `true` is no number, and its "8" is none either.
Positive = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False)]
AtLeastOne = Annotated[StrictInt, Field(ge=1)]


def _as_several(value: Any) -> Any:
    """One text stands for a list of one."""
    return (value,) if isinstance(value, str) else value


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Table):
    """`[model]`: what runs, and where."""

    model: StrictStr = "mlp"
    device: StrictStr = "auto"
    dtype: StrictStr = "fp32"
    weights: Path | None = None
    length_buckets: tuple[AtLeastOne, ...] = ()
    engine: StrictStr = "eager"
    captured_batch_sizes: tuple[AtLeastOne, ...] = ()
    channels_last: StrictBool | None = None

    @property
    def how(self) -> dict[str, Any]:
        """What `resolve_placement` takes by name, beside the device and the dtype."""
        return {
            "engine": self.engine,
            "captured_sizes": self.captured_batch_sizes,
            "channels_last": self.channels_last,
        }


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
    date_order: Literal["day", "month"] | None = None
    stamp: Literal["start", "end"] | None = None
    duration_column: str | None = None
    duration_unit: Literal["s", "ms", "us", "ns"] | None = None
    count_column: str | None = None
    where: Annotated[tuple[StrictStr, ...], BeforeValidator(_as_several)] = ()
    columns: str | None = None
    skip_bad: int = Field(default=0, ge=0)
    max_unpacked_gb: Positive | None = None


class SloSettings(_Table):
    """`[slo]`: what the run is judged by, and whether it goes on until it can be."""

    slo: tuple[StrictStr, ...] = ()
    until_decided: StrictBool = False
    max_duration: Positive | None = None

    @property
    def parsed(self) -> "tuple[Slo, ...]":
        """The objectives; `load_settings` has made sure that they can be read."""
        from results.run.slo import Slo

        return tuple(Slo.parse(text) for text in self.slo)


class Settings(_Table):
    """Everything that decides a run."""

    model: ModelSettings = ModelSettings()
    batcher: BatcherSettings = BatcherSettings()
    replay: ReplaySettings = ReplaySettings()
    slo: SloSettings = SloSettings()


# Kept in the same file, and of no consequence for a run: `results.tuning.recommended_toml`.
IGNORED = ("recommendation",)

TABLES: dict[str, type[_Table]] = {
    "model": ModelSettings,
    "batcher": BatcherSettings,
    "replay": ReplaySettings,
    "slo": SloSettings,
}

# How the trace is read: what goes with one file means nothing for another.
READING = (
    "trace_format", "time_column", "time_unit", "date_order", "stamp", "duration_column",
    "duration_unit", "count_column", "where", "columns", "skip_bad", "max_unpacked_gb",
)  # fmt: skip


def load_settings(
    config: Path | None, options: dict[str, Any], *, slo_kinds: "Collection[Kind] | None" = None
) -> Settings:
    """Settings from a TOML file, if one is given, and the options that were given (not None).

    Args:
        config: the file.
        options: by the names of their keys in the file.
        slo_kinds: what an SLO may be on; None: on all that a run is judged by.

    Raises:
        InputError: the file cannot be read, or a value is unknown or out of its range.
    """
    tables = _seen_from(config.parent, _read_toml(config)) if config is not None else {}
    given = {key: value for key, value in options.items() if value is not None and value != []}
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
            of_file = {key: value for key, value in of_file.items() if key not in READING}
        merged[name] = {**of_file, **overrides}
    _one_replica_a_device(merged)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise InputError(_one_line(error, config, given)) from None
    if settings.replay.rate is not None and settings.replay.utilization is not None:
        raise InputError("load must be given as --rate or as --utilization, but got both")
    source = "" if config is None or "slo" in given else f"config {config}: [slo] "
    _check_slos(settings, source, slo_kinds)
    return settings


def absolute(settings: Settings) -> Settings:
    """The settings with their paths in full, so that they mean the same in a file anywhere."""
    tables = {name: getattr(settings, name).model_dump(exclude_unset=True) for name in TABLES}
    return Settings.model_validate(_seen_from(Path.cwd(), tables))


def beside(settings: Settings, folder: Path) -> Settings:
    """The settings as a file in that folder says them.

    Paths are relative to it where they and it lie below the current folder, so that all of that may
    be moved or copied; the others are in full.
    """
    from batching.plugins import with_path

    here, folder = Path.cwd(), folder.resolve()

    def near(path: str) -> str:
        if not (Path(path).is_relative_to(here) and folder.is_relative_to(here)):
            return path
        short = os.path.relpath(path, folder)
        # With a folder in front, a trace is none of the built-in ones.
        return short if short.startswith(os.pardir) else f"./{short}"

    settings = absolute(settings)
    model, replay = settings.model, settings.replay
    policy = with_path(settings.batcher.policy, near)
    named: dict[str, Any] = {"model": with_path(model.model, near)}
    if model.weights is not None:
        named["weights"] = Path(near(str(model.weights)))
    return settings.model_copy(
        update={
            "model": model.model_copy(update=named),
            "batcher": settings.batcher.model_copy(update={"policy": policy}),
            "replay": replay.model_copy(update={"trace": near(replay.trace)}),
        }
    )


def _seen_from(folder: Path, tables: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What a file in that folder says, with its paths as they are seen from here."""
    from batching.plugins import joined, seen_from
    from workloads import builtin_names

    found = {name: dict(table) for name, table in tables.items()}
    for name, key in (("model", "model"), ("batcher", "policy")):
        value = found.get(name, {}).get(key)
        if isinstance(value, str):
            found[name][key] = seen_from(folder, value)
    model, replay = found.get("model", {}), found.get("replay", {})
    if isinstance(model.get("weights"), str | Path):
        model["weights"] = folder / model["weights"]
    trace = replay.get("trace")
    if isinstance(trace, str) and trace != "-":
        # As on the command line: a file of that name, or else the built-in.
        known = {name for one in builtin_names() for name in (one, one.removesuffix(".json"))}
        if (folder / trace).exists() or trace not in known:
            replay["trace"] = joined(folder, trace)
    return found


def _one_replica_a_device(tables: dict[str, dict[str, Any]]) -> None:
    """Fill in how many workers several devices get, so that a simulation has as many."""
    device = tables["model"].get("device")
    if isinstance(device, str) and "," in device and tables["batcher"].get("replicas") is None:
        tables["batcher"]["replicas"] = device.count(",") + 1


def _check_slos(settings: Settings, source: str, kinds: "Collection[Kind] | None") -> None:
    """Raise InputError for SLOs that cannot be read, or that a run could not be judged by."""
    from results.errors import InvalidInputError
    from results.run.judge import LIVE
    from results.run.slo import Kind, Slo, goodput_limit_s

    asked = settings.slo
    if kinds is None:
        # Others are known only once the run is over.
        kinds = LIVE if asked.until_decided else tuple(Kind)
        source += "until_decided: " if asked.until_decided else ""
    try:
        slos = tuple(Slo.parse(text, kinds) for text in asked.slo)
    except InvalidInputError as error:
        raise InputError(f"{source}{error}") from None
    if any(slo.metric == "goodput_rps" for slo in slos) and goodput_limit_s(slos) is None:
        raise InputError(
            f"{source}an SLO on goodput must come with one on a percentile of latency, "
            f"but got {', '.join(asked.slo)}"
        )
    if asked.max_duration is not None and not asked.until_decided:
        raise InputError("max_duration goes with until_decided, but got it alone")
    if not asked.until_decided:
        return
    if not slos:
        raise InputError(
            "until_decided must have an SLO to decide (--slo 'p99<=50ms'), but has none"
        )
    duration, longest = settings.replay.duration, asked.max_duration
    if duration is not None and longest is not None and longest <= duration:
        raise InputError(
            f"max_duration must be more than the duration of {duration:g} s, but got {longest:g}"
        )


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


_UNITS_S = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_duration_s(name: str, text: str) -> float:
    """Read "45", "45s", "500ms", "5m" or "1h" as seconds.

    Raises:
        InputError: it is none of these, or not above 0; `name` says which option it was.
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([a-z]*)\s*", text)
    try:
        seconds = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    except (ValueError, KeyError):
        seconds = 0.0
    if not (isfinite(seconds) and seconds > 0.0):
        raise InputError(f"{name} must be a time above 0, as 45, 45s or 5m, but got {text!r}")
    return seconds
