"""How values of an objective and of a knob are shown and scaled."""

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from results.figures import style
from results.tuning.named import is_time, tick

# Colours say nothing of what is further from the best than this.
_WORTH_SEEING = 10.0
# Height of a line of a legend, inches.
LINE_IN = 0.19


def value_axis(axes: Axes, which: str, objective: str, values: Sequence[float]) -> None:
    """Scale an axis for the values of an objective: logarithmic for times, from 0 for rates."""
    if is_time(objective) and min(values) > 0.0:
        time_axis(axes, which, min(values), max(values))
        return
    getattr(axes, f"set_{which}lim")(0.0, 1.15 * max([*values, 1e-9]))
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(objective, value)))


def time_axis(axes: Axes, which: str, low_s: float, high_s: float) -> None:
    """Make an axis a logarithmic one of time, with ticks enough where it spans little."""
    style.log_time_axis(axes, which, low_s, high_s)
    axis = axes.xaxis if which == "x" else axes.yaxis
    if high_s < 2.5 * low_s:
        axis.set_major_locator(LogLocator(subs=(1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)))
    elif high_s < 10.0 * low_s:
        axis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))


def color_norm(values: Sequence[float], *, maximise: bool) -> Normalize:
    """From the best to the worst, but to no more than ten times away from it."""
    low, high = min(values), max(values)
    if low <= 0.0:
        return Normalize(low, max(high, 1e-9))
    if maximise:
        low = max(low, high / _WORTH_SEEING)
    else:
        high = min(high, low * _WORTH_SEEING)
    if high <= low:
        return Normalize(0.95 * low, 1.05 * high)
    return LogNorm(low, high) if high > 2.0 * low else Normalize(low, high)


def knob_axis(axes: Axes, which: str, knob: str, values: Sequence[float], *, log: bool) -> None:
    """Scale an axis for a numeric knob, its unit in the label.

    A logarithmic one is of log2 of the values, so that a map that is linear on the axes is linear
    in what is seen; powers of two are its ticks.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    name = f"{knob.removesuffix('_ms')} (ms)" if knob.endswith("_ms") else knob
    getattr(axes, f"set_{which}label")(name)
    low, high = min(values), max(values)
    room = 0.04 * (high - low) or 0.5
    getattr(axes, f"set_{which}lim")(low - room, high + room)
    if log:
        ticks = list(range(int(low), int(high) + 1, 1 if high - low <= 10 else 2))
        axis.set_ticks(ticks, [f"{2**power:g}" for power in ticks])
    axis.set_minor_formatter(NullFormatter())


def with_foot(figure: Figure, rows: int, foot_in: float) -> tuple[list[Axes], Axes]:
    """Divide a figure into equal rows, and a foot of that height for a legend."""
    row_in = (figure.get_figheight() - foot_in) / rows
    ratios = [*[row_in] * rows, foot_in]
    grid = figure.subplots(rows + 1, 1, squeeze=False, height_ratios=ratios)[:, 0]
    grid[-1].set_axis_off()
    return list(grid[:-1]), grid[-1]


def legend_in(foot: Axes, lines: Mapping[str, Artist], columns: int) -> None:
    """Put a legend into the foot."""
    legend = foot.legend(
        list(lines.values()), list(lines), loc="lower left", ncols=columns, borderaxespad=0.0,
        borderpad=0.0, columnspacing=1.5,
    )  # fmt: skip
    legend.set_in_layout(False)  # its row is high enough, and needs no margin beside
