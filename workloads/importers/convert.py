"""From the text of a column to integers: nanoseconds and token counts, a whole block at once.

One bad value makes Arrow refuse its block. The block is then halved until the bad values are
alone, so that they are found by the very conversion that the good ones went through.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from workloads import schema
from workloads.errors import TraceFileError
from workloads.importers import dates
from workloads.importers.contract import MISSING
from workloads.importers.names import large_unit_in_name, unit_in_name
from workloads.importers.units import DIGITS, NAMES, TimeUnit, contradicts, unit_of_epoch
from workloads.trace import MOST_TOKENS

Nanoseconds: TypeAlias = NDArray[np.int64]
Kind: TypeAlias = Literal["number", "local", "zoned", "log", "log_local", "mail", "span", "clock"]

# Below this many, values are converted one by one.
_FEW = 32
# What Arrow's decimals hold without overflowing (it does not look) or losing digits.
_PLAIN_NUMBER = r"^[+-]?[0-9]{1,19}(\.[0-9]{0,18})?$"
# A time may also be a span since the start of the recording.
ANY_TIME: tuple[Kind, ...] = ("number", "local", "zoned", "log", "log_local", "mail", "span")
DURATION: tuple[Kind, ...] = ("number", "span", "clock")
# How each kind is read, one at a time; numbers have a unit besides, and ISO 8601 an order.
_READ: dict[Kind, Callable[[str], int]] = {
    "log": dates.log_time,
    "log_local": partial(dates.log_time, zoned=False),
    "mail": dates.mail_time,
    "span": dates.span,
    "clock": dates.clock_span,
}
_EXPECTED: dict[Kind, str] = {
    "local": "a date and time",
    "zoned": "a date and time with its zone",
    "log": "a date and time such as 16/Nov/2023:18:15:46 +0000",
    "log_local": "a date and time such as 16/Nov/2023:18:15:46.680",
    "mail": "a date and time such as Mon, 02 Mar 2026 09:00:00 GMT",
    "span": "a duration such as 500ms or 1.2s",
    "clock": "a duration such as 0:00:01.5",
}


class Times:
    """Converts the times of one column, which are all of one kind.

    Args:
        name: What to call the column.
        kinds: The kinds it may be of; the first value that is of one of them settles it.
        unit: Unit of numbers, if it is known.
        note: Where to say what unit was taken, if it had to be guessed.
        order: What comes first in dates that end with their year.
    """

    def __init__(
        self,
        name: str,
        kinds: tuple[Kind, ...] = ANY_TIME,
        unit: TimeUnit | None = None,
        note: Callable[[str], None] | None = None,
        order: dates.DateOrder | None = None,
    ) -> None:
        self.name = name
        self._order = order
        self._kinds = kinds
        self._kind: Kind | None = kinds[0] if len(kinds) == 1 else None
        self._unit = unit
        self._note = note
        self._tidying: tuple[tuple[str, str], ...] = ()
        self._seen: dict[str, int] = {}

    def convert(self, texts: Any, most_bad: int) -> tuple[Nanoseconds, list[int]]:
        """Nanoseconds of each text of an Arrow array, and which are bad.

        After `most_bad` bad ones the rest is not looked at.
        """
        if self._kind is None or (self._kind == "number" and self._unit is None):
            self._settle(texts.slice(0, most_bad + 1))  # further on it would be too late
        return _converted(texts, self._many, self._one, most_bad)

    def complaint(self, text: bytes) -> str:
        """What is wrong with a bad value."""
        expected = self._expected()
        decoded = text.decode("utf-8", "replace").strip()
        if self._kind == "number" and dates.is_number(decoded):
            expected += " within 292 years of 0"
        return f"{self.name} must be {expected}, but got {shown(text)}{dates.remedy(decoded)}"

    def _expected(self) -> str:
        if self._kind == "number":
            return f"a number of {NAMES[self._unit or 's']}"
        if self._kind is not None:
            return _EXPECTED[self._kind]
        if self._kinds == DURATION:
            return _EXPECTED["span"]
        times = "a date and time such as 2023-11-16 18:15:46.68"
        return f"{times}, or a number" if "number" in self._kinds else times

    def _settle(self, texts: Any) -> None:
        for value in texts:
            text = value.as_py().decode("utf-8", "replace").strip()
            kind = self._kind_of(text)
            if kind is None:
                continue
            self._kind = kind
            self._tidying = dates.tidying(text, self._order)
            if kind == "number" and self._unit is None:
                self._unit = self._unit_of(text)
            return

    def _kind_of(self, text: str) -> Kind | None:
        if dates.is_number(text):
            return "number" if "number" in self._kinds else None
        for kind in self._kinds:
            if kind != "number" and self._understood(kind, text):
                return kind
        return None

    def _understood(self, kind: Kind, text: str) -> bool:
        try:
            self._read(kind, text)
        except (ValueError, OverflowError):
            return False
        return True

    def _read(self, kind: Kind, text: str) -> int:
        if kind in {"local", "zoned"}:
            return dates.stamp(text, zoned=kind == "zoned", order=self._order)
        return _READ[kind](text)

    def _unit_of(self, text: str) -> TimeUnit:
        value = float(text)
        named, by_size = unit_in_name(self.name), unit_of_epoch(value)
        large = large_unit_in_name(self.name)
        if large is not None:
            raise TraceFileError(
                f"{self.name} must be in s, ms, us or ns, but its name says {large}: convert it, "
                "or give --time-unit if its name misleads"
            )
        if named is not None and contradicts(named, value):
            raise TraceFileError(
                f"{self.name} must be in the unit of its name, but {shown(text)} {NAMES[named]} "
                "are not a likely time, and in another unit a date of these years: give --time-unit"
            )
        unit = named or by_size or "s"
        if self._note is not None and named is None:
            why = ", as only they give a date in reach" if by_size else ""
            self._note(
                f"{self.name} was read as {NAMES[unit]}{why}; --time-unit says if it is another"
            )
        return unit

    def _many(self, texts: Any) -> Nanoseconds:
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._kind is None:
            raise ValueError
        if self._kind not in {"number", "local", "zoned"}:
            return np.array([self._one(text.as_py()) for text in texts], np.int64)
        strings = texts.cast(pa.string())
        if self._kind == "number":
            return _plain_numbers(strings, self._unit or "s")
        for pattern, to in self._tidying:
            strings = pc.replace_substring_regex(strings, pattern, to)
        zone = "UTC" if self._kind == "zoned" else None
        stamps = strings.cast(pa.timestamp("ns", zone)).cast(pa.int64())
        return np.asarray(stamps.to_numpy(zero_copy_only=False), np.int64)

    def _one(self, raw: bytes) -> int:
        text = raw.decode("utf-8").strip()
        if self._kind == "number":
            return dates.number(text, DIGITS[self._unit or "s"])
        if self._kind is None:
            raise ValueError(text)
        if self._kind not in {"log", "log_local"}:
            return self._read(self._kind, text)
        # A second of a log is often that of the line before.
        if text not in self._seen:
            if len(self._seen) > 100_000:
                self._seen.clear()
            self._seen[text] = self._read(self._kind, text)
        return self._seen[text]


def tokens(texts: Any, most_bad: int, *, optional: bool) -> tuple[NDArray[np.int64], list[int]]:
    """Token counts of each text of an Arrow array, and which are bad; MISSING where empty.

    Args:
        texts: The column, as bytes.
        most_bad: After so many bad ones the rest is not looked at.
        optional: Whether an empty text is a missing count and not a bad one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    def many(part: Any) -> NDArray[np.int64]:
        strings = part.cast(pa.string())
        if not pc.all(pc.ascii_is_decimal(strings)).as_py():  # a cast takes 0x10 too
            raise ValueError
        counts = np.asarray(strings.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)
        if len(counts) and counts.max() > MOST_TOKENS:
            raise ValueError
        return counts

    def one(raw: bytes) -> int:
        text = raw.decode("utf-8").strip()
        if optional and not text:
            return MISSING
        count = dates.number(text, 0, exact=True)  # 12.0 is what pandas makes of 12 beside a gap
        if not 0 <= count <= MOST_TOKENS:
            raise ValueError
        return count

    return _converted(texts, many, one, most_bad)


