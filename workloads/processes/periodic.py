"""Poisson arrivals whose rate follows a profile that repeats."""

import math
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from workloads.processes.base import check_draw
from workloads.processes.dispersion import check_window
from workloads.processes.streams import below, check_count, poisson_times
from workloads.trace import Times

# Arrivals that are moved at a time: enough for numpy, few enough to stay in the cache.
BLOCK = 1 << 16
# Largest relative change of the rate within a step of the gap formula; its error is a tenth of
# the square of it.
STEP = 0.02


class Profile:
    """A rate relative to its mean, linear in each of M pieces, repeated without end.

    Pieces may meet at different rates: a step. What is given is scaled to a mean of 1 over the
    period, and pieces of no length are left out.

    Args:
        lengths_s: float64 `[M]`, the lengths of the pieces in seconds, >= 0, not all 0.
        starts: float64 `[M]`, the rate at the start of each piece in any unit, >= 0, not all 0
            together with `ends`.
        ends: float64 `[M]`, the rate at its end.
    """

    def __init__(self, lengths_s: ArrayLike, starts: ArrayLike, ends: ArrayLike) -> None:
        lengths, start, end = (
            np.asarray(row, dtype=np.float64) for row in (lengths_s, starts, ends)
        )
        # What is shorter than the rounding of the edges is a jump.
        real = lengths > 1e-15 * lengths.sum()
        self.lengths_s, start, end = lengths[real], start[real], end[real]
        self.edges_s = np.concatenate(([0.0], np.cumsum(self.lengths_s)))
        self.period_s = float(self.edges_s[-1])
        mean = float(self.lengths_s @ (start + end)) / 2 / self.period_s
        self.starts, self.ends = start / mean, end / mean
        self.slopes = (self.ends - self.starts) / self.lengths_s
        areas_s = self.lengths_s * (self.starts + self.ends) / 2
        self.clock_s = np.concatenate(([0.0], np.cumsum(areas_s)))

    def elapsed_s(self, times_s: ArrayLike) -> Times:
        """The clock C(t), the integral of the profile from 0 to each time t >= 0, in seconds.

        It gains one period in each period, so C(t) / t is the mean of the profile until t.
        """
        times = np.asarray(times_s, dtype=np.float64)
        periods = np.floor(times / self.period_s)
        within = np.clip(times - periods * self.period_s, 0.0, self.period_s)
        i = np.clip(np.searchsorted(self.edges_s, within, "right") - 1, 0, len(self.starts) - 1)
        into = within - self.edges_s[i]
        clock: Times = self.clock_s[i] + into * (self.starts[i] + self.slopes[i] * into / 2)
        return clock + periods * self.period_s

    def times_s(self, clock_s: Times) -> Times:
        """The times at which the clock shows `clock_s` `[N]`: the inverse of `elapsed_s`."""
        periods = np.floor(clock_s / self.period_s)
        within = np.clip(clock_s - periods * self.period_s, 0.0, self.clock_s[-1])
        i = np.clip(np.searchsorted(self.clock_s, within, "right") - 1, 0, len(self.starts) - 1)
        area, start = within - self.clock_s[i], self.starts[i]
        # area = start x + slope x^2 / 2, solved in the form that loses nothing for small slopes.
        root = np.sqrt(np.maximum(start**2 + 2 * self.slopes[i] * area, 0.0))
        into = np.zeros_like(area)
        np.divide(2 * area, start + root, out=into, where=start + root > 0)
        times: Times = self.edges_s[i] + np.minimum(into, self.lengths_s[i])
        return times + periods * self.period_s

    def mean_recurrence(self, rate_rps: float) -> float:
        """rate_rps x the mean time from a random moment to the next arrival.

        With l(t) the rate and F(t) = integral over x >= 0 of exp(-integral of l over [t, t + x])
        the mean time from t to the next arrival, F'(t) = l(t) F(t) - 1, and F repeats as l does.
        Over a step h in which l is constant, with q = exp(-l h), F at its start is
        (1 - q) / l + q F at its end. A piece whose rate changes is cut into steps in which it
        changes by 2 % at most (near a rate of 0, by less than matters to one gap).
        """
        steps_s, rates = self._steps(rate_rps)
        x = rates * steps_s
        decay = np.exp(-x)
        with np.errstate(divide="ignore", invalid="ignore"):
            once = np.where(x > 1e-6, -np.expm1(-x) / x, 1 - x / 2)
            twice = np.where(x > 1e-3, (1 - once) / x, 0.5 - x / 6 + x**2 / 24)
        gains = (once * steps_s).tolist()
        decays = decay.tolist()
        at_end = 0.0
        for gain, kept in zip(reversed(gains), reversed(decays), strict=True):
            at_end = gain + kept * at_end
        at_end /= -math.expm1(-float(x.sum()))
        ends = []
        for gain, kept in zip(reversed(gains), reversed(decays), strict=True):
            ends.append(at_end)
            at_end = gain + kept * at_end
        area = np.array(ends[::-1]) * once * steps_s + twice * steps_s**2
        return rate_rps * float(area.sum()) / self.period_s

    def surplus_variance(self, span_s: float) -> float:
        """Variance of C(t + span_s) - C(t) over a random time t, in seconds squared.

        The difference is quadratic in t between the edges and the edges moved back by the span,
        so its square is integrated exactly by Gauss's rule with three points (degree 5).
        """
        shift_s = span_s % self.period_s
        cuts = np.concatenate((self.edges_s, (self.edges_s - shift_s) % self.period_s))
        cuts = np.unique(np.concatenate((cuts, [0.0, self.period_s])))
        nodes, weights = np.polynomial.legendre.leggauss(3)
        half = np.diff(cuts)[:, None] / 2
        at = cuts[:-1, None] + half * (1 + nodes)
        surplus = self.elapsed_s(at + shift_s) - self.elapsed_s(at) - shift_s
        return float((half * weights * surplus**2).sum()) / self.period_s

    def _steps(self, rate_rps: float) -> tuple[Times, Times]:
        """Lengths in seconds, and rates per second, of the steps of `mean_recurrence`."""
        lengths, rates = [], []
        for length_s, start, end in zip(
            self.lengths_s, rate_rps * self.starts, rate_rps * self.ends, strict=True
        ):
            slope = (end - start) / length_s
            # The rate at which a rate that started from 0 expects its first arrival.
            unit = math.sqrt(abs(slope))
            low, high = (math.asinh(rate / unit) if unit else 0.0 for rate in (start, end))
            count = max(1, math.ceil(abs(high - low) / STEP))
            knots = np.linspace(low, high, count + 1)[1:-1]
            cut_rates = np.concatenate(([start], unit * np.sinh(knots), [end]))
            cut_s = np.concatenate(([0.0], (cut_rates[1:-1] - start) / (slope or 1), [length_s]))
            lengths.append(np.diff(cut_s))
            rates.append((cut_rates[1:] + cut_rates[:-1]) / 2)
        return np.concatenate(lengths), np.concatenate(rates)


