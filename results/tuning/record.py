"""The record of a tuning: what tune.json keeps, and all that is shown is made from.

It is read tolerantly: what an older version left out is absent here too, what a newer one added is
ignored, and a file of version 1 is read by `results.tuning.migration`. Times are in seconds.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, Field, ValidationError

from results import format as fmt
from results.errors import RunCorruptError, RunNotFoundError, RunVersionError
from results.files import write_text
from results.tuning.device_record import DeviceRecord, Judged
from results.tuning.metrics import Metrics, Part
from results.tuning.migration import from_version_1

SCHEMA_VERSION = 2
RECORD = "tune.json"
# What is there of a tuning before it has an end.
_REQUEST = "request.json"
CAPACITY = "capacity"
_MAXIMISED = (CAPACITY, "goodput")
# The settings to be beaten.
NO_DELAY, DEFAULT, CURRENT, WINDOW = "no delay", "default", "current", "window"

Knob = int | float | str


class Trial(Part):
    """A setting that the search tried: what was searched of it, and what came of that.

    Attributes:
        number: of the trial in its study.
        knobs: what is searched, by knob.
        value, violations: as of `Judged`, on the draws of the search; a bound where the run on the
            device was ended early, as the metrics say.
        metrics: on those draws.
    """

    number: int = 0
    knobs: dict[str, Knob]
    value: float | None = None
    violations: dict[str, float] = Field(default_factory=dict)
    metrics: Metrics = Metrics()

    @property
    def feasible(self) -> bool:
        """Whether it violates nothing."""
        return all(violation <= 0.0 for violation in self.violations.values())


class GoalRecord(Part):
    """What was found for one objective.

    Attributes:
        objective: latency and device-time are in seconds, capacity and goodput in requests per
            second.
        trials: how many were tried.
        qualified: how many of them violate nothing and have a value.
        best: the setting that the search proposes, or what comes nearest to the SLO.
        within: share of a tie -> how many of the trials come that near to the best.
        worst_ratio: how far the worst trial that violates nothing is from the best.
        candidates: those that were re-evaluated.
        history: all trials, in their order.
        importance: by knob, a share of 1; None if there were too few trials to tell.
    """

    objective: str
    trials: int = 0
    qualified: int = 0
    best: Judged | None = None
    within: dict[str, int] = Field(default_factory=dict)
    worst_ratio: float | None = None
    candidates: tuple[Judged, ...] = ()
    history: tuple[Trial, ...] = ()
    importance: dict[str, float] | None = None

    @property
    def maximise(self) -> bool:
        """Whether more is better."""
        return self.objective in _MAXIMISED

    @property
    def chosen(self) -> Judged | None:
        """The setting that the search proposes; None if none does what was asked."""
        best = self.best
        return best if best is not None and best.feasible and not best.metrics.ended else None


class EngineRecord(Part):
    """An engine that was searched.

    Attributes:
        engine: "cudagraph", or "cudagraph 8+16+32" where it was told what to capture.
        best: its best setting for the goal that was asked for; None if none does what was asked.
        peak_rps, peak_batch_size: the most that one worker serves, and in batches of which size.
        rates_rps: measured batch size -> what one worker serves in full batches of it.
        cold_start_s: until requests were accepted, making the engine included.
        engine_s: making it, capturing or compiling; None where there is nothing to make.
        engine_bytes: device memory that its graphs take; None where there are none.
    """

    engine: str
    best: Judged | None = None
    peak_rps: float | None = None
    peak_batch_size: int | None = None
    rates_rps: dict[int, float] = Field(default_factory=dict)
    cold_start_s: float | None = None
    engine_s: float | None = None
    engine_bytes: int | None = None


class Burstiness(Part):
    """How bursty arrivals are: variation of the gaps, and variance / mean of counts in windows."""

    gap_cv: float | None = None
    dispersion: float | None = None
    span_s: float | None = None


class Case(Part):
    """The setting that the search proposes, simulated under other arrivals.

    Attributes:
        case: "load x 0.8", "calmer" or "burstier".
        contrast: the power that gaps were raised to; None where it is the load that differs.
        before, after: how bursty the trace is, and its version.
        metrics: of the setting under it.
    """

    case: str
    contrast: float | None = None
    before: Burstiness = Burstiness()
    after: Burstiness = Burstiness()
    metrics: Metrics = Metrics()

    @property
    def note(self) -> str:
        """How the arrivals differ: gaps ^ 1.33, their CV 1.2 -> 1.8, dispersion of counts ..."""
        if self.contrast is None:
            return ""
        before, after = self.before, self.after
        changes = [f"gaps ^ {self.contrast:.3g}"]
        if before.gap_cv is not None and after.gap_cv is not None:
            changes.append(f"their CV {before.gap_cv:.2f} -> {after.gap_cv:.2f}")
        if before.dispersion is not None and after.dispersion is not None:
            span = "" if before.span_s is None else f" in {fmt.duration(before.span_s)}"
            change = f"{before.dispersion:.2f} -> {after.dispersion:.2f}"
            changes.append(f"dispersion of counts{span} {change}")
        return ", ".join(changes)


class TuningRecord(Part):
    """What tune.json says.

    Attributes:
        budget_s, trials, race: of these options, what the tuning was ended with; None in a file
            that does not say it.
        sentence: the recommendation.
        met: whether there is a setting that does what was asked.
        objective, statistic, slo: what was asked.
        model, device, device_name: what it was found on.
        versions: of the packages that figures depend on.
        recommended: the setting to use, by knob, or the nearest one; None if there is none.
        config: the tables of recommended.toml; None where nothing is recommended.
        keeps: the reference that should be kept, where nothing better was shown.
        load: what was offered, as the trace describes itself.
        bound: what no setting can beat: `latency_s`, `capacity_rps`.
        goals: by name, the one that was asked for first.
        engines: those that were searched, the one that was there first; empty if none was.
        references: the settings to be beaten: no delay, default, window, current.
        front: trials that none beats in latency without costing more device time.
        cases: the setting that the search proposes under other arrivals.
        searched: "in simulation" or "on the device".
        remarks: what has to be said of the search.
        unverified: why the device was not used.
        verified: what it said.
    """

    schema_version: int = SCHEMA_VERSION
    id: str = ""
    created: AwareDatetime | None = None
    command: str = ""
    budget_s: float | None = None
    trials: int | None = None
    race: bool | None = None
    sentence: str
    met: bool
    objective: str
    statistic: str = "p99"
    slo: str | None = None
    slo_s: float | None = None
    model: str = ""
    device: str = ""
    device_name: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    recommended: dict[str, Any] | None = None
    config: dict[str, dict[str, Any]] | None = None
    keeps: str | None = None
    load: dict[str, Any] = Field(default_factory=dict)
    bound: dict[str, float | None] = Field(default_factory=dict)
    goals: dict[str, GoalRecord] = Field(min_length=1)
    engines: tuple[EngineRecord, ...] = ()
    references: dict[str, Judged] = Field(default_factory=dict)
    front: tuple[Trial, ...] = ()
    cases: tuple[Case, ...] = ()
    searched: str = "in simulation"
    remarks: tuple[str, ...] = ()
    unverified: str | None = None
    verified: DeviceRecord | None = None

    @property
    def asked(self) -> GoalRecord:
        """The goal that was asked for."""
        return next(iter(self.goals.values()))

    @property
    def slo_statistic(self) -> str:
        """The statistic that the SLO is on, or that was asked about: "p99"."""
        return self.slo.partition(" ")[0] if self.slo else self.statistic

    @property
    def offered_rps(self) -> float | None:
        """The load."""
        value = self.load.get("offered_rps")
        return float(value) if isinstance(value, int | float) else None

    @property
    def compared_with(self) -> str:
        """The reference that a user would go on with: the current setting, or the default."""
        return CURRENT if CURRENT in self.references else DEFAULT

    @property
    def raced(self) -> DeviceRecord:
        """What the device said, for those who have looked that it was asked."""
        assert self.verified is not None  # noqa: S101 - for the type checker
        return self.verified

    @property
    def simulated(self) -> bool:
        """Whether what was tried was simulated, and not run on the device."""
        return self.searched != "on the device"

    @property
    def chosen(self) -> Judged | None:
        """The recommended setting, or the nearest one, with what is known of it."""
        settings = self.recommended
        return None if settings is None else self.of(settings) or Judged(settings=settings)

    def of(self, settings: Mapping[str, Any]) -> Judged | None:
        """Return what is known of a setting, by the objective asked for where it was judged so."""
        known: list[Judged | None] = [*self.references.values()]
        for goal in self.goals.values():
            known += [goal.best, *goal.candidates]
        found = () if self.verified is None else self.verified.found.values()
        every = (one for one in (*known, *found) if one is not None)
        return next((one for one in every if one.settings == settings), None)

    def as_json(self) -> str:
        """The text of tune.json."""
        content = {"kind": "tuning", **self.model_dump(mode="json")}
        return json.dumps(content, indent=1, allow_nan=False) + "\n"


@dataclass(frozen=True, slots=True)
class Tuning:
    """A tuning as it is reported: its folder and its record."""

    path: Path
    record: TuningRecord


def holds_tuning(folder: Path) -> bool:
    """Whether a tuning is, or was to be, in a folder."""
    return (folder / RECORD).is_file() or (folder / _REQUEST).is_file()


def read_tuning(folder: Path) -> Tuning:
    """Read tune.json.

    Raises:
        RunNotFoundError: There is none in that folder, or none yet.
        RunCorruptError: It is unreadable or not a tuning's.
        RunVersionError: A later version of the format wrote it.
    """
    path = folder / RECORD
    if not path.is_file():
        if (folder / _REQUEST).is_file():
            raise RunNotFoundError(
                f"{folder} holds a tuning that is not finished: "
                f"dynbatch tune --resume {folder} goes on with it"
            )
        raise RunNotFoundError(f"{folder} holds no tuning: it has no {RECORD}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise RunCorruptError(f"{path} cannot be read: {reason}") from error
    if not isinstance(content, dict) or content.get("kind") != "tuning":
        raise RunCorruptError(f"{path} must be what dynbatch tune wrote, but is something else")
    version = content.get("schema_version", 1)
    if version not in (1, SCHEMA_VERSION):
        raise RunVersionError(
            f"{path} must have schema_version 1 or {SCHEMA_VERSION}, but got {version!r}"
        )
    try:
        content = from_version_1(content) if version == 1 else content
        return Tuning(folder, TuningRecord.model_validate(content))
    except (AttributeError, TypeError) as error:
        raise RunCorruptError(f"{path} is not a tuning's record: {error}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise RunCorruptError(
            f"{path} is not a tuning's record: {where}: {fault['msg']}"
        ) from error


def write_tuning(folder: Path, record: TuningRecord) -> Tuning:
    """Write tune.json whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    write_text(folder / RECORD, record.as_json())
    return Tuning(folder, record)


def sensitivity_rows(record: TuningRecord) -> list[tuple[str, Metrics]]:
    """The trace itself, as far as it is known, and the other cases."""
    rows = [(case.case, case.metrics) for case in record.cases]
    answer = record.asked.best
    if rows and answer is not None:
        rows.insert(0, ("the trace itself", answer.metrics))
    return rows
