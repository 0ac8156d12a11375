"""A tuning on disk: what tune.json says.

It is written once, at the end of a tuning, and read here for display only, hence tolerantly: what
an older version left out is absent here too, and what a newer one added is ignored.

Every setting comes with its *facts*, flat beside its own keys: `offered_rps`, `limit_rps` (what it
serves with a queue that never empties), `p50_s` .. `p99.9_s`, `mean_s`, `device_s_per_request`,
`busy_fraction`, `throughput_rps`, `mean_batch_size`, `answered` and `late_share` (shares of the
requests). Times are in seconds; null where there is no value, as the latency of a setting that
cannot carry the load.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from results.errors import RunCorruptError, RunNotFoundError, RunVersionError
from results.tuning.device_record import Part, VerifiedRecord

SCHEMA_VERSION = 1
RECORD = "tune.json"
# What is there of a tuning before it has an end.
_REQUEST = "request.json"
CAPACITY = "capacity"
_MAXIMISED = (CAPACITY, "goodput")

Knob = int | float | str


class Facts(BaseModel):
    """Whatever is known of a setting, by name."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def fact(self, name: str) -> float | None:
        """Return one of them; None where it is not there or has no value."""
        value = (self.model_extra or {}).get(name)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return float(value)


class Judged(Facts):
    """A setting that was looked at closely, on draws that the search never saw.

    Attributes:
        settings: of the batcher, by knob.
        label: the same in short.
        value: of the objective; None if it has none.
        violations: by constraint, above 0 where it is violated.
        capacity_rps: the load at which it just meets the SLO, 0 if there is none; None where that
            was not worked out.
    """

    settings: dict[str, Any]
    label: str = ""
    value: float | None = None
    violations: dict[str, float] = Field(default_factory=dict)
    capacity_rps: float | None = None

    @property
    def feasible(self) -> bool:
        """Whether it violates nothing."""
        return all(violation <= 0.0 for violation in self.violations.values())


