"""A run on disk: one folder with its logs, run.json, figures and report.

The logs and run.json are written before anything is computed from them, so an interrupted analysis
loses no measurement. Every file is written beside its name and then renamed: a reader never sees
half of one.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from results.errors import (
    InvalidInputError,
    LogError,
    NotAnalysedError,
    RunCorruptError,
    RunExistsError,
    RunNotFoundError,
    RunVersionError,
)
from results.files import beside, replacing, write_text
from results.run.device_metrics import Hardware
from results.run.intervals import Devices
from results.run.logs import (
    BATCHES,
    REQUESTS,
    STALLS,
    TELEMETRY,
    LogSchema,
    RunLogs,
)
from results.run.metrics import Metrics
from results.run.slo import Slo, goodput_limit_s
from results.run.validity import Finding
from results.run.verdict import Verdict

SCHEMA_VERSION = 1
RECORD = "run.json"
REPORT = "report.html"
FIGURES = "figures"
LATEST = "latest"
SIMULATION = "simulation"

_LOGS = (REQUESTS, BATCHES, TELEMETRY, STALLS)


class RunRecord(BaseModel):
    """What run.json says.

    `valid`, `findings`, `verdicts` and `metrics` are empty until the run is analysed; `partial`
    says that it was interrupted. `prediction` is what a simulation of the same arrivals said before
    the run, by the metrics' keys; `bounds` is what no setting can beat under them;
    `profiled_execute_s` is the mean execution time in the profile behind both, by batch size.
    `config`, `environment` and `trace` are free-form and meant for display.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    id: str
    kind: str = "replay"
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    valid: bool | None = None
    partial: bool = False
    findings: tuple[Finding, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    window_s: float = Field(gt=0.0, allow_inf_nan=False)
    config: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)
    trace: dict[str, Any] = Field(default_factory=dict)
    prediction: dict[str, float | None] | None = None
    bounds: dict[str, float] | None = None
    profiled_execute_s: dict[int, float] | None = None
    metrics: Metrics | None = None

    def as_json(self) -> str:
        """Return the record as indented JSON, NaN and infinity as null."""
        return self.model_dump_json(indent=2) + "\n"


