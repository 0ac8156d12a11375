"""The tables `[model]` and `[batcher]` of a config file, as arguments of the batcher.

The same keys, types and ranges as `dynbatch --config` takes: those of `bench.settings`, which
`batching` may not import; `tests/batching/test_from_config.py` holds the two together. Checked by
hand, so that a service needs no further package for it.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any, NoReturn

from batching.clock import RealClock
from batching.errors import ConfigError
from batching.models import load_model
from batching.options import FaultTolerance
from batching.plugins import seen_from

# What other parts of dynbatch keep in the same file.
_OTHER_TABLES = ("replay", "slo", "recommendation")
# What `[model]` says about where and how a model runs, whichever it is.
_PLACING = ("device", "dtype", "engine", "captured_batch_sizes", "channels_last")


class _Misfit(Exception):  # noqa: N818 - never leaves this module
    """A value is not what it must be; the text says what that is."""


@dataclass(frozen=True, slots=True)
class BatcherConfig:
    """What a config file says about a batcher.

    Attributes:
        model: `[model]`: those of its keys that are given.
        batcher: `[batcher]`: the knobs that are given; times are in ms, as their names say.
    """

    model: dict[str, Any]
    batcher: dict[str, Any]


def read_config(path: Path) -> BatcherConfig:
    """Read and check the two tables; the others of a config file are left alone.

    Paths in the file are relative to its folder.

    Raises:
        ConfigError: the file cannot be read or is not TOML, or a table, a key or a value in it is
            not known or out of its range.
    """
    tables = _tables(path)
    model = _checked(path, "model", tables.get("model", {}), _MODEL)
    batcher = _checked(path, "batcher", tables.get("batcher", {}), _BATCHER)
    for table, key in ((model, "model"), (batcher, "policy")):
        if key in table:
            table[key] = seen_from(path.parent, table[key])
    if "weights" in model:
        model["weights"] = path.parent / model["weights"]
    return BatcherConfig(model, batcher)


def arguments(path: Path, run: Any, overrides: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What to call the batcher's constructor with: the model, and everything else by name.

    Args:
        path: the config file.
        run: what to batch; None for the file's own model.
        overrides: arguments that win over the file's.

    Raises:
        ConfigError: see `read_config`; or neither the file nor `run` says what to batch.
    """
    config = read_config(path)
    knobs = dict(config.batcher)
    if "execute_timeout_ms" in knobs:
        knobs["faults"] = FaultTolerance(execute_timeout_ms=knobs.pop("execute_timeout_ms"))
    model = dict(config.model)
    placing: dict[str, Any] = {key: model.pop(key) for key in _PLACING if key in model}
    if run is None:
        if "model" not in model:
            raise ConfigError(f"config {path}: [model] must name a model, but it has none")
        run = load_model(model.pop("model"), clock=overrides.get("clock") or RealClock(), **model)
    return run, {**knobs, **placing, **overrides}


def _tables(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config {path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path}: must be TOML, but {error}") from None
    known = ("model", "batcher", *_OTHER_TABLES)
    for name, table in tables.items():
        if name not in known or not isinstance(table, dict):
            expected = ", ".join(f"[{table}]" for table in known)
            raise ConfigError(f"config {path}: must hold the tables {expected}, but got {name!r}")
    return tables


def _checked(
    path: Path, name: str, table: dict[str, Any], checks: dict[str, Callable[[Any], Any]]
) -> dict[str, Any]:
    values = {}
    for key, value in table.items():
        if key not in checks:
            known = ", ".join(checks)
            raise ConfigError(f"config {path}: [{name}] takes {known}, but got {key!r}")
        try:
            values[key] = checks[key](value)
        except _Misfit as misfit:
            raise ConfigError(
                f"config {path}: [{name}] {key} must be {misfit}, but got {value!r}"
            ) from None
    return values


def _refuse(expected: str) -> NoReturn:
    raise _Misfit(expected)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _refuse("a string")


def _path(value: Any) -> Path:
    return Path(_text(value))


def _whole(least: int, most: float = inf) -> Callable[[Any], int]:
    expected = f"a whole number >= {least}" if most == inf else f"a whole number {least}..{most}"

    def check(value: Any) -> int:
        # `true` is an int in Python, but no number in a file.
        if type(value) is int and least <= value <= most:
            return value
        _refuse(expected)

    return check


def _time_ms(*, zero: bool) -> Callable[[Any], float]:
    expected = "a finite number >= 0" if zero else "a finite number > 0"

    def check(value: Any) -> float:
        if type(value) in (int, float):
            try:
                number = float(value)
            except OverflowError:
                _refuse(expected)
            if isfinite(number) and (number > 0 or (zero and number == 0)):
                return number
        _refuse(expected)

    return check


def _flag(value: Any) -> bool:
    return value if isinstance(value, bool) else _refuse("true or false")


def _sizes(value: Any) -> tuple[int, ...]:
    if isinstance(value, list) and all(type(size) is int and size >= 1 for size in value):
        return tuple(value)
    _refuse("a list of whole numbers >= 1")


_MODEL: dict[str, Callable[[Any], Any]] = {
    "model": _text,
    "device": _text,
    "dtype": _text,
    "weights": _path,
    "length_buckets": _sizes,
    "engine": _text,
    "captured_batch_sizes": _sizes,
    "channels_last": _flag,
}

_BATCHER: dict[str, Callable[[Any], Any]] = {
    "policy": _text,
    "max_batch_size": _whole(1, 65536),
    "batch_timeout_ms": _time_ms(zero=True),
    "min_wait_ms": _time_ms(zero=True),
    "preferred_batch_sizes": _sizes,
    "slo_ms": _time_ms(zero=False),
    "max_queue_size": _whole(1),
    "deadline_ms": _time_ms(zero=False),
    "execute_timeout_ms": _time_ms(zero=False),
    "replicas": _whole(1, 1024),
    "in_flight": _whole(1, 2),
}
