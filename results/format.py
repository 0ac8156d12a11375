"""How numbers and names are shown to people, in the terminal, the figures and the report alike."""

import math
from collections.abc import Sequence

NOT_MEASURED = "not measured"

_DURATION_UNITS = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))
_FLOPS_UNITS = ((1e15, "PFLOP/s"), (1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1e6, "MFLOP/s"))
_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")

# What moves a cursor, breaks a line or turns the direction of reading, and halves of a character;
# tabs and line ends stay.
_CONTROLS = {
    code: chr(code).encode("unicode_escape").decode()
    for span in (
        range(0x20), range(0x7F, 0xA0), range(0x2028, 0x202F), range(0x2066, 0x206A),
        range(0xD800, 0xE000),
    )
    for code in span
    if chr(code) not in "\t\n"
}  # fmt: skip


def escaped(text: str) -> str:
    r"""Return text from outside as it may be shown: its control characters as \x1b, \u202e."""
    return text.translate(_CONTROLS)


def _unknown(value: float | None) -> bool:
    return value is None or math.isnan(value)


def number(value: float | None) -> str:
    """Return a value to three significant digits: 0.0123, 1.23, 123, 12,345."""
    if value is None or math.isnan(value):
        return NOT_MEASURED
    if value == 0.0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = abs(float(f"{value:.2e}"))
    decimals = max(0, 2 - math.floor(math.log10(rounded)))
    return f"{value:,.{decimals}f}"


def count(value: float | None) -> str:
    """Return a whole number with thousands separators: 12,345."""
    if value is None or math.isnan(value):
        return NOT_MEASURED
    return f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Return a duration in ns, µs, ms or s to three significant digits: 3.14 ms."""
    if seconds is None or math.isnan(seconds):
        return NOT_MEASURED
    if seconds == 0.0:
        return "0 s"
    rounded = abs(float(f"{seconds:.2e}"))
    scale, unit = _DURATION_UNITS[0]
    for candidate, name in _DURATION_UNITS:
        if rounded >= candidate:
            scale, unit = candidate, name
    return f"{number(seconds / scale)} {unit}"


def tick(seconds: float) -> str:
    """Return a duration for an axis, without needless zeros: 2 ms, 0.5 s."""
    for scale, unit in reversed(_DURATION_UNITS):
        if abs(seconds) >= scale * 0.9999:
            return f"{seconds / scale:.4g} {unit}"
    return f"{seconds / 1e-9:.4g} ns" if seconds else "0"


def rate(per_second: float | None) -> str:
    """Return a rate of requests: 2,103 req/s."""
    return NOT_MEASURED if _unknown(per_second) else f"{number(per_second)} req/s"


def percent(fraction: float | None) -> str:
    """Return a fraction as a percentage with one decimal: 62.5 %."""
    if fraction is None or math.isnan(fraction):
        return NOT_MEASURED
    if 0.0 < abs(fraction) < 0.0005:
        return "< 0.1 %"
    return f"{100.0 * fraction:.1f}".removesuffix(".0") + " %"


def size(size_bytes: float | None) -> str:
    """Return a size of memory: 1.21 GiB."""
    if size_bytes is None or math.isnan(size_bytes):
        return NOT_MEASURED
    power = 0
    while abs(size_bytes) >= 1024.0 ** (power + 1) and power < len(_BYTE_UNITS) - 1:
        power += 1
    return f"{number(size_bytes / 1024.0**power)} {_BYTE_UNITS[power]}"


def watts(power_w: float | None) -> str:
    """Return a power: 312 W."""
    return NOT_MEASURED if _unknown(power_w) else f"{number(power_w)} W"


def flops(flops_per_s: float | None) -> str:
    """Return a rate of floating-point operations: 38.2 TFLOP/s."""
    if flops_per_s is None or math.isnan(flops_per_s):
        return NOT_MEASURED
    scale, unit = next(
        ((scale, unit) for scale, unit in _FLOPS_UNITS if abs(flops_per_s) >= 0.9995 * scale),
        (1.0, "FLOP/s"),
    )
    return f"{number(flops_per_s / scale)} {unit}"


def megahertz(clock_mhz: float | None) -> str:
    """Return a clock rate: 1,980 MHz."""
    return NOT_MEASURED if _unknown(clock_mhz) else f"{count(clock_mhz)} MHz"


def celsius(temperature_c: float | None) -> str:
    """Return a temperature: 54 °C."""
    return NOT_MEASURED if _unknown(temperature_c) else f"{count(temperature_c)} °C"


def joules(energy_j: float | None) -> str:
    """Return an energy: 0.12 J."""
    return NOT_MEASURED if _unknown(energy_j) else f"{number(energy_j)} J"


BLOCKS = "▁▂▃▄▅▆▇█"


PLAIN = "_.-~=+*#"


def sparkline(values: Sequence[float], *, levels: str = BLOCKS) -> str:
    """Return one character a value, from the lowest level for 0 to the highest for the largest.

    A value that is not zero never looks like one, so long as there are two levels.

    Args:
        values: Finite and >= 0.
        levels: Characters from low to high.
    """
    top = max(values, default=0.0)
    if top <= 0.0:
        return levels[0] * len(values)
    steps = len(levels) - 1
    return "".join(levels[math.ceil(steps * (value / top))] for value in values)


def levels_for(encoding: str | None) -> str:
    """Return block characters where the encoding of a stream can carry them, else plain ones."""
    try:
        BLOCKS.encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return PLAIN
    return BLOCKS
