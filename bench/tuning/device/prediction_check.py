"""What simulation says of the very arrivals that settings were raced on, and how far it was off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, log, log1p

import numpy as np

from bench.profiling.service_times import Source
from bench.settings import BatcherSettings
from bench.tuning.device.metric import DeviceMetric
from bench.tuning.device.race import ERROR, TIE, Race
from bench.tuning.search.engines import setup_of
from workloads import ResolvedTrace

NEAR_ENOUGH = 0.25


def distrust(race: Race, predicted: Mapping[str, float], first: str, *, maximise: bool) -> str:
    """Why the predicted ranking is contradicted, in words; empty where it is not.

    Args:
        race: with what was measured.
        predicted: by arm, the same of the same arrivals.
        first: the arm that was predicted to be the best.
        maximise: whether more is better.
    """
    others = [arm for arm in race.arms if arm != first]
    for other in others:
        ours, its = predicted.get(first, inf), predicted.get(other, inf)
        if not (0.0 < ours < inf and 0.0 < its < inf):
            continue
        effect = race.effect(first, other, ERROR / len(others))
        if effect is None:
            continue
        expected = log(ours / its)
        sign = -1.0 if maximise else 1.0
        worse = min(sign * effect.low, sign * effect.high) > log1p(TIE)
        better = max(sign * effect.low, sign * effect.high) < -log1p(TIE)
        off = max(effect.low - expected, expected - effect.high)
        reversed_ = (worse and sign * expected < -log1p(TIE)) or (
            better and sign * expected > log1p(TIE)
        )
        if reversed_ or off > max(log1p(NEAR_ENOUGH), abs(expected)):
            return (
                f"against {other}, {first} was predicted to have x {exp(expected):.3g} and was "
                f"measured to have x {effect.ratio:.3g} ({effect.interval[0]:.3g} to "
                f"{effect.interval[1]:.3g})"
            )
    return ""


@dataclass(frozen=True, slots=True)
class PredictionCheck:
    """Predictions of a race.

    Attributes:
        source: batch times; None predicts nothing.
        device_metric: what is measured, and so what is predicted.
    """

    source: Source | None
    device_metric: DeviceMetric

    def of(
        self, race: Race, arms: Mapping[str, BatcherSettings], draws: Sequence[ResolvedTrace]
    ) -> dict[str, float]:
        """By arm, the metric simulated on the draws that it was raced on; a geometric mean.

        Infinite where requests would be left unanswered; without those that have no prediction.
        """
        source = self.source
        if source is None:
            return {}
        known = {
            name: self._predicted(source, arms[name], draws[: len(race.of(name)) or 1])
            for name in race.arms
        }
        return {name: value for name, value in known.items() if value is not None}

    def doubt(self, race: Race, predicted: Mapping[str, float]) -> tuple[str, str]:
        """Why the simulation's ranking is not to be relied on, empty if it may be; and a remark.

        The remark is on errors that differ by more than a quarter between arms whose order is
        right.
        """
        doubt = distrust(race, predicted, race.arms[0], maximise=self.device_metric.maximise)
        errors = {
            name: log(predicted[name] / value)
            for name in race.arms
            if (value := race.typical(name)) is not None and isfinite(predicted.get(name, inf))
        }
        if doubt or not errors:
            return doubt, ""
        middle = float(np.median(list(errors.values())))
        worst = max(errors, key=lambda name: abs(errors[name] - middle))
        if abs(errors[worst] - middle) <= NEAR_ENOUGH:
            return "", ""
        return "", (
            f"the simulation is off by {100 * (exp(errors[worst]) - 1):+.0f} % for {worst} and "
            f"by {100 * (exp(middle) - 1):+.0f} % for a typical setting: settings that were "
            "not raced may be better than it says"
        )

    def _predicted(
        self, source: Source, arm: BatcherSettings, draws: Sequence[ResolvedTrace]
    ) -> float | None:
        setup = setup_of(arm, source)
        values: list[float] = []
        for draw in draws:
            value = self.device_metric.predicted(setup, draw)
            if value is None:
                return None
            values.append(value)
        if any(not 0.0 < value < inf for value in values):
            return inf
        return exp(sum(map(log, values)) / len(values))
