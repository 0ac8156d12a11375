"""One date, time or duration as text, in nanoseconds."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import Literal, TypeAlias, get_args

DateOrder: TypeAlias = Literal["day", "month"]

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
LOG_TIME = re.compile(
    r"(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d)(\.\d{1,9})?(?: ([+-])(\d\d)(\d\d))?", re.ASCII
)
# Mon, 02 Mar 2026 09:00:00 GMT, as mail and HTTP write it.
MAIL_TIME = re.compile(
    r"(\w{3}, )?\d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d (GMT|UTC|[+-]\d{4})", re.ASCII
)
# What turns the ways of others into ISO 8601.
_TIDYING = (
    (r"^(\d{4})/(\d\d)/(\d\d)", r"\1-\2-\3"),  # 2026/03/01
    (r"^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)", r"\1-\2-\3T\4:\5:\6"),
    (r"^(\d{4}-\d\d-\d\d) +(\d:)", r"\1 0\2"),  # 9:05
    (r"(:\d\d),(\d)", r"\1.\2"),  # 09:00:00,680
    (r"(\.\d{9})\d+", r"\1"),  # Arrow takes nine digits
    (r" ?\+0000 (UTC|GMT)( m=.*)?$", "Z"),  # Go
    (r"([+-]\d\d:?\d\d|Z)\[[\w/+-]+\]$", r"\1"),  # Java: +01:00[Europe/Paris]
    (r" ?(UTC|GMT|UT|Z|z)$", "Z"),
    (r" ([+-]\d\d:?\d\d)$", r"\1"),
)
# Zones whose names mean one offset wherever they are used; summer time has a name of its own.
_ZONES = tuple(
    (rf" ?({names})$", offset)
    for names, offset in (
        ("HST", "-10:00"),
        ("AKST", "-09:00"),
        ("AKDT", "-08:00"),
        ("PDT", "-07:00"),
        ("MDT", "-06:00"),
        ("WET", "+00:00"),
        ("CET|WEST", "+01:00"),
        ("CEST|EET|SAST", "+02:00"),
        ("EEST|MSK", "+03:00"),
        ("HKT|SGT|AWST", "+08:00"),
        ("JST|KST", "+09:00"),
        ("AEST", "+10:00"),
        ("AEDT", "+11:00"),
        ("NZST", "+12:00"),
        ("NZDT", "+13:00"),
    )
)
# What turns 1/3/2026 into ISO 8601, by what comes first.
_PADDING = ((r"^(\d[/.-])", r"0\1"), (r"^(\d\d[/.-])(\d[/.-])", r"\10\2"))
_ORDERS: dict[DateOrder, tuple[tuple[str, str], ...]] = {
    "day": (*_PADDING, (r"^(\d\d)[/.-](\d\d)[/.-](\d{4}),?", r"\3-\2-\1")),
    "month": (*_PADDING, (r"^(\d\d)[/.-](\d\d)[/.-](\d{4}),?", r"\3-\1-\2")),
}
_GROUP = re.compile(r"\\(\d)")
_YEAR_LAST = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-]\d{4}(?!\d).*", re.ASCII)
_SHORT_YEAR = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2}(?!\d).*", re.ASCII)
_HALF_DAY = re.compile(r".*\d ?[AaPp]\.?[Mm]\.?", re.ASCII)
_ZONE_NAME = re.compile(r".*\d:\d\d.*?[\d ]([A-Z]{2,5}|[A-Z]\w+/\w+)", re.ASCII)
_MONTHS_A_YEAR = 12
DAY = re.compile(r"\d{4}[-/]\d\d[-/]\d\d|\d{1,2}[/.-]\d{1,2}[/.-]\d{4}", re.ASCII)
TIME_OF_DAY = re.compile(r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?", re.ASCII)
_SPAN = re.compile(
    r"(\d+(?:\.\d*)?|\.\d+)\s*(h|min|m|ms|msec|millis|us|\u00b5s|\u03bcs|ns|s|sec|secs|seconds)"
    r"(?![a-z])",
    re.ASCII,
)
_CLOCK_SPAN = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", re.ASCII)
_SPAN_NS = {
    "h": 3_600 * 10**9, "min": 60 * 10**9, "m": 60 * 10**9, "s": 10**9, "sec": 10**9, "secs": 10**9,
    "seconds": 10**9, "ms": 10**6, "msec": 10**6, "millis": 10**6, "us": 10**3, "\u00b5s": 10**3,
    "\u03bcs": 10**3, "ns": 1,
}  # fmt: skip
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def number(text: str, digits: int, *, exact: bool = False) -> int:
    """Nearest integer to `text` times ten to `digits`; with `exact`, it must be that integer.

    Raises:
        ValueError: No number, not a whole one where it must be, or out of 64 bits.
    """
    if not NUMBER.fullmatch(text):
        raise ValueError(text)
    value = Decimal(text).scaleb(digits)
    if value.adjusted() > 19:
        raise ValueError(text)
    nearest = int(value.to_integral_value())
    if not -(2**63) <= nearest < 2**63 or (exact and nearest != value):
        raise ValueError(text)
    return nearest


def log_time(text: str, *, zoned: bool = True) -> int:
    """Nanoseconds since 1970 of 16/Nov/2023:18:15:46 +0000, or of one without a zone.

    Raises:
        ValueError: Anything else.
    """
    match = LOG_TIME.fullmatch(text)
    if match is None or match[2] not in MONTHS or (match[8] is not None) != zoned:
        raise ValueError(text)
    day, _, year, hour, minute, second, fraction, sign, ahead_h, ahead_min = match.groups()
    month = MONTHS.index(match[2]) + 1
    clock = datetime(int(year), month, int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    ahead = timedelta(hours=int(ahead_h or 0), minutes=int(ahead_min or 0))
    whole = _ns(clock - (-ahead if sign == "-" else ahead))
    return whole + (int(fraction[1:].ljust(9, "0")) if fraction else 0)


def mail_time(text: str) -> int:
    """Nanoseconds since 1970 of Mon, 02 Mar 2026 09:00:00 GMT.

    Raises:
        ValueError: Anything else.
    """
    if not MAIL_TIME.fullmatch(text):
        raise ValueError(text)
    return _ns(parsedate_to_datetime(text.replace("UTC", "GMT")).astimezone(UTC))


def tidying(text: str, order: DateOrder | None = None) -> tuple[tuple[str, str], ...]:
    """What turns a column in which there is this text into ISO 8601; nothing if it is that.

    Pairs of a pattern and what to put for it, in the syntax of RE2, which Arrow has.
    """
    patterns = (*(_ORDERS[order] if order else ()), *_TIDYING)
    patterns += tuple(zone for zone in _ZONES if _compiled(zone[0]).search(text))
    return patterns if _tidied(text, patterns) != text else ()


def stamp(text: str, *, zoned: bool, order: DateOrder | None = None) -> int:
    """Nanoseconds since 1970 of a date and time as ISO 8601 writes it, or nearly.

    Args:
        text: The date and time.
        zoned: Whether it has a zone.
        order: What comes first in a date that ends with its year.

    Raises:
        ValueError: Anything else, or a zone where there should be none, or the reverse.
    """
    import pyarrow as pa

    found = pa.scalar(_tidied(text, tidying(text, order))).cast(
        pa.timestamp("ns", "UTC" if zoned else None)
    )
    return int(found.value)


def span(text: str) -> int:
    """Nanoseconds of a duration with its units: 500ms, 1.2s, 1m2.5s.

    Raises:
        ValueError: Anything else.
    """
    end, total = 0, Decimal(0)
    for match in _SPAN.finditer(text):
        if match.start() != end:
            raise ValueError(text)
        end = match.end()
        total += Decimal(match[1]) * _SPAN_NS[match[2]]
    if not text or end != len(text):
        raise ValueError(text)
    return number(str(total), 0)


def clock_span(text: str) -> int:
    """Nanoseconds of a duration in hours, minutes and seconds: 0:00:01.5.

    Raises:
        ValueError: Anything else.
    """
    clock = _CLOCK_SPAN.fullmatch(text)
    if clock is None:
        raise ValueError(text)
    seconds = Decimal(clock[3]) + 60 * (int(clock[2]) + 60 * int(clock[1]))
    return number(str(seconds), 9)


def is_span(text: str) -> bool:
    """Whether a text is a duration that says its units."""
    return _understands(span, text) or _understands(clock_span, text)


def is_number(text: str) -> bool:
    """Whether a text is a decimal number."""
    return NUMBER.fullmatch(text.strip()) is not None


def is_date(text: str) -> bool:
    """Whether a text is a date, with or without a time and a zone, in any of the known ways."""
    text = text.strip()
    if not text or NUMBER.fullmatch(text) or TIME_OF_DAY.fullmatch(text):
        return False
    orders = (None, *(get_args(DateOrder) if _YEAR_LAST.fullmatch(text) else ()))
    return any(
        _understands(read, text)
        for read in (
            *(partial(stamp, zoned=z, order=order) for order in orders for z in (False, True)),
            log_time,
            lambda t: log_time(t, zoned=False),
            mail_time,
        )
    )


def remedy(text: str) -> str:
    """What to say of a date that is not read though it is one, and what to do about it."""
    text = text.strip()
    if TIME_OF_DAY.fullmatch(text):
        return "; a time of day says no date: write the two as one column, or name it date"
    if _SHORT_YEAR.fullmatch(text):
        return "; two digits are no year: write it with four, and first"
    if _HALF_DAY.fullmatch(text):
        return "; write the hours from 00 to 23, without AM and PM"
    if zone := _ZONE_NAME.fullmatch(text):
        return (
            f"; {zone[1]} does not say one offset for all places and seasons: write the offset, "
            "as in -05:00, or UTC"
        )
    if _YEAR_LAST.fullmatch(text):
        return "; --date-order day or --date-order month says what comes first"
    return ""


def order_of(texts: Sequence[str]) -> DateOrder | None:
    """What comes first in dates that end with their year; None where they do not.

    Raises:
        ValueError: None of them says it by a number above 12; it is the first of them.
    """
    found = [match for text in texts if (match := _YEAR_LAST.fullmatch(text.strip()))]
    for match in found:
        if int(match[1]) > _MONTHS_A_YEAR:
            return "day"
        if int(match[2]) > _MONTHS_A_YEAR:
            return "month"
    if found:
        raise ValueError(found[0].string)
    return None


def _tidied(text: str, patterns: Sequence[tuple[str, str]]) -> str:
    for pattern, to in patterns:
        text = _compiled(pattern).sub(_GROUP.sub(r"\\g<\1>", to), text)
    return text


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


def _understands(read: object, text: str) -> bool:
    try:
        read(text)  # type: ignore[operator] # one of the functions above
    except (ValueError, OverflowError):
        return False
    return True


def _ns(clock: datetime | timedelta) -> int:
    since = clock - _EPOCH if isinstance(clock, datetime) else clock
    whole = (since.days * 86_400 + since.seconds) * 10**9
    if abs(whole) >= 2**63 - 10**9:
        raise ValueError(str(clock))
    return whole
