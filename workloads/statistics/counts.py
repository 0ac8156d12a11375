"""How many requests arrive in windows of many lengths, and how much that varies."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.trace import Times, Trace

Counts = NDArray[np.int64]

FEWEST_WINDOWS = 30
SHORTEST_SPAN_S = 1e-4
SPARSEST_MEAN = 0.05
BATCHES = 30
_MANY_STEPS = 100
_ROUNDING = 1e-6

# A time that was written as a multiple of a window's length lies at that window's beginning,
# whatever the rounding of a quotient says.
EDGE = 1 + 1e-12


@dataclass(frozen=True)
class Scale:
    """The counts N_1 .. N_m in m adjoining windows of one length, from the trace's beginning.

    An unfinished window at the end is left out.

    Attributes:
        span_s: Length of a window in seconds.
        windows: How many there are, m; 30 at least.
        mean: Mean count, M.
        peak: Largest count.
        dispersion: Index of dispersion for counts, IDC(t) = Var N(t) / E N(t) (Cox and Lewis,
            The Statistical Analysis of Series of Events, 1966, chapter 4), estimated as
            s^2 / M with s^2 = sum (N_i - M)^2 / (m - 1). A Poisson process has 1 at every
            length, evenly spaced arrivals nearly 0. The estimate is low by a factor of about
            1 - IDC(m t) / (m IDC(t)): 3 % at 30 windows where the curve is flat, more where
            it still rises, since what varies more slowly than the whole trace is not seen.
            None without any arrival.
        dispersion_error: Standard error of `dispersion`. By the delta method it is that of the
            mean of (N_i - M)^2 - IDC N_i, over M, taken from the means of 30 batches of
            neighbouring windows, so that dependence shorter than a batch is accounted for.
        third: Third factorial cumulant of the counts, k3 - 3 k2 + 2 k1 of their cumulants. Like
            IDC - 1 it is 0 for a Poisson process; it tells rare, high bursts (positive) from
            rare lulls (negative).
    """

    span_s: float
    windows: int
    mean: float
    peak: int
    dispersion: float | None
    dispersion_error: float | None
    third: float

    @property
    def peak_to_mean(self) -> float | None:
        """Largest count / mean count; None without any arrival."""
        return self.peak / self.mean if self.mean > 0 else None


def scales(trace: Trace) -> tuple[Scale, ...]:
    """The counts of the trace over 1, 2, 5, 10, 20, ... of a decade of seconds.

    The shortest window is the first power of ten, from 100 us on, in which 0.05 requests or more
    are expected; in the longest, 30 fit into the trace. The windows of one length are unions of
    those of the power of ten below it. Lengths at which counts are not known (`is_known`) are left
    out. Time and memory are of the order of the arrivals, however many windows are empty.
    """
    found = []
    for span_s, index, counts in _ladder(trace):
        windows = _whole(trace.duration_s / span_s)
        if windows >= FEWEST_WINDOWS and is_known(trace, span_s):
            found.append(scale(span_s, windows, index, counts))
    return tuple(found)


def at_span(trace: Trace, span_s: float) -> Scale | None:
    """The counts of the trace over windows of any one length.

    None where fewer than 30 fit, or counts are not known at that length.
    """
    windows = _whole(trace.duration_s / span_s)
    if windows < FEWEST_WINDOWS or not is_known(trace, span_s):
        return None
    return scale(span_s, windows, *occupied(trace.arrival_s, span_s))


def is_known(trace: Trace, span_s: float) -> bool:
    """Whether the trace says how many requests came in windows of this length.

    Arrivals that are known to steps are, in windows that hold whole steps. Other windows hold one
    step more or less: below a hundred steps that would pass for burstiness.
    """
    if trace.resolution_s is None:
        return True
    steps = span_s / trace.resolution_s
    return steps >= _MANY_STEPS or (steps > 0.5 and abs(steps - round(steps)) < _ROUNDING)


def scale(span_s: float, windows: int, index: Counts, counts: Counts) -> Scale:
    """What `Scale` holds, from the windows that are not empty.

    Args:
        span_s: Length of a window in seconds.
        windows: How many windows there are, the empty ones included.
        index: int64 `[K]`, increasing, which windows have arrivals; others than the first
            `windows` are ignored.
        counts: int64 `[K]`, how many.
    """
    inside = int(np.searchsorted(index, windows))
    index, number = index[:inside], counts[:inside].astype(np.float64)
    if not inside:
        return Scale(span_s, windows, 0.0, 0, None, None, 0.0)
    total = float(number.sum())
    mean = total / windows
    empty = windows - inside
    away = number - mean
    squares = away**2
    variance = (float(squares.sum()) + empty * mean**2) / (windows - 1)
    third = (float((squares * away).sum()) - empty * mean**3) / windows
    dispersion = variance / mean
    return Scale(
        span_s=span_s,
        windows=windows,
        mean=mean,
        peak=int(number.max()),
        dispersion=dispersion,
        dispersion_error=_error(
            index, number, squares, windows=windows, mean=mean, dispersion=dispersion
        ),
        third=third - 3 * variance + 2 * mean,
    )


def occupied(arrival_s: Times, span_s: float) -> tuple[Counts, Counts]:
    """Index and count of each window [k span_s, (k + 1) span_s) that has arrivals, in order."""
    index = np.floor(arrival_s * (EDGE / span_s)).astype(np.int64)
    return _merged(index, None)


def _merged(index: Counts, counts: Counts | None) -> tuple[Counts, Counts]:
    """Sum the counts (1 each, where None) of runs of equal indices."""
    if not len(index):
        return index, np.zeros(0, dtype=np.int64)
    starts = np.concatenate(([0], np.flatnonzero(index[1:] != index[:-1]) + 1))
    if counts is None:
        return index[starts], np.diff(starts, append=len(index))
    return index[starts], np.add.reduceat(counts, starts)


def _ladder(trace: Trace) -> Iterator[tuple[float, Counts, Counts]]:
    longest_s = trace.duration_s / FEWEST_WINDOWS
    if not len(trace) or not longest_s > 0:
        return
    shortest_s = max(SHORTEST_SPAN_S, SPARSEST_MEAN / trace.rate_rps)
    power = power_of_ten(shortest_s)
    if 10.0**power > longest_s * EDGE:
        return
    index, counts = occupied(trace.arrival_s, 10.0**power)
    while 10.0**power <= longest_s * EDGE:
        yield _decimal(1, power), index, counts
        for factor in (2, 5):
            yield _decimal(factor, power), *_merged(index // factor, counts)
        index, counts = _merged(index // 10, counts)
        power += 1


def power_of_ten(at_least_s: float) -> int:
    """The exponent of the first power of ten that is `at_least_s` or, but for rounding, more."""
    return math.ceil(math.log10(at_least_s) - 1e-9)


def _decimal(digit: int, power: int) -> float:
    """The float nearest to digit x 10^power, so that 0.2 is 0.2."""
    return float(f"{digit}e{power}")


def _whole(quotient: float) -> int:
    return math.floor(quotient * EDGE)


def _error(
    index: Counts, number: Times, squares: Times, *, windows: int, mean: float, dispersion: float
) -> float:
    """Standard error of s^2 / M; see `Scale.dispersion_error`."""
    batch = index * BATCHES // windows
    sizes = np.diff(-(-np.arange(BATCHES + 1) * windows // BATCHES))
    occupied_in = np.bincount(batch, minlength=BATCHES)
    sums = np.bincount(batch, squares - dispersion * number, minlength=BATCHES)
    means = (sums + (sizes - occupied_in) * mean**2) / sizes
    return float(means.std(ddof=1)) / math.sqrt(BATCHES) / mean
