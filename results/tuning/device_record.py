"""What `tune.json` says of the device: race, confirmation, gains, and the runs behind them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """Read tolerantly: what a newer version added is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


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


class GainRecord(Part):
    """The winner against another setting over fresh draws: ratios of what is measured.

    Attributes:
        over: the other one.
        verdict: in words.
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
        draws: how many.
        meets_slo: whether the winner met it; None without one.
        values: of each draw, by arm.
    """

    value: float | None = None
    draws: int = 0
    meets_slo: bool | None = None
    values: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)


class Measured(Part):
    """One metric of one arm on the device.

    Attributes:
        value: geometric mean over the draws.
        low, high: its 95 % interval over the draws; None with a single one.
        draws: how many.
        stage: "confirm" where there is a confirmation, else "race".
    """

    value: float
    low: float | None = None
    high: float | None = None
    draws: int = 0
    stage: str = "race"


class RunFinding(Part):
    """A reason why runs on the device are not valid.

    Attributes:
        message: of one of them.
        remedy: what its user can do.
        runs, of: how many runs it concerns, and of how many.
    """

    message: str
    remedy: str = ""
    runs: int = 1
    of: int = 1


class VerifiedRecord(Part):
    """What the device said.

    Attributes:
        label: what is measured.
        unit: of its values: s, rps or j.
        rate_rps, window_s: load and length of the draws.
        winner: by name; None if nobody met the SLO.
        arms: by name, the settings that raced.
        found: those that were found on the device after the race.
        distrust: why the ranking of the simulation was not relied on.
        race: by arm.
        predicted: the same, simulated on the same arrivals, by arm.
        confirmation: empty if there was no time for one.
        gains: over the default and the current setting.
        measured: by arm and metric, metrics named as facts are.
        findings: what makes runs not valid.
        spent_s: device time.
        remarks: what has to be said.
    """

    label: str
    unit: str = ""
    rate_rps: float | None = None
    window_s: float | None = None
    winner: str | None = None
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    found: dict[str, dict[str, Any]] = Field(default_factory=dict)
    distrust: str | None = None
    race: dict[str, RaceArm] = Field(default_factory=dict)
    predicted: dict[str, float | None] = Field(default_factory=dict)
    confirmation: Confirmation = Confirmation()
    gains: tuple[GainRecord, ...] = ()
    measured: dict[str, dict[str, Measured]] = Field(default_factory=dict)
    findings: tuple[RunFinding, ...] = ()
    spent_s: float | None = None
    remarks: tuple[str, ...] = ()

    @property
    def maximise(self) -> bool:
        """Whether more of what is measured is better."""
        return self.unit == "rps" or self.label == "goodput"
