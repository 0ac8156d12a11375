"""Times as they are typed."""

import re
from math import isfinite

from bench.errors import InputError

_UNITS_S = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_duration_s(name: str, text: str) -> float:
    """Read "45", "45s", "500ms", "5m" or "1h" as seconds.

    Raises:
        InputError: it is none of these, or not above 0; `name` says which option it was.
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([a-z]*)\s*", text)
    try:
        seconds = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    except (ValueError, KeyError):
        seconds = 0.0
    if not (isfinite(seconds) and seconds > 0.0):
        raise InputError(f"{name} must be a time above 0, as 45, 45s or 5m, but got {text!r}")
    return seconds
