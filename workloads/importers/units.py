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


def unit_in_name(column: str) -> TimeUnit | None:
    """The unit that a column's name ends in: timestamp_ms, arrival_s, time_seconds."""
    ending = column.lower().replace(" ", "_").rpartition("_")[2]
    for unit, name in NAMES.items():
        if ending in (unit, name, "sec" if unit == "s" else unit):
            return unit
    return None