class PeriodicPoisson(ABC):
    """A Poisson process whose rate follows a profile that starts at time 0 and repeats.

    The profile has mean 1 over its period and is multiplied by the mean rate, so a draw has the
    asked mean rate over whole periods; over a part of one it has what the profile has there.

    With C(t) = integral of the profile from 0 to t, arrivals that are Poisson of the mean rate on
    the clock C become the arrivals wanted through t = C^-1 (time change of a Poisson process;
    Cinlar, Introduction to Stochastic Processes, 1975, section 4.7).

    The gaps between the arrivals of many periods have CV^2 = 2 r W - 1 with W the mean time from
    a random moment to the next arrival, since W = E[gap^2] / (2 E[gap]) (Cox and Lewis, The
    Statistical Analysis of Series of Events, 1966, section 4.2). Counts in a window of s seconds
    have variance / mean = 1 + (r / s) Var[C(t + s) - C(t)] over a random time t.
    """

    @abstractmethod
    def profile(self) -> Profile:
        """The rate relative to its mean."""

    def arrivals(self, rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
        """Draw arrivals in [0, duration_s); see ArrivalProcess."""
        check_draw(rate_rps, duration_s)
        check_count(rate_rps * duration_s)
        profile = self.profile()
        times_s = poisson_times(rate_rps, float(profile.elapsed_s(duration_s)), rng)
        for first in range(0, len(times_s), BLOCK):
            part = slice(first, first + BLOCK)
            times_s[part] = profile.times_s(times_s[part])
        # Two roundings may put an arrival before the one in front of it.
        np.maximum.accumulate(times_s, out=times_s)
        return below(times_s, duration_s)

    def mean_factor(self, duration_s: float) -> float:
        """Mean of the profile over the first duration_s seconds; 1 over whole periods."""
        return float(self.profile().elapsed_s(duration_s)) / duration_s

    def gap_cv(self, rate_rps: float) -> float:
        """By the formula above, to a relative error below 1e-3."""
        check_draw(rate_rps, 1.0)
        return math.sqrt(2 * self.profile().mean_recurrence(rate_rps) - 1)

    def count_dispersion(self, rate_rps: float, span_s: float) -> float:
        """Variance / mean of the count in span_s seconds from a random time, by the formula."""
        check_window(rate_rps, span_s)
        return 1 + rate_rps / span_s * self.profile().surplus_variance(span_s)
