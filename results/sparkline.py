"""A row of characters that shows how values rise and fall."""

import math
from collections.abc import Sequence

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