def shown(text: bytes | str) -> str:
    """A bad value, short enough for a message."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            return f"byte 0x{text[error.start]:02x}, which is no UTF-8"
    return schema.shown(text) if text else "nothing"


def _converted(
    texts: Any,
    many: Callable[[Any], NDArray[np.int64]],
    one: Callable[[bytes], int],
    most_bad: int,
) -> tuple[NDArray[np.int64], list[int]]:
    import pyarrow as pa

    values = np.zeros(len(texts), np.int64)
    bad: list[int] = []
    pending = [(0, len(texts))]
    while pending and len(bad) <= most_bad:
        start, stop = pending.pop()
        if stop - start > _FEW:
            try:
                values[start:stop] = many(texts.slice(start, stop - start))
            except (pa.ArrowInvalid, ValueError):
                middle = (start + stop) // 2
                pending += [(middle, stop), (start, middle)]
            continue
        for i in range(start, stop):
            try:
                values[i] = one(texts[i].as_py())
            except ValueError:
                bad.append(i)
    return values, bad


def _plain_numbers(strings: Any, unit: TimeUnit) -> Nanoseconds:
    """Exact nanoseconds of plain decimal numbers.

    Raises:
        ValueError: One is not plain, or does not fit.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pc.all(pc.match_substring_regex(strings, _PLAIN_NUMBER)).as_py():
        raise ValueError
    rounded = pc.round(strings.cast(pa.decimal128(38, 18)), ndigits=DIGITS[unit])
    scaled = rounded.cast(pa.decimal128(38, DIGITS[unit]))
    # A decimal is an integer of 128 bits; what fits has a high half that only repeats the sign.
    halves = np.frombuffer(scaled.buffers()[1], np.int64).reshape(-1, 2)
    low, high = halves[scaled.offset : scaled.offset + len(scaled)].T
    if (high != low >> 63).any():
        raise ValueError
    return np.asarray(low, np.int64)
