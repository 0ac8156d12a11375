"""Settings near another: one knob at a time, far and near, then batch size and timeout together."""

from collections.abc import Iterator, Sequence

from bench.tuning.search.space import (
    Choice,
    Knobs,
    Range,
    Space,
    Value,
    Whole,
    tidy,
)

LONG = (2.0, 0.5, 0.25, 0.71, 1.41, 0.125, 0.84, 1.19, 0.92, 1.09)
SHORT = (0.71, 1.41, 0.5, 0.84, 1.19, 0.92, 1.09)
_STEPS = (-1, 1, -2, 2, -4, 4)
_SIZE, _TIMEOUT = "max_batch_size", "batch_timeout_ms"


def neighbours(
    space: Space, knobs: Knobs, factors: Sequence[float] = LONG
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