class Trial(Facts):
    """A setting that the search tried: what was searched of it, and what came of that.

    Attributes:
        number: of the trial in its study.
        knobs: what is searched, by knob.
        ended: why a run on the device was ended early, so that `value` is a bound; None otherwise.
        value, violations: as of `Judged`, on the draws of the search.
    """

    number: int = 0
    ended: str | None = None
    knobs: dict[str, Knob]
    value: float | None = None
    violations: dict[str, float] = Field(default_factory=dict)

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
        best: the recommendation, or what comes nearest to the SLO.
        within: share of a tie -> how many of the trials come that near to the best.
        worst_ratio: how far the worst trial that violates nothing is from the best.
        candidates: those that were looked at closely.
        history: all trials, in their order.
        importance: by knob, a share of 1; None if there were too few trials to tell.
    """

    objective: str
    trials: int = 0
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


class Variant(Facts):
    """The setting that was found under a calmer or burstier version of the trace.

    Attributes:
        contrast: the power that gaps were raised to.
        before, after: how bursty the trace is, and its version.
    """

    contrast: float | None = None
    before: Burstiness = Burstiness()
    after: Burstiness = Burstiness()


class Case(Facts):
    """The setting that was found under other arrivals.

    Attributes:
        case: "load x 0.8", say.
        note: how they differ, where that takes more words.
    """

    case: str
    note: str = ""


class TuningRecord(Part):
    """What tune.json says.

    Attributes:
        sentence: the recommendation.
        met: whether there is a setting that does what was asked.
        objective, statistic, slo: what was asked.
        model, device: what it was found on.
        recommended: the setting to use, by knob; None if there is none.
        keeps: the reference that should be kept, where nothing better was shown.
        load: what was offered, as the trace describes itself.
        bound: what no setting can beat: `latency_s`, `capacity_rps`.
        goals: by name, the one that was asked for first.
        engines: those that were searched, the one that was there first; empty if none was.
        references: the settings to be beaten: plain, default, window, current.
        front: trials that none beats in latency without costing more device time.
        other_loads: share of the load -> facts of the setting that was found.
        other_traffic: the same under a calmer and a burstier version of the trace, by that name.
        searched: "in simulation" or "on the device".
        remarks: what has to be said of the search.
        unverified: why the device was not used.
        verified: what it said.
    """

    schema_version: int = SCHEMA_VERSION
    id: str = ""
    created: AwareDatetime | None = None
    command: str = ""
    sentence: str
    met: bool
    objective: str
    statistic: str = "p99"
    slo: str | None = None
    slo_s: float | None = None
    model: str = ""
    device: str = ""
    recommended: dict[str, Any] | None = None
    keeps: str | None = None
    load: dict[str, Any] = Field(default_factory=dict)
    bound: dict[str, float | None] = Field(default_factory=dict)
    goals: dict[str, GoalRecord] = Field(min_length=1)
    engines: tuple[EngineRecord, ...] = ()
    references: dict[str, Judged] = Field(default_factory=dict)
    front: tuple[Trial, ...] = ()
    other_loads: dict[str, dict[str, Any]] = Field(default_factory=dict)
    other_traffic: dict[str, Variant] = Field(default_factory=dict)
    searched: str = "in simulation"
    remarks: tuple[str, ...] = ()
    unverified: str | None = None
    verified: VerifiedRecord | None = None

    @property
    def asked(self) -> GoalRecord:
        """The goal that was asked for."""
        return next(iter(self.goals.values()))

    @property
    def latency(self) -> str:
        """The fact that is the latency that was asked about: "p99_s"."""
        return f"{self.statistic}_s"

    @property
    def offered_rps(self) -> float | None:
        """The load."""
        value = self.load.get("offered_rps")
        return float(value) if isinstance(value, int | float) else None

    @property
    def cases(self) -> tuple[Case, ...]:
        """The recommended setting under other arrivals, other loads first."""
        loads = (
            Case.model_validate({**facts, "case": f"load x {share}"})
            for share, facts in self.other_loads.items()
        )
        traffic = (
            Case.model_validate({**(its.model_extra or {}), "case": name, "note": _burstier(its)})
            for name, its in self.other_traffic.items()
        )
        return (*loads, *traffic)

    @property
    def simulated(self) -> bool:
        """Whether what was tried was simulated, and not run on the device."""
        return self.searched != "on the device"

    @property
    def judged(self) -> Iterator[tuple[str, Judged]]:
        """Every setting that has a name, under it."""
        for name, goal in self.goals.items():
            if goal.best is not None:
                yield name, goal.best
        yield from self.references.items()

    def of(self, settings: Mapping[str, Any]) -> Judged | None:
        """Return what is known of a setting; None if it was not looked at closely."""
        others = (candidate for goal in self.goals.values() for candidate in goal.candidates)
        every = [*self.references.values(), *(judged for _, judged in self.judged), *others]
        return next((judged for judged in every if judged.settings == settings), None)


@dataclass(frozen=True, slots=True)
class Tuning:
    """A tuning as it is reported: its folder and its record."""

    path: Path
    record: TuningRecord


def _burstier(variant: Variant) -> str:
    """How a version of the trace differs from it, in words."""
    before, after = variant.before.dispersion, variant.after.dispersion
    if variant.contrast is None or before is None or after is None:
        return ""
    return (
        f"gaps to the power of {variant.contrast:.2f}: index of dispersion {before:.3g} -> "
        f"{after:.3g}"
    )


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
    version = content.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise RunVersionError(
            f"{path} must have schema_version {SCHEMA_VERSION}, but got {version!r}"
        )
    try:
        return Tuning(folder, TuningRecord.model_validate(content))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise RunCorruptError(
            f"{path} is not a tuning's record: {where}: {fault['msg']}"
        ) from error


def sensitivity_rows(record: TuningRecord) -> list[tuple[str, Facts]]:
    """The trace itself, as far as it is known, and the other cases."""
    rows: list[tuple[str, Facts]] = [(case.case, case) for case in record.cases]
    answer = record.asked.best
    if rows and answer is not None:
        rows.insert(0, ("the trace itself", answer))
    return rows
