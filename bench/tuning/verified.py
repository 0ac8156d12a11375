"""What the device said of the settings that were raced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, log
from typing import Any

from bench.tuning.device.metric import SHOWN, Unit
from results.run.record import Run
from results.statistics.paired import Effect, effect_of

# What is expected of a setting in use, by the names of run.json.
EXPECTED = (
    "latency_s.p50",
    "latency_s.p99",
    "latency_s.mean",
    "throughput_rps",
    "device.busy_s_per_request",
    "device.busy_fraction",
    "device.energy_j_per_request",
    "batch.mean_size",
)
_SHARES = ("device.busy_fraction",)


@dataclass(frozen=True, slots=True)
class Gain:
    """The recommended setting against another over fresh draws: a ratio of the yardstick.

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
        label: of the yardstick.
        unit: of its values.
        rate_rps, window_s: of the draws.
        winner: by name; None if nobody met the SLO.
        race: what each arm was measured to do, and when it was dropped.
        predicted: the same yardstick, simulated on the same arrivals, by arm; without those that
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
        """A value of the yardstick as people read it."""
        return SHOWN[self.unit](value)


def metrics_of(run: Run) -> dict[str, float]:
    """The metrics of a run that are expected of a setting in use, where they were measured."""
    flat = run.metrics.model_dump()
    values: dict[str, float] = {}
    for name in EXPECTED:
        value: Any = flat
        for part in name.split("."):
            value = value[part]
        if value is not None:
            values[name] = float(value)
    return values


def expected_of(draws: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    """Each metric that all draws have: its geometric mean and Student's interval of that.

    Logs, because times and rates scale: a metric that is 0 in a draw is left out.
    """
    found: dict[str, Interval] = {}
    for name in EXPECTED:
        values = [draw[name] for draw in draws if draw.get(name, 0.0) > 0.0]
        if not values or len(values) < len(draws):
            continue
        if len(values) == 1:
            found[name] = Interval(values[0])
            continue
        effect = effect_of([log(value) for value in values])
        low, high = effect.interval
        most = 1.0 if name in _SHARES else inf
        found[name] = Interval(effect.ratio, low, min(high, most))
    return found
