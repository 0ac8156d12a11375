"""The four logs of a run: their columns, dtypes, units and meaning.

All times are seconds relative to the start of the measured window (t = 0); warm-up and the tail
after the window have times outside of it. NaN means that it did not happen or was not measured.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.arrays import BoolArray, FloatArray
from results.errors import LogError

STATUSES = ("ok", "rejected", "expired", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a log.

    Args:
        name: Its name; times end in `_s`.
        dtype: A numpy dtype name, or "str".
        meaning: What a value says, with its unit.
        optional: Whether a log may leave the column out.
        finite: Whether a float column must have a value in every row.
        allowed: The closed set of values, where there is one.
    """

    name: str
    dtype: str
    meaning: str
    optional: bool = False
    finite: bool = False
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogSchema:
    """The columns of one log, in the order in which they are written."""

    name: str
    columns: tuple[Column, ...]

    def empty(self) -> pd.DataFrame:
        """Return the log of a run in which none of this was logged."""
        return self.validated(pd.DataFrame({c.name: [] for c in self.columns if not c.optional}))

    def validated(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame with exactly this log's columns and dtypes.

        Values are converted only where nothing is lost (an int32 becomes an int64, 3.0 becomes 3).

        Raises:
            LogError: A column is missing or unknown, or a value does not fit its column.
        """
        known = {c.name for c in self.columns}
        missing = [c.name for c in self.columns if not c.optional and c.name not in frame.columns]
        unknown = [str(name) for name in frame.columns if name not in known]
        if missing:
            raise LogError(f"the {self.name} log must have the column {_listed(missing)}")
        if unknown:
            raise LogError(f"the {self.name} log must not have the column {_listed(unknown)}")
        present = [c for c in self.columns if c.name in frame.columns]
        return pd.DataFrame(
            {c.name: _converted(frame, c, self.name) for c in present},
            index=pd.RangeIndex(len(frame)),
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _converted(frame: pd.DataFrame, column: Column, log: str) -> npt.NDArray[np.generic]:
    where = f"{column.name} of the {log} log"
    values = np.asarray(frame[column.name])
    if column.dtype == "str":
        return _texts(values, column, where)
    return _numbers(values, column, where)


def _numbers(
    values: npt.NDArray[np.generic], column: Column, where: str
) -> npt.NDArray[np.generic]:
    target = np.dtype(column.dtype)
    if len(values) == 0:
        return np.empty(0, target)
    if values.dtype.kind not in "biuf":
        raise LogError(f"{where} must be {column.dtype}, but got {values.dtype}")
    with np.errstate(invalid="ignore"):  # a NaN cast to an integer is found out just below
        converted = values.astype(target)
    if not np.array_equal(converted, values, equal_nan=target.kind == "f"):
        raise LogError(f"{where} must be {column.dtype}, but has values that do not fit it")
    if target.kind == "f" and np.isinf(converted).any():
        raise LogError(f"{where} must be finite or NaN, but has infinity")
    if column.finite and np.isnan(converted).any():
        raise LogError(f"{where} must have a value in every row, but has NaN")
    return converted


def _texts(values: npt.NDArray[np.generic], column: Column, where: str) -> npt.NDArray[np.generic]:
    distinct = list(pd.unique(values.astype(object)))
    odd = [value for value in distinct if not isinstance(value, str)]
    if odd:
        raise LogError(f"{where} must be text in every row, but has {odd[0]!r}")
    wrong = sorted(set(distinct) - set(column.allowed))
    if column.allowed and wrong:
        raise LogError(f"{where} must be one of {', '.join(column.allowed)}, but got {wrong[0]!r}")
    return values.astype(object)


def _time(name: str, meaning: str, *, finite: bool = False) -> Column:
    return Column(name, "float64", meaning, finite=finite)


REQUESTS = LogSchema(
    "requests",
    (
        Column("request", "int64", "index of the request in the schedule"),
        _time("scheduled_s", "when it was to be sent", finite=True),
        _time("enqueued_s", "when it was sent and entered the queue"),
        _time("first_failed_s", "when its first attempt failed; NaN unless it was retried"),
        _time("taken_s", "when the batch of its last attempt was taken from the queue"),
        _time("staged_s", "when that batch's inputs were in place on the device"),
        _time("started_s", "when the device could begin that batch"),
        _time("completed_s", "when the host saw that batch complete"),
        _time("ended_s", "when its result was handed over, or it ended otherwise"),
        Column("status", "str", "how it ended", allowed=STATUSES),
        Column("batch", "int64", "its last batch; -1: none"),
        Column("attempts", "int16", "how many batches it was a member of"),
        Column("input_tokens", "int32", "tokens of its input", optional=True),
        Column("output_tokens", "int32", "tokens of its output", optional=True),
    ),
)

BATCHES = LogSchema(
    "batches",
    (
        Column("batch", "int64", "index of the batch"),
        Column("worker", "int16", "the replica that ran it"),
        Column("size", "int32", "requests in it"),
        Column("limit", "int32", "max_batch_size in force when it was taken"),
        Column("weight", "int64", "its size, or its tokens under a token budget"),
        Column("reason", "str", "why it went: full, timeout, drain, ..."),
        _time("oldest_s", "when its oldest member was enqueued"),
        _time("taken_s", "when it was taken from the queue", finite=True),
        _time("staged_s", "when its inputs were in place on the device"),
        _time("started_s", "staged, or the device's previous batch completed, if that is later"),
        _time("completed_s", "when the host saw it complete"),
        _time("delivered_s", "when its results had been handed over"),
        _time("freed_s", "when the worker no longer held it"),
        Column("real_elements", "float64", "elements of its inputs before padding"),
        Column("padded_elements", "float64", "elements of its inputs after padding"),
        Column("device_s", "float64", "seconds on the device by CUDA events"),
        Column("ok", "bool", "whether it ran without an error"),
    ),
)

TELEMETRY = LogSchema(
    "telemetry",
    (
        _time("t_s", "when the sample was taken", finite=True),
        Column("process_cpu_cores", "float64", "CPU seconds per second since the last sample"),
        Column("rss_bytes", "float64", "resident memory of the process"),
        Column("queue_depth", "float64", "requests waiting"),
        Column("in_flight", "float64", "requests in batches that were taken and not yet ended"),
        Column("gpu_utilization", "float64", "NVML utilisation, 0 to 1"),
        Column("gpu_memory_bytes", "float64", "device memory in use"),
        Column("gpu_power_w", "float64", "power drawn"),
        Column("gpu_energy_j", "float64", "energy counter, joules since the driver was loaded"),
        Column("gpu_sm_clock_mhz", "float64", "clock of the multiprocessors"),
        Column("gpu_throttle_reasons", "float64", "NVML's bit mask of reasons for a lower clock"),
        Column("gpu_other_processes", "float64", "other processes that compute on the device"),
        Column(
            "device", "str", 'the device that the gpu_ columns are of; "" for none', optional=True
        ),
        Column("gpu_memory_clock_mhz", "float64", "clock of the memory", optional=True),
        Column("gpu_temperature_c", "float64", "temperature, degrees Celsius", optional=True),
        Column(
            "gpu_other_bytes", "float64", "device memory that other processes hold", optional=True
        ),
    ),
)

STALLS = LogSchema(
    "stalls",
    (
        _time("at_s", "when an idle thread meant to wake up", finite=True),
        Column("late_s", "float64", "how much later it did: the machine's own stalls", finite=True),
    ),
)


@dataclass(frozen=True, slots=True)
class RunLogs:
    """The four logs of one run."""

    requests: pd.DataFrame
    batches: pd.DataFrame
    telemetry: pd.DataFrame
    stalls: pd.DataFrame

    def validated(self) -> "RunLogs":
        """Return the logs with exactly their columns and dtypes.

        Raises:
            LogError: One of them does not have the columns or values it must have.
        """
        return RunLogs(
            requests=REQUESTS.validated(self.requests),
            batches=BATCHES.validated(self.batches),
            telemetry=TELEMETRY.validated(self.telemetry),
            stalls=STALLS.validated(self.stalls),
        )


def floats(frame: pd.DataFrame, name: str) -> FloatArray:
    """Return a column as float64 `[rows]`."""
    return np.asarray(frame[name], dtype=np.float64)


def floats_if_any(frame: pd.DataFrame, name: str) -> FloatArray:
    """Return an optional column as float64 `[rows]`, NaN where the log does not have it."""
    return floats(frame, name) if name in frame else np.full(len(frame), np.nan)


def has_status(requests: pd.DataFrame, *statuses: str) -> BoolArray:
    """Return which requests ended in one of these ways, `[requests]`."""
    return np.asarray(requests["status"].isin(statuses), dtype=np.bool_)


def inside(times_s: FloatArray, window_s: float) -> BoolArray:
    """Return which times lie inside the measured window [0, window_s); NaN does not."""
    return np.asarray((times_s >= 0.0) & (times_s < window_s), dtype=np.bool_)