class RunDirectory:
    """The folder of one run.

    Args:
        path: The folder; use `create` for a new run and `open` for one that is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: str | Path) -> "RunDirectory":
        """Make the folder of a new run, and the folders above it.

        Raises:
            RunExistsError: There is a run in it already, or a file of that name.
        """
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise RunExistsError(f"{folder} must be a folder, but is a file")
        ours = [RECORD, *(_log_file(schema) for schema in _LOGS)]
        if any((folder / name).exists() for name in ours):
            raise RunExistsError(f"{folder} holds a run already; choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    @classmethod
    def open(cls, path: str | Path) -> "RunDirectory":
        """Return the folder of a run that is there.

        Raises:
            RunNotFoundError: There is no run in it.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise RunNotFoundError(f"{folder} is not a folder")
        if not (folder / RECORD).is_file():
            raise RunNotFoundError(f"{folder} holds no run: it has no {RECORD}")
        return cls(folder)

    def write_logs(self, logs: RunLogs) -> RunLogs:
        """Write the four logs and return them as they were written.

        Raises:
            LogError: A log does not have the columns or values it must have; none is written.
        """
        checked = logs.validated()
        for schema in _LOGS:
            frame: pd.DataFrame = getattr(checked, schema.name)
            with replacing(self.path / _log_file(schema)) as fresh:
                frame.to_parquet(fresh, index=False)
        return checked

    def write_record(self, record: RunRecord) -> None:
        """Write run.json, in place of the one that is there."""
        write_text(self.path / RECORD, record.as_json())

    def read_logs(self) -> RunLogs:
        """Read the four logs.

        Raises:
            RunCorruptError: One of them is missing, unreadable or not that log.
        """
        return RunLogs(**{schema.name: _read_log(self.path, schema) for schema in _LOGS})

    def read_record(self) -> RunRecord:
        """Read run.json.

        Raises:
            RunCorruptError: It is unreadable or not a run's record.
            RunVersionError: Another version of the format wrote it.
        """
        path = self.path / RECORD
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise RunCorruptError(f"{path} cannot be read: {_first_line(error)}") from error
        if not isinstance(content, dict) or "schema_version" not in content:
            raise RunCorruptError(f"{path} is not a run's record: it has no schema_version")
        if content["schema_version"] != SCHEMA_VERSION:
            raise RunVersionError(
                f"{path} must have schema_version {SCHEMA_VERSION}, "
                f"but got {content['schema_version']!r}: another version of dynbatch wrote it"
            )
        try:
            return RunRecord.model_validate(content)
        except ValidationError as error:
            raise RunCorruptError(f"{path} is not a run's record: {_first_fault(error)}") from error


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it was read: its folder, its record and its four logs."""

    path: Path
    record: RunRecord
    logs: RunLogs

    @classmethod
    def load(cls, path: str | Path) -> "Run":
        """Read a run.

        Raises:
            RunError: There is no run in that folder, or it cannot be read.
        """
        directory = RunDirectory.open(path)
        return cls(directory.path, directory.read_record(), directory.read_logs())

    @property
    def requests(self) -> pd.DataFrame:
        """The request log."""
        return self.logs.requests

    @property
    def batches(self) -> pd.DataFrame:
        """The batch log."""
        return self.logs.batches

    @property
    def telemetry(self) -> pd.DataFrame:
        """The telemetry."""
        return self.logs.telemetry

    @property
    def stalls(self) -> pd.DataFrame:
        """The machine's own stalls."""
        return self.logs.stalls

    @property
    def replicas(self) -> int:
        """How many workers served: as configured, or else as many as the batch log shows."""
        configured = whole_number(self.record.config, "replicas")
        return configured or max(1, int(self.batches["worker"].nunique()))

    @property
    def devices(self) -> Devices:
        """Which device each replica worked on; each on its own where that was not noted."""
        noted = self.record.config.get("replica_devices")
        if not isinstance(noted, list | tuple) or len(noted) != self.replicas:
            return Devices.apart(self.replicas)
        return Devices(tuple(str(name) for name in noted))

    @property
    def hardware(self) -> Hardware:
        """What `environment` says of the devices and of the model's work."""
        environment = self.record.environment
        peaks: dict[str, float] = {}
        for name, facts in mapping(environment, "devices").items():
            peak = positive_number(facts, "peak_flops_per_s") if isinstance(facts, dict) else None
            if peak is not None:
                peaks[str(name)] = peak
        return Hardware(
            self.devices,
            whole_number(environment, "cores"),
            positive_number(mapping(environment, "flops"), "per_request"),
            peaks,
        )

    @property
    def slos(self) -> tuple[Slo, ...]:
        """The configured SLOs.

        Raises:
            RunCorruptError: One of them cannot be read.
        """
        texts = self.record.config.get("slo") or ()
        try:
            return tuple(Slo.parse(str(text)) for text in texts)
        except InvalidInputError as error:
            raise RunCorruptError(f"{self.path / RECORD}: {error}") from error

    @property
    def slo_latency_s(self) -> float | None:
        """The latency limit of goodput, seconds: that of the SLOs, or of `slo_latency_ms`."""
        limit_ms = positive_number(self.record.config, "slo_latency_ms")
        return goodput_limit_s(self.slos) if limit_ms is None else limit_ms / 1e3

    @property
    def metrics(self) -> Metrics:
        """The run's metrics.

        Raises:
            NotAnalysedError: They have not been computed.
        """
        if self.record.metrics is None:
            raise NotAnalysedError(f"{self.path} has no metrics yet; analyse it first")
        return self.record.metrics


def mapping(values: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return a mapping within free-form values; empty if it is not there or not one."""
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}


def whole_number(values: Mapping[str, object], key: str) -> int | None:
    """Return a positive whole number from free-form values; None if it is not there or not one."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return None
    return value


def positive_number(values: Mapping[str, object], key: str) -> float | None:
    """Return a positive number from free-form values; None if it is not there or not one."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return float(value)


def update_latest(path: str | Path) -> None:
    """Point the link `latest` beside a run's folder at it, by a relative path.

    Does nothing where links are impossible, or where something else has that name.
    """
    folder = Path(path)
    link = folder.parent / LATEST
    if folder.name == LATEST or (link.exists() and not link.is_symlink()):
        return
    fresh = beside(link)
    with contextlib.suppress(OSError, NotImplementedError):
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(folder.name, target_is_directory=True)
        fresh.replace(link)


def _log_file(schema: LogSchema) -> str:
    return f"{schema.name}.parquet"


def _read_log(folder: Path, schema: LogSchema) -> pd.DataFrame:
    path = folder / _log_file(schema)
    if not path.is_file():
        raise RunCorruptError(f"{folder} lacks {path.name}")
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RunCorruptError(f"{path} cannot be read: {_first_line(error)}") from error
    try:
        return schema.validated(frame)
    except LogError as error:
        raise RunCorruptError(f"{path} is damaged: {error}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"
