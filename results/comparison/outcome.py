"""From the observations of every draw to effects and verdicts: what a comparison found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from results.comparison.observation import METRICS, SHOWN, ComparedMetric, Observation, metric_named
from results.errors import InvalidInputError
from results.statistics import paired
from results.statistics.correction import holm_adjusted
from results.statistics.paired import Effect, Plan, Verdict

Draw = Mapping[str, Observation]
"""The observations of one draw, by arm."""

Pair = tuple[Observation, Observation]
"""The runs of the control and of a challenger in one draw."""

Design = Literal["draws", "blocks", "unpaired"]

FEWEST_UNABLE = 2
"""So many draws that one arm could serve, and the other could not, may be a verdict."""

_OPEN = Verdict.INCONCLUSIVE


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MetricEffect(_Part):
    """One metric of a challenger against the control.

    `ratio` is challenger / control with its interval `low`, `high` at confidence 1 - `level`;
    all null, with the `reason`, where no ratio can be given. `noise` is the standard deviation of
    the log ratio of a pair, `draws_needed` how many draws in all would decide if the effect and the
    noise are what they seem. `adjusted_p` is the p-value of the claim, after Holm over the metrics
    that are not judged. `control` and `challenger` are geometric means over the draws. `unable` and
    `control_unable` count the draws in which an arm was saturated or left so many requests without
    an answer that it has no such latency.
    """

    metric: str
    verdict: Verdict
    reason: str | None = None
    unable: int = 0
    control_unable: int = 0
    control: float | None = None
    challenger: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    draws: int = 0
    noise: float | None = None
    p: float | None = None
    adjusted_p: float | None = None
    sign_flip_p: float | None = None
    draws_needed: int | None = None
    log_ratios: tuple[float, ...] = ()


class Challenger(_Part):
    """What was found of one arm against the control; `judged` is the metric that decides.

    `saturated` and `control_saturated` count the draws whose load was more than the arm served.
    """

    arm: str
    judged: MetricEffect
    others: tuple[MetricEffect, ...]
    saturated: int
    control_saturated: int
    draws: int
    hopeless: bool = False

    @property
    def verdict(self) -> Verdict:
        """The verdict on the judged metric."""
        return self.judged.verdict

    @property
    def effects(self) -> tuple[MetricEffect, ...]:
        """All metrics, in the order of the catalogue."""
        order = list(METRICS)
        return tuple(
            sorted((self.judged, *self.others), key=lambda effect: order.index(effect.metric))
        )

    def effect(self, metric: str) -> MetricEffect | None:
        """The effect on a metric; None if it was not compared."""
        return next((effect for effect in self.effects if effect.metric == metric), None)


class Outcome(_Part):
    """What a comparison found.

    Attributes:
        control: The arm that all others are compared with.
        metric: The judged metric's name.
        design: How effects were made: over paired draws, over blocks of time of two runs that had
            the same arrivals, or of two runs that had not.
        draws: How many draws were finished.
        most_draws, looks, level, margin: The plan.
        at_look: Whether a verdict was allowed after that many draws.
        decided: Whether every challenger has its verdict, or no further draw would change it.
        caveats: What speaks against the runs, as sentences without an end.
    """

    control: str
    metric: str
    design: Design = "draws"
    draws: int
    most_draws: int
    looks: tuple[int, ...]
    level: float
    margin: float
    at_look: bool
    decided: bool
    challengers: tuple[Challenger, ...]
    caveats: tuple[str, ...] = Field(default=())


@dataclass(frozen=True, slots=True)
class Judge:
    """Turns observations into an outcome.

    Args:
        arms: Names of the arms, the control first.
        plan: When and how surely to judge.
        metric: Name of the metric that decides; it is chosen before the first draw, so its level
            needs no correction for the metrics that are reported beside it.
    """

    arms: tuple[str, ...]
    plan: Plan
    metric: str = "p99"

    def __post_init__(self) -> None:
        if len(self.arms) < 2:
            raise InvalidInputError(f"arms must be at least two, but got {len(self.arms)}")
        if self.plan.challengers != len(self.arms) - 1:
            raise InvalidInputError(
                f"challengers of the plan must be {len(self.arms) - 1}, "
                f"but got {self.plan.challengers}"
            )
        metric_named(self.metric)

    def outcome(self, draws: Sequence[Draw]) -> Outcome:
        """Return what the finished draws say; every draw has all arms."""
        challengers = tuple(self._challenger(arm, draws) for arm in self.arms[1:])
        at_look = len(draws) in self.plan.looks
        settled = [c.verdict != Verdict.INCONCLUSIVE or c.hopeless for c in challengers]
        return Outcome(
            control=self.arms[0],
            metric=self.metric,
            draws=len(draws),
            most_draws=self.plan.draws,
            looks=self.plan.looks,
            level=self.plan.level,
            margin=self.plan.margin,
            at_look=at_look,
            decided=len(draws) >= 2 and all(settled),
            challengers=challengers,
            caveats=tuple(caveats(draws, self.arms)),
        )

    def _challenger(self, arm: str, draws: Sequence[Draw]) -> Challenger:
        control = self.arms[0]
        judged = metric_named(self.metric)
        pairs = [(draw[control], draw[arm]) for draw in draws]
        served = self._ratio(METRICS["throughput"], pairs)
        effects = [
            self._effect(METRICS[name], pairs, served) for name in compared(judged.name, pairs)
        ]
        strain = Strain.of(judged, pairs)
        return Challenger(
            arm=arm,
            judged=effects[0],
            others=tuple(corrected(effects[1:], self.plan.level)),
            saturated=sum(run.saturated for _, run in pairs),
            control_saturated=sum(run.saturated for run, _ in pairs),
            draws=len(draws),
            hopeless=strain.hopeless,
        )

    def _effect(
        self, metric: ComparedMetric, pairs: Sequence[Pair], served: MetricEffect
    ) -> MetricEffect:
        strain = Strain.of(metric, pairs)
        if not strain.any:
            return self._ratio(metric, pairs)
        return MetricEffect(
            metric=metric.name,
            verdict=strain.verdict(served) if len(pairs) in self.plan.looks else _OPEN,
            reason=strain.reason,
            unable=sum(strain.challenger),
            control_unable=sum(strain.control),
            draws=len(pairs),
        )

    def _ratio(self, metric: ComparedMetric, pairs: Sequence[Pair]) -> MetricEffect:
        values = [(a.values[metric.name], b.values[metric.name]) for a, b in pairs]
        known = [(a, b) for a, b in values if a and b and a > 0.0 and b > 0.0]
        if len(known) < len(values) or len(known) < 2:
            lacking = len(values) - len(known)
            few = "fewer than two draws were finished"
            none = f"it was not measured, or is 0, in {lacking} of {len(values)} draws"
            return MetricEffect(
                metric=metric.name,
                verdict=_OPEN,
                reason=few if len(values) < 2 else none,
                draws=len(pairs),
            )
        effect = paired.effect_of([log(b / a) for a, b in known], self.plan.level)
        verdict = _OPEN
        if effect.draws in self.plan.looks:
            verdict = paired.verdict_of(effect, self.plan, metric.direction)
        return from_effect(
            metric,
            effect,
            verdict,
            self.plan,
            control=_geometric_mean([a for a, _ in known]),
            log_ratios=tuple(log(b / a) for a, b in known),
        )


def compared(judged: str, pairs: Sequence[Pair]) -> list[str]:
    """Return the names of the metrics that are compared, the judged one first."""
    names = [judged, *(name for name in SHOWN if name != judged)]
    has_slo = all(run.values["goodput"] is not None for pair in pairs for run in pair)
    if pairs and has_slo and judged != "goodput":
        names.append("goodput")
    return names


def corrected(effects: Sequence[MetricEffect], level: float) -> list[MetricEffect]:
    """Return the effects less the claims that do not survive Holm over all of them."""
    claims = [effect for effect in effects if effect.adjusted_p is not None]
    p_values = holm_adjusted([claim.adjusted_p or 0.0 for claim in claims])
    adjusted = dict(zip((claim.metric for claim in claims), p_values, strict=True))
    return [_held(effect, adjusted.get(effect.metric), level) for effect in effects]


def from_effect(
    metric: ComparedMetric,
    effect: Effect,
    verdict: Verdict,
    plan: Plan,
    *,
    control: float,
    log_ratios: tuple[float, ...] = (),
) -> MetricEffect:
    """Return the record of an effect; `adjusted_p` is that of its claim, not adjusted yet."""
    low, high = effect.interval
    return MetricEffect(
        metric=metric.name,
        verdict=verdict,
        control=control,
        challenger=control * effect.ratio,
        ratio=effect.ratio,
        low=low,
        high=high,
        level=effect.level,
        draws=effect.draws,
        noise=effect.noise,
        p=effect.p,
        adjusted_p=paired.claim_p(effect, plan),
        sign_flip_p=effect.sign_flip_p,
        draws_needed=paired.draws_needed(effect, plan) if effect.draws > 1 else None,
        log_ratios=log_ratios,
    )


def _held(effect: MetricEffect, adjusted_p: float | None, level: float) -> MetricEffect:
    """Return the effect with its adjusted p-value, inconclusive if that is above the level."""
    if adjusted_p is None:
        return effect
    kept = effect.verdict if adjusted_p <= level else Verdict.INCONCLUSIVE
    return effect.model_copy(update={"adjusted_p": adjusted_p, "verdict": kept})


@dataclass(frozen=True, slots=True)
class Strain:
    """In which draws an arm had no latency to speak of.

    Under more load than it can serve, latency says how long the run was; and a request that got no
    answer is infinitely late, so that a percentile may be too. No ratio is given as soon as there
    is one such draw: leaving it out would leave out the draws in which an arm does worst.

    It is a verdict all the same if one arm failed so in two draws or more in which the other did
    not, with none the other way round, and its throughput is lower by the test of the look. The
    test is what keeps the level: near its limit an arm fails or does not by chance, and of two
    equal arms one may well fail twice before the other does.
    """

    control: Sequence[bool]
    challenger: Sequence[bool]

    @classmethod
    def of(cls, metric: ComparedMetric, pairs: Sequence[Pair]) -> "Strain":
        """Return the draws in which each arm has no such latency; none for other metrics."""

        def failed(run: Observation) -> bool:
            return metric.is_latency and (run.saturated or run.unanswered(metric.name))

        return cls([failed(a) for a, _ in pairs], [failed(b) for _, b in pairs])

    @property
    def any(self) -> bool:
        """Whether there is any such draw."""
        return any(self.control) or any(self.challenger)

    @property
    def _alone(self) -> tuple[int, int]:
        """In how many draws the control alone, and the challenger alone, failed."""
        pairs = list(zip(self.control, self.challenger, strict=True))
        return sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)

    def verdict(self, served: MetricEffect) -> Verdict:
        """Return whether one arm cannot serve what the other can; `served` is the throughput's."""
        control, challenger = self._alone
        if served.p is None or served.level is None or served.p > served.level:
            return Verdict.INCONCLUSIVE
        fewer = (served.ratio or 1.0) < 1.0
        if challenger >= FEWEST_UNABLE and not control and fewer:
            return Verdict.WORSE
        if control >= FEWEST_UNABLE and not challenger and not fewer:
            return Verdict.BETTER
        return Verdict.INCONCLUSIVE

    @property
    def hopeless(self) -> bool:
        """Whether no further draw could bring a verdict."""
        both = sum(a and b for a, b in zip(self.control, self.challenger, strict=True))
        return all(self._alone) or both >= FEWEST_UNABLE

    @property
    def reason(self) -> str:
        """Why there is no ratio of latencies."""
        return (
            f"saturated, or requests went unanswered, in {sum(self.challenger)} of "
            f"{len(self.control)} draws; the control in {sum(self.control)}"
        )


def _geometric_mean(values: Sequence[float]) -> float:
    return exp(sum(log(value) for value in values) / len(values))


def caveats(draws: Sequence[Draw], arms: Sequence[str]) -> list[str]:
    """Return what can be said against the runs, the most frequent first; saturation is said apart.

    Differences in what the runs ran on are among it.
    """
    runs = [draw[arm] for draw in draws for arm in arms]
    tally: dict[str, int] = {}
    for run in runs:
        for finding in run.findings:
            name = finding.code.replace("_", " ")
            if name != "saturated":
                tally[name] = tally.get(name, 0) + 1
    said = [
        f"{name} in {count} of {len(runs)} runs"
        for name, count in sorted(tally.items(), key=lambda item: -item[1])
    ]
    for key, what in (("cpu", "processors"), ("gpu", "GPUs"), ("packages", "versions")):
        if len({str(run.environment.get(key)) for run in runs}) > 1:
            said.append(f"runs on different {what}")
    return said
