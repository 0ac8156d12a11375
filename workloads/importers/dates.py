"""One date, time or duration as text, in nanoseconds."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
LOG_TIME = re.compile(
    r"(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d)(\.\d{1,9})?(?: ([+-])(\d\d)(\d\d))?", re.ASCII
)
# Mon, 02 Mar 2026 09:00:00 GMT, as mail and HTTP write it.
MAIL_TIME = re.compile(
    r"(\w{3}, )?\d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d (GMT|UTC|[+-]\d{4})", re.ASCII
)
# What turns the ways of others into ISO 8601. The syntax is Python's and RE2's alike.
TIDYING = (
    (r"^(\d{4})/(\d\d)/(\d\d)", r"\1-\2-\3"),  # 2026/03/01
    (r"^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)", r"\1-\2-\3T\4:\5:\6"),
    (r"(:\d\d),(\d)", r"\1.\2"),  # 09:00:00,680
    (r"(\.\d{9})\d+", r"\1"),  # Arrow takes nine digits
    (r" ?\+0000 (UTC|GMT)( m=.*)?$", "Z"),  # Go
    (r" ?(UTC|GMT|Z|z)$", "Z"),
    (r" ([+-]\d\d:?\d\d)$", r"\1"),
)
_TIDYING = tuple((re.compile(pattern, re.ASCII), to) for pattern, to in TIDYING)
_DAY_FIRST = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}(?!\d).*", re.ASCII)
DAY = re.compile(r"\d{4}[-/]\d\d[-/]\d\d", re.ASCII)
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
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
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
    if match is None or match[2] not in _MONTHS or (match[8] is not None) != zoned:
        raise ValueError(text)
    day, _, year, hour, minute, second, fraction, sign, ahead_h, ahead_min = match.groups()
    month = _MONTHS.index(match[2]) + 1
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


def tidied(text: str) -> str:
    """A date and time as ISO 8601 writes it, if it is one of those that are nearly that."""
    for pattern, to in _TIDYING:
        text = pattern.sub(to, text)
    return text


def stamp(text: str, *, zoned: bool) -> int:
    """Nanoseconds since 1970 of a date and time as ISO 8601 writes it, or nearly.

    Raises:
        ValueError: Anything else, or a zone where there should be none, or the reverse.
    """
    import pyarrow as pa

    found = pa.scalar(tidied(text)).cast(pa.timestamp("ns", "UTC" if zoned else None))
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
    return any(
        _understands(read, text)
        for read in (
            lambda t: stamp(t, zoned=False),
            lambda t: stamp(t, zoned=True),
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
    if _DAY_FIRST.fullmatch(text):
        return "; whether day or month comes first it does not say: write the year first"
    return ""


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
