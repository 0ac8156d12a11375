"""The figure of a service profile: time and throughput against batch size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from results import format as fmt
from results.figures import style

_WIDTH_IN, _HEIGHT_IN = 7.6, 5.8
_MOST_TICKS = 12


@dataclass(frozen=True, slots=True)
class ProfilePicture:
    """What is drawn of a profile; times in seconds.

    Args:
        title: What was measured, e.g. "mlp on cpu".
        samples_s: Measured size -> the times of its batches.
        typical_s: T(b) for b = 1, 2, ..., `[B]`.
        low_s: Its 10 % quantile, `[B]`.
        high_s: Its 90 % quantile, `[B]`.
        peak: The size of the highest throughput.
        knee: The size from which on throughput is nearly that.
    """

    title: str
    samples_s: Mapping[int, Sequence[float]]
    typical_s: Sequence[float]
    low_s: Sequence[float]
    high_s: Sequence[float]
    peak: int
    knee: int


def save_profile_figure(picture: ProfilePicture, path: Path) -> None:
    """Draw the two panels and write them as a PNG."""
    with mpl.rc_context(style.RC):
        figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
        FigureCanvasAgg(figure)
        above, below = figure.subplots(2, 1, sharex=True)
        _draw_time(picture, above)
        _draw_rate(picture, below)
        figure.savefig(path, dpi=style.DPI, format="png")


def _draw_time(picture: ProfilePicture, axes: Axes) -> None:
    axes.set_title(f"Time of a batch: {picture.title}")
    sizes = np.arange(1, len(picture.typical_s) + 1)
    every = [(size, time) for size, times in picture.samples_s.items() for time in times]
    axes.plot(
        [size for size, _ in every], [time for _, time in every], ".", color=style.FAINT,
        markersize=4.0, alpha=0.35, markeredgewidth=0, zorder=1,
    )  # fmt: skip
    axes.plot([], [], ".", color=style.FAINT, markersize=6.0, label="each batch")
    _band(axes, sizes, np.asarray(picture.low_s), np.asarray(picture.high_s), "10 to 90 %")
    axes.plot(sizes, picture.typical_s, color=style.BLUE, label="median", zorder=3)
    measured = sorted(picture.samples_s)
    at = [picture.typical_s[size - 1] for size in measured]
    axes.plot(measured, at, "o", color=style.BLUE, markersize=3.5, zorder=3)
    times = [time for _, time in every]
    style.log_time_axis(axes, "y", min(times), max(times))
    axes.set_ylabel("taken to answered")
    style.legend_above(axes, 3)


def _draw_rate(picture: ProfilePicture, axes: Axes) -> None:
    axes.set_title("Throughput in full batches")
    sizes = np.arange(1, len(picture.typical_s) + 1)
    rates = sizes / np.asarray(picture.typical_s)
    _band(axes, sizes, sizes / np.asarray(picture.high_s), sizes / np.asarray(picture.low_s))
    axes.plot(sizes, rates, color=style.BLUE, zorder=3)
    measured = np.array(sorted(picture.samples_s))
    axes.plot(measured, rates[measured - 1], "o", color=style.BLUE, markersize=3.5, zorder=3)
    style.count_axis(axes)
    peak_rps = float(rates[picture.peak - 1])
    _mark(axes, picture.peak, peak_rps, f"peak {fmt.rate(peak_rps)} at {picture.peak}", style.RED)
    if picture.knee != picture.peak:
        rate = float(rates[picture.knee - 1])
        _mark(axes, picture.knee, rate, f"90 % of it from {picture.knee}", "white")
    style.legend_above(axes, 2)
    _size_axis(axes, len(sizes))
    axes.set_ylabel("requests per second")


def _band(
    axes: Axes, sizes: style.IntArray, low: style.AnyArray, high: style.AnyArray, label: str = ""
) -> None:
    axes.fill_between(
        sizes, low, high, color=style.BLUE, alpha=0.18, linewidth=0, label=label or None, zorder=2
    )


def _mark(axes: Axes, size: int, rate: float, text: str, fill: str) -> None:
    axes.plot(
        [size], [rate], "o", color=style.RED, markerfacecolor=fill, markersize=6.0, zorder=4,
        linestyle="none", label=text,
    )  # fmt: skip


def _size_axis(axes: Axes, largest: int) -> None:
    """A logarithmic axis of batch sizes with ticks at powers of two."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(2**-0.15, max(2.0, largest) * 2**0.15)
    powers = [2**i for i in range(largest.bit_length())]
    every = -(-len(powers) // _MOST_TICKS)
    axes.xaxis.set_major_locator(FixedLocator(powers[::every]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda value, _: fmt.count(value))
    axes.set_xlabel("requests in the batch")
