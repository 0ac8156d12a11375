"""Equal load at any burstiness: time stretched until a window holds exactly so many arrivals."""

from collections.abc import Callable

import numpy as np

from workloads.errors import TraceError
from workloads.trace import Times

# A draw that needs more than this is another workload, not the same at the asked load.
MOST_STRETCH = 10.0
# Far more than the roundings of a later multiplication, far less than a gap.
MARGIN = 2.0**-48


def matched(
    draw: Callable[[float], Times], count: int, window_s: float, length_s: float
) -> tuple[Times, float]:
    """Arrivals of which exactly `count` lie in [0, window_s), and the factor that did it.

    All times are multiplied by one factor, window_s / (the time of arrival number count + 1), so
    that this arrival comes at the window's end and is the first outside. The factor depends on
    the draw, the count and the window, not on what follows the window.

    Args:
        draw: Gives all arrivals before a time in seconds; nested, as an ArrivalProcess is.
        count: Arrivals to have in the window.
        window_s: Length of the window in seconds.
        length_s: Length of the result in seconds, at least window_s.

    Raises:
        TraceError: No count, or a factor below 1 / 10 or above 10.
        WorkloadError: What `draw` raises.
    """
    if count < 1:
        raise TraceError(
            f"match_load must have a request to match, but rate x duration rounds to {count}: "
            "give a higher --rate or a longer --duration"
        )
    times_s = draw(length_s)
    reach_s = length_s
    while len(times_s) <= count:
        if reach_s >= MOST_STRETCH * window_s:
            raise _out_of_reach(count, window_s, f"has {len(times_s):,} in {reach_s:.6g} s")
        reach_s = min(2 * reach_s, MOST_STRETCH * window_s)
        times_s = draw(reach_s)
    last_s = float(times_s[count])
    if not window_s / MOST_STRETCH <= last_s <= window_s * MOST_STRETCH:
        raise _out_of_reach(count, window_s, f"has that many in {last_s:.6g} s")
    factor = window_s / last_s
    if reach_s * factor < length_s:
        times_s = draw(length_s / factor)
    times_s = times_s * factor
    # To the arrivals right at the end, the margin says on which side they are.
    np.minimum(times_s[:count], window_s * (1 - MARGIN), out=times_s[:count])
    np.maximum(times_s[count:], window_s * (1 + MARGIN), out=times_s[count:])
    return times_s[: count + np.searchsorted(times_s[count:], length_s)], factor


def _out_of_reach(count: int, window_s: float, came: str) -> TraceError:
    return TraceError(
        f"match_load must find the {count:,} requests of {window_s:.6g} s within a factor of "
        f"{MOST_STRETCH:g} of that time, but this draw {came}: give a longer --duration or "
        "another --seed"
    )
