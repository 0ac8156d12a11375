"""Whether the race bears out the ranking that simulation chose its arms by.

The recommendation is compared with every other arm. Let p be the log ratio of the two that was
predicted, on the very arrivals that were raced, and [l, h] the interval of the log ratio that was
measured (Student's t over draws, 5 % split over the arms). The ranking is not trusted where

order    p says that the recommendation is the better of the two by more than 2 %, and all of
         [l, h] that it is the worse by more than 2 %, or the other way round;
gap      all of [l, h] is further from p than 25 %, and further than p is from 0: the error is as
         large as what was predicted.

A machine that is slower than its profile by the same factor everywhere leaves ratios as they are,
and is no reason for distrust.
"""

from collections.abc import Mapping
from math import exp, inf, log, log1p

from bench.tuning.device.race import ERROR, TIE, Race

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
