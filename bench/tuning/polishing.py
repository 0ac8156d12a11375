"""Settings near the best one: what a sampler of the whole space is slow to try.

TPE finds the region soon and then samples it by density. On a plateau, as where a batch always
fills before its timeout, all that it sees is equal, and an edge that drops a few percent further
down may lie many steps away. So half of its trials go to a pattern search (Hooke and Jeeves, 1961)
around the best setting so far: one knob at a time, by long steps and by short ones, then batch size
and timeout together, since along an SLO a smaller batch allows a longer wait.

The same is done once more at the end, on the draws that decide: those of the search are few, and
where batch times have tails they tell 5 % apart no better than chance does.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from bench.tuning.space import Choice, Knobs, Range, Space, Value, Whole, tidy

if TYPE_CHECKING:
    from bench.config import BatcherSettings
    from bench.tuning.choosing import Candidate
    from bench.tuning.objectives import Objective

_LONG = (2.0, 0.5, 0.25, 0.71, 1.41, 0.125, 0.84, 1.19, 0.92, 1.09)
_SHORT = (0.71, 1.41, 0.5, 0.84, 1.19, 0.92, 1.09)
_STEPS = (-1, 1, -2, 2, -4, 4)
_SIZE, _TIMEOUT = "max_batch_size", "batch_timeout_ms"


def look_around(
    candidates: "Sequence[Candidate]",
    space: Space,
    objective: "Objective",
    judge: "Callable[[BatcherSettings], Candidate]",
    most: int,
) -> "list[Candidate]":
    """Judge neighbours of the best candidate, and of whatever turns out to be better.

    Args:
        candidates: those that were judged; if none is feasible, there is nothing to look around.
        space: what is searched.
        objective: for its direction.
        judge: looks closely at a setting.
        most: how many to judge at most.

    Returns:
        The candidates, with those that were judged.
    """
    sign = -1.0 if objective.maximise else 1.0
    judged = list(candidates)
    known = [candidate.settings for candidate in judged]
    while len(judged) < len(candidates) + most:
        feasible = [candidate for candidate in judged if candidate.score.feasible]
        best = min(feasible, key=lambda one: sign * one.score.value, default=None)
        knobs = None if best is None else space.knobs_of(best.settings)
        if knobs is None:
            break
        around = map(space.settings, neighbours(space, knobs, _SHORT))
        settings = next((one for one in around if one not in known), None)
        if settings is None:
            break
        known.append(settings)
        judged.append(judge(settings))
    return judged


def neighbours(
    space: Space, knobs: Knobs, factors: Sequence[float] = _LONG
) -> Iterator[dict[str, Value]]:
    """Settings to try around one, in an order; itself and settings out of range left out."""
    lines = {name: list(_line(space.ranges[name], value, factors)) for name, value in knobs.items()}
    for i in range(max(map(len, lines.values()), default=0)):
        for name, line in lines.items():
            if i < len(line):
                yield {**knobs, name: line[i]}
    if _SIZE in knobs and _TIMEOUT in knobs:
        for size in _near(space.ranges[_SIZE], knobs[_SIZE]):
            for timeout in _near(space.ranges[_TIMEOUT], knobs[_TIMEOUT]):
                yield {**knobs, _SIZE: size, _TIMEOUT: timeout}


def _line(knob: Range, value: Value, factors: Sequence[float]) -> Iterator[Value]:
    """Other values of one knob: the low end, factors apart, steps apart."""
    if isinstance(knob, Choice):
        yield from (other for other in knob.values if other != value)
        return
    seen = {value}
    for other in (*_by_factors(knob, value, factors), knob.low, *_by_steps(knob, value, _STEPS)):
        if other not in seen and knob.holds(other):
            seen.add(other)
            yield other


def _near(knob: Range, value: Value) -> Iterator[Value]:
    """The few on either side, for moves of two knobs at once."""
    if isinstance(knob, Choice):
        return
    factors = [0.84, 0.92, 1.09, 1.19] if isinstance(knob, Whole) and knob.log else []
    others = [*_by_factors(knob, value, factors), *_by_steps(knob, value, (-1, 1, -2, 2))]
    yield from (other for other in dict.fromkeys(others) if other != value and knob.holds(other))


def _by_factors(knob: Range, value: Value, factors: Sequence[float]) -> Iterator[int | float]:
    for factor in factors:
        yield _held(knob, float(value) * factor)


def _by_steps(knob: Range, value: Value, steps: Sequence[int]) -> Iterator[int | float]:
    step = 1.0 if isinstance(knob, Whole | Choice) else knob.step
    for count in steps:
        yield _held(knob, float(value) + count * step)


def _held(knob: Range, value: float) -> int | float:
    """The value of the knob's own that is nearest."""
    if isinstance(knob, Whole | Choice):
        return round(value)
    return tidy(knob.low + knob.step * round((value - knob.low) / knob.step))
