"""Units of time that files use."""

from typing import Literal, TypeAlias

TimeUnit: TypeAlias = Literal["s", "ms", "us", "ns"]

# A number in the unit, times ten to this, is nanoseconds.
DIGITS: dict[TimeUnit, int] = {"s": 9, "ms": 6, "us": 3, "ns": 0}
NAMES: dict[TimeUnit, str] = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}
# Seconds since 1970 in 2015 and in 2035.
_DATED_S = (1.42e9, 2.06e9)


def unit_of_epoch(value: float) -> TimeUnit | None:
    """The unit in which `value` can only be a time since 1970, or None.

    From 1e11 on, seconds would lie past the year 5138 and milliseconds after March 1973; the
    same holds a factor of 1,000 further on for each smaller unit.
    """
    size = abs(value)
    for unit, least in (("ns", 1e17), ("us", 1e14), ("ms", 1e11)):
        if size >= least:
            return unit  # type: ignore[return-value] # the literals above are TimeUnits
    return None


def unit_of_date(value: float) -> TimeUnit | None:
    """The unit in which `value` is a date from 2015 to 2035, or None."""
    for unit, digits in DIGITS.items():
        scale = 10.0 ** (9 - digits)
        if _DATED_S[0] * scale <= value <= _DATED_S[1] * scale:
            return unit
    return None


def contradicts(unit: TimeUnit, value: float) -> bool:
    """Whether `value` is a date of these years in another unit, and not a likely time in this one.

    In a larger unit than its own a date lies thousands of years off. In the next smaller one it
    is two to three weeks from 0, where no recording begins; in a still smaller one it is half an
    hour or less, which may well be a time.
    """
    dated = unit_of_date(value)
    if dated is None:
        return False
    larger = DIGITS[unit] - DIGITS[dated]
    return larger > 0 or larger == -3
