"""What a search found, in simulation or on the device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.tuning.search.objectives import Objective
from bench.tuning.search.sampler import Finished
from bench.tuning.search.selection import Candidate, Flatness
from results import format as fmt
from results.statistics.paired import Effect


@dataclass(frozen=True, slots=True)
class Burstiness:
    """How bursty some draws are, on average.

    Attributes:
        gap_cv: standard deviation / mean of the gaps.
        dispersion: variance / mean of the counts in windows of `span_s` seconds.
        span_s: a fiftieth of a draw.
    """

    gap_cv: float | None
    dispersion: float | None
    span_s: float


@dataclass(frozen=True, slots=True)
class Variant:
    """The setting under traffic of another burstiness.

    Attributes:
        contrast: the power that gaps were raised to.
        before: the traffic as it is.
        after: as it was made.
        facts: of the setting under it, as `facts_of` gives them.
    """

    contrast: float
    before: Burstiness
    after: Burstiness
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """What was found for one objective.

    Attributes:
        objective: it.
        trials: every setting that the search tried.
        candidates: those that were looked at closely.
        chosen: the recommendation; None if none meets the SLO.
        nearest: what comes nearest to meeting it, where none does.
        flat: how much the choice matters.
    """

    objective: Objective
    trials: Sequence[Finished]
    candidates: Sequence[Candidate]
    chosen: Candidate | None
    nearest: Candidate | None
    flat: Flatness

    @property
    def answer(self) -> Candidate | None:
        """The recommendation, or what comes nearest."""
        return self.chosen or self.nearest


@dataclass(frozen=True)
class Findings:
    """All that was found in simulation.

    Attributes:
        goals: by name, the one that was asked for first.
        references: the settings to be beaten, looked at closely, by the objective asked for.
        front: trials that none beats in latency without costing more device time.
        load: what was offered, as the trace describes itself.
        bound: what no setting can beat.
        at_load: the recommended setting at other loads: share of the load -> facts.
        variants: the same under a calmer and a burstier version of the trace, by that name.
        measured: whether all this was measured on the device, and not simulated.
        remarks: what has to be said of the search.
        capacities: of the best of each goal and of the references, as JSON -> the load at which it
            just meets the SLO, requests per second; empty without one.
    """

    goals: Mapping[str, Goal]
    references: Mapping[str, Candidate]
    front: Sequence[Finished]
    load: Mapping[str, Any]
    bound: Mapping[str, float]
    at_load: Mapping[float, dict[str, Any]]
    variants: Mapping[str, Variant] = field(default_factory=dict)
    measured: bool = False
    remarks: tuple[str, ...] = ()
    capacities: Mapping[str, float] = field(default_factory=dict)

    @property
    def asked(self) -> Goal:
        """The goal that was asked for."""
        return next(iter(self.goals.values()))


Unit = Literal["s", "rps", "j"]


# How a value of each unit is shown.
SHOWN: Mapping[Unit, Callable[[float | None], str]] = {
    "s": fmt.duration,
    "rps": fmt.rate,
    "j": fmt.joules,
}


@dataclass(frozen=True, slots=True)
class Gain:
    """The recommended setting against another over fresh draws: a ratio of the metric.

    Attributes:
        over: the other one's name.
        effect: recommended / other; None where a ratio cannot be given.
        unable: draws in which the other one left requests unanswered.
        draws: how many there were.
    """

    over: str
    effect: Effect | None
    unable: int
    draws: int

    def verdict(self, *, maximise: bool) -> str:
        """Better, worse, no difference worth having, or not known."""
        if self.effect is None:
            return "better" if self.unable else "not known"
        low, high = self.effect.low, self.effect.high
        if maximise:
            low, high = -high, -low
        if high < 0.0:
            return "better"
        if low > 0.0:
            return "worse"
        return "no measurable difference"


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric over several draws: its mean, and a 95 % interval where there are two or more."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Verified:
    """What the device said.

    Attributes:
        label: of the device_metric.
        unit: of its values.
        rate_rps, window_s: of the draws.
        winner: by name; None if nobody met the SLO.
        race: what each arm was measured to do, and when it was dropped.
        predicted: the same metric, simulated on the same arrivals, by arm; without those that
            simulation does not know.
        gains: over the default and the current setting.
        measured: of the winner in the confirmation: value and its interval, over draws.
        expected: by arm, its metrics as they were measured: in the confirmation if it was there,
            else in the race.
        found: settings that were found on the device after the race, by name.
        spent_s: device time.
        distrust: why the simulation's ranking was not relied on; empty if it was.
        remarks: what has to be said.
    """

    label: str
    rate_rps: float
    window_s: float
    winner: str | None
    race: Mapping[str, dict[str, Any]]
    predicted: Mapping[str, float]
    gains: tuple[Gain, ...]
    measured: dict[str, Any]
    spent_s: float
    remarks: tuple[str, ...]
    unit: Unit = "s"
    expected: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)
    distrust: str = ""

    def shown(self, value: float | None) -> str:
        """A value of the metric as people read it."""
        return SHOWN[self.unit](value)
