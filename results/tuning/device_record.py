"""What a tuning keeps of the device: race, confirmation, gains, and what its runs measured."""

from typing import Any, Literal

from pydantic import Field

from results import format as fmt
from results.tuning.metrics import Metrics, Part

# The arm that the search proposes: the race decides whether it is recommended.
PROPOSED = "proposed"
Unit = Literal["s", "rps", "j"]
RACE, SECOND_RACE, CONFIRM = "race", "second race", "confirm"
_SHOWN = {"s": fmt.duration, "rps": fmt.rate, "j": fmt.joules}


def shown_in(unit: str, value: float | None) -> str:
    """A value of what is measured on the device, as people read it."""
    return _SHOWN.get(unit, fmt.duration)(value)


class Judged(Part):
    """A setting that was re-evaluated, on draws that the search never saw.

    Attributes:
        settings: of the batcher, by knob.
        label: the same in short.
        value: of the objective; None if it has none.
        violations: by constraint, above 0 where it is violated.
        capacity_rps: the load at which it just meets the SLO, 0 if there is none; None where that
            was not worked out.
        metrics: at the trace's load.
    """

    settings: dict[str, Any]
    label: str = ""
    value: float | None = None
    violations: dict[str, float] = Field(default_factory=dict)
    capacity_rps: float | None = None
    metrics: Metrics = Metrics()

    @property
    def feasible(self) -> bool:
        """Whether it violates nothing."""
        return all(violation <= 0.0 for violation in self.violations.values())


class RaceArm(Part):
    """What a setting was measured to do in the race.

    Attributes:
        value: geometric mean over its draws; None if one left requests unanswered.
        draws: how many it served.
        slo_excess: mean log of statistic / limit: 0 where the SLO is just met, or without one.
        dropped_after: after how many draws; None if it stayed to the end.
        dropped_why: in words.
        values: of each draw.
    """

    value: float | None = None
    draws: int = 0
    slo_excess: float | None = None
    dropped_after: int | None = None
    dropped_why: str | None = None
    values: tuple[float | None, ...] = ()


class Gain(Part):
    """The winner against another setting over fresh draws: ratios of what is measured.

    Attributes:
        over: the other one.
        verdict: better, worse, no measurable difference, or not known.
        ratio, low, high: the effect and its interval; None where no ratio can be given.
        level: 1 - confidence of the interval.
        draws: pairs behind it.
        unable: of these, how many left requests of the other one unanswered.
    """

    over: str
    verdict: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    draws: int = 0
    unable: int = 0


class Confirmation(Part):
    """The winner and those it is compared with, on draws fixed in advance.

    Attributes:
        value: the winner's, a geometric mean.
        draws: how many; 0 where there was no time for one.
        meets_slo: whether the winner met it; None without one.
        values: of each draw, by arm.
    """

    value: float | None = None
    draws: int = 0
    meets_slo: bool | None = None
    values: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)


class Interval(Part):
    """A metric over several runs: geometric mean, and its 95 % interval where there are two."""

    value: float
    low: float | None = None
    high: float | None = None


class MeasuredArm(Part):
    """What the runs of an arm measured, in the last stage that it was in.

    Attributes:
        stage: race, second race or confirm.
        runs: how many, one a draw.
        not_valid: how many of them are not valid.
        reasons: why: finding -> runs.
        metrics: named as those of a setting; latencies only where every request completed.
    """

    stage: str = RACE
    runs: int = 0
    not_valid: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)
    metrics: dict[str, Interval] = Field(default_factory=dict)


class RunFinding(Part):
    """A reason why runs on the device are not valid.

    Attributes:
        code: as in run.json.
        message: of one of them.
        remedy: what its user can do.
        runs, of: how many runs it concerns, and of how many.
    """

    code: str = ""
    message: str
    remedy: str = ""
    runs: int = 1
    of: int = 1


class DeviceRecord(Part):
    """What the device said.

    Attributes:
        label: what is measured.
        unit: of its values: s, rps or j.
        rate_rps, window_s: load and length of the draws.
        winner: by name; None if nobody met the SLO.
        arms: by name, the settings that raced; the one that the search proposes first.
        found: those that were found on the device after the race.
        distrust: why the ranking of the simulation was not relied on.
        race: by arm.
        predicted: the same, simulated on the same arrivals, by arm; None where requests would be
            left unanswered.
        confirmation: of the winner.
        gains: over the default and the current setting.
        measured: by arm.
        findings: what makes runs not valid, the most frequent first.
        spent_s: device time.
        remarks: what has to be said.
    """

    label: str
    unit: str = ""
    rate_rps: float | None = None
    window_s: float | None = None
    winner: str | None = None
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    found: dict[str, Judged] = Field(default_factory=dict)
    distrust: str | None = None
    race: dict[str, RaceArm] = Field(default_factory=dict)
    predicted: dict[str, float | None] = Field(default_factory=dict)
    confirmation: Confirmation = Confirmation()
    gains: tuple[Gain, ...] = ()
    measured: dict[str, MeasuredArm] = Field(default_factory=dict)
    findings: tuple[RunFinding, ...] = ()
    spent_s: float | None = None
    remarks: tuple[str, ...] = ()

    @property
    def maximise(self) -> bool:
        """Whether more of what is measured is better."""
        return self.unit == "rps" or self.label == "goodput"

    @property
    def objective(self) -> str:
        """The objective that what was measured is scaled and shown as."""
        if self.maximise:
            return "goodput"
        return "energy" if self.unit == "j" else "latency"

    def shown(self, value: float | None) -> str:
        """A value of what is measured, as people read it."""
        return shown_in("rps" if self.maximise else self.unit, value)

    def settings_of(self, arm: str) -> dict[str, Any] | None:
        """The settings of an arm; None if there was none of that name."""
        found = self.found.get(arm)
        return self.arms.get(arm) if found is None else found.settings

    def arm_of(self, settings: dict[str, Any] | None) -> str | None:
        """The arm of these settings, whatever it was called; None if they did not run."""
        return next((a for a in (*self.found, *self.arms) if self.settings_of(a) == settings), None)

    def measured_of(self, settings: dict[str, Any] | None) -> MeasuredArm | None:
        """What was measured of a setting, whatever its arm was called."""
        arm = self.arm_of(settings)
        return None if arm is None else self.measured.get(arm)
