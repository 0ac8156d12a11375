"""The vectorised cores behind the processes."""

import math
from collections.abc import Callable

import numpy as np

from workloads.errors import ProcessError
from workloads.trace import MOST_ARRIVALS, Times

MOST_CYCLES = 5_000_000


def sums_reaching(
    span: float, draw: Callable[[int], Times], block: int, first: float | None = None
) -> Times:
    """Running sums of the gaps that `draw(count)` yields, up to the first that is >= span.

    A few sums beyond it may follow. `first`, where given, goes before the drawn gaps.
    """
    gaps = draw(block) if first is None else np.concatenate(([first], draw(block)))
    sums = np.cumsum(gaps)
    while sums[-1] < span:
        gaps = np.concatenate((gaps, draw(block)))
        # From the start again: the rounding must not depend on where a block happened to end.
        sums = np.cumsum(gaps)
    return sums


def renewal_times(
    rate_rps: float,
    span_s: float,
    draw: Callable[[int], Times],
    cv: float,
    first: float | None = None,
) -> Times:
    """Arrivals in [0, span_s) at `rate_rps` with independent gaps.

    `draw(count)` yields gaps of mean 1 and coefficient of variation `cv`; `first` replaces the
    gap before the first arrival. Times are summed in units of the mean gap and divided by the
    rate afterwards, so that seeds alike give the same arrivals at any rate, only closer together.
    """
    span = rate_rps * span_s
    check_count(span)
    # Six standard deviations of room: a second block is all but never needed.
    block = int(span + 6 * cv * math.sqrt(span)) + 16
    times = sums_reaching(span, draw, block, first)
    times_s: Times = times[: np.searchsorted(times, span)] / rate_rps
    return below(times_s, span_s)


def poisson_times(rate_rps: float, span_s: float, rng: np.random.Generator) -> Times:
    """A Poisson stream of `rate_rps` on [0, span_s): independent exponential gaps."""
    return renewal_times(rate_rps, span_s, rng.standard_exponential, cv=1.0)


def modulated_times(
    edges_s: Times,
    intensity: Times,
    rate_rps: float,
    duration_s: float,
    rng: np.random.Generator,
) -> Times:
    """A Poisson stream on [0, duration_s) whose intensity is piecewise constant.

    Between edges_s[i] and edges_s[i + 1] it is intensity[i] * rate_rps. With the clock
    C(t) = integral of the intensity from the first edge to t, in seconds, arrivals that are
    Poisson with rate_rps on C become the arrivals wanted through t = C^-1 (time change of a
    Poisson process; Cinlar, Introduction to Stochastic Processes, 1975, section 4.7). C is
    piecewise linear, so its inverse is one interpolation.

    Args:
        edges_s: float64 `[M + 1]`, increasing, from 0 or before to duration_s or after.
        intensity: float64 `[M]`, >= 0, relative to the mean rate.
        rate_rps: Mean rate in requests per second.
        duration_s: Length of the draw in seconds.
        rng: Where the randomness comes from.
    """
    clock_s = np.concatenate(([0.0], np.cumsum(np.diff(edges_s) * intensity)))
    start_s, stop_s = np.interp((0.0, duration_s), edges_s, clock_s)
    on_clock_s = start_s + poisson_times(rate_rps, stop_s - start_s, rng)
    times_s = np.interp(on_clock_s, clock_s, edges_s)
    # Interpolation may step back, or before 0, by one rounding at an edge.
    times_s = np.maximum.accumulate(np.maximum(times_s, 0.0))
    return below(times_s, duration_s)


def below(times_s: Times, duration_s: float) -> Times:
    """The leading part of sorted times that lies strictly below `duration_s`."""
    return times_s[: np.searchsorted(times_s, duration_s)]


def check_count(expected: float) -> None:
    """Raise ProcessError for a draw that could not be held in memory."""
    if expected > MOST_ARRIVALS:
        raise ProcessError(
            f"rate_rps x duration_s must stay at {MOST_ARRIVALS:,} arrivals or fewer in one "
            f"draw, but got {expected:.3g}"
        )


def check_cycles(cycle_s: float, duration_s: float) -> None:
    """Raise ProcessError for a burst cycle that would repeat too often to be held in memory."""
    if duration_s / cycle_s > MOST_CYCLES:
        raise ProcessError(
            f"a cycle of {cycle_s:.12g} s must fit at most {MOST_CYCLES:.0e} times into one draw, "
            f"but got duration_s {duration_s:.12g}"
        )
