"""The picture of a trace: its rate over time, its gaps, how its counts vary, its tokens."""

import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from results import format as fmt
from results.arrays import FloatArray
from results.figures import style
from results.files import replacing

_WIDTH_IN, _HEIGHT_IN = 11.0, 7.6
_TOKEN_BINS = 48


@dataclass(frozen=True)
class Rate:
    """Arrivals per second over a part of a trace.

    Args:
        edges_s: `[M + 1]`, the edges of the bins, seconds from the beginning of the trace.
        rate_rps: `[M]`, requests per second in each.
    """

    edges_s: FloatArray
    rate_rps: FloatArray


@dataclass(frozen=True)
class Dispersion:
    """Var N(t) / E N(t) of the counts in windows of length t.

    Args:
        span_s: `[K]`, the lengths, ascending, seconds.
        measured: `[K]`, of the trace.
        error: `[K]`, its standard error.
        curve_s: `[J]`, lengths at which the curve of a process is drawn; empty for none.
        curve: `[J]`, its values.
        curve_name: What the curve is called.
        expected: `[K]`, what a draw of that process as long as the trace would show on average;
            empty for none.
    """

    span_s: FloatArray
    measured: FloatArray
    error: FloatArray
    curve_s: FloatArray = field(default_factory=lambda: np.zeros(0))
    curve: FloatArray = field(default_factory=lambda: np.zeros(0))
    curve_name: str = ""
    expected: FloatArray = field(default_factory=lambda: np.zeros(0))

    def beside(self, curve: Callable[[float], float], name: str) -> "Dispersion":
        """Return this with the curve of a process, at lengths between the first and the last."""
        points_s = np.geomspace(self.span_s[0], self.span_s[-1], 121)
        values = np.array([curve(float(span_s)) for span_s in points_s])
        return replace(self, curve_s=points_s, curve=values, curve_name=name)


@dataclass(frozen=True)
class Arrivals:
    """What the picture shows.

    Args:
        title: Name and size of the trace.
        rates: The whole trace first, then ever shorter parts of it.
        mean_rps: Mean rate.
        gap_s: `[G]`, lengths of gaps, ascending, seconds.
        gap_survival: `[G]`, the share of gaps at least that long.
        dispersion: How the counts vary.
        lags_s: `[L]`, lags of the autocorrelation, seconds.
        autocorrelation: `[L]`, of the counts.
        autocorrelation_noise: Half the width of its band of chance.
        tokens: By what they are called, one count a request.
    """

    title: str
    rates: Sequence[Rate]
    mean_rps: float
    gap_s: FloatArray
    gap_survival: FloatArray
    dispersion: Dispersion
    lags_s: FloatArray
    autocorrelation: FloatArray
    autocorrelation_noise: float
    tokens: Mapping[str, npt.NDArray[np.int32]]


def save_arrivals(arrivals: Arrivals, path: Path) -> None:
    """Draw the picture and write it as a PNG."""
    with _saved(arrivals.title, path, (_WIDTH_IN, _HEIGHT_IN), wrap=112) as figure:
        left, right = figure.subfigures(1, 2, squeeze=False)[0]
        _draw_rates(left, arrivals)
        kinds = [_draw_gaps, _draw_dispersion, _draw_autocorrelation]
        if arrivals.tokens:
            kinds.append(_draw_tokens)
        heights = {3: (1.0, 1.0, 0.7), 4: (1.0, 1.0, 0.6, 0.7)}[len(kinds)]
        panels = right.subplots(len(kinds), 1, height_ratios=heights)
        for draw, axes in zip(kinds, panels, strict=True):
            draw(axes, arrivals)


@contextmanager
def _saved(title: str, path: Path, size_in: tuple[float, float], wrap: int) -> Iterator[Figure]:
    """Hand out a figure with its title, which may be any text, and write it afterwards."""
    with mpl.rc_context(style.RC), warnings.catch_warnings():
        # A name may have letters that the font lacks; they show as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = Figure(figsize=size_in, layout="constrained")
        FigureCanvasAgg(figure)
        lines = textwrap.wrap(title, wrap, max_lines=3, placeholder=" ...")
        figure.suptitle(
            "\n".join(lines), x=0.01, ha="left", fontsize=11.5, fontweight="bold", parse_math=False
        )
        yield figure
        with replacing(path) as fresh:
            figure.savefig(fresh, dpi=style.DPI, format="png")


def _draw_rates(figure: SubFigure, arrivals: Arrivals) -> None:
    rates = arrivals.rates
    panels = np.atleast_1d(figure.subplots(max(1, len(rates)), 1))
    if not rates:
        panels[0].set_title("Rate over time")
        style.say(panels[0], "the trace spans no time")
    for number, (axes, rate) in enumerate(zip(panels, rates, strict=False)):
        edges_s = rate.edges_s
        style.area(axes, edges_s, rate.rate_rps, color=style.BLUE)
        axes.axhline(arrivals.mean_rps, color=style.INK, linewidth=0.8, linestyle=style.DASHED)
        width = fmt.duration(float(edges_s[1] - edges_s[0]))
        length = fmt.duration(float(edges_s[-1] - edges_s[0]))
        what = "Rate over time" if number == 0 else f"The busiest {length}"
        axes.set_title(f"{what} (bins of {width})")
        axes.set_ylabel("arrivals (req/s)")
        style.count_axis(axes)
        axes.set_xlim(edges_s[0], edges_s[-1])
        if number + 1 < len(rates):
            part = rates[number + 1].edges_s
            axes.axvspan(part[0], part[-1], color=style.ORANGE, alpha=0.3, linewidth=1.0)
    shaded = "; the shaded part is the panel below" if len(rates) > 1 else ""
    panels[-1].set_xlabel(f"time since the trace began (s){shaded}")


def _draw_gaps(axes: Axes, arrivals: Arrivals) -> None:
    axes.set_title("Gaps between arrivals")
    gap_s, survival = arrivals.gap_s, arrivals.gap_survival
    longest_s = float(gap_s[-1]) if len(gap_s) else 0.0
    if longest_s <= 0.0:
        style.say(axes, "no gaps are known")
        return
    low = max(float(survival[-1]) / 2.0, 1e-9)
    mean_s = 1.0 / arrivals.mean_rps
    poisson_s = np.linspace(0.0, min(2.0 * longest_s, -np.log(low) * mean_s), 200)
    steps = (np.append(0.0, gap_s), np.append(1.0, survival))
    axes.step(*steps, where="pre", color=style.BLUE, label="the trace")
    axes.plot(
        poisson_s, np.exp(-poisson_s / mean_s), color=style.INK, linewidth=1.0,
        linestyle=style.DASHED, label="Poisson",
    )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(low, 1.5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100.0 * share:g} %"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(0.0, 1.03 * max(longest_s, float(poisson_s[-1])))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: fmt.tick(value)))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_ylabel("gaps longer than that")
    style.legend_above(axes, 2)


def _draw_dispersion(axes: Axes, arrivals: Arrivals) -> None:
    draw_dispersion(axes, arrivals.dispersion)


def draw_dispersion(axes: Axes, dispersion: Dispersion) -> None:
    """Draw the index of dispersion over window lengths, with its error and Poisson's 1."""
    axes.set_title("Dispersion of counts")
    seen = dispersion.measured > 0.0
    if not seen.any():
        enough = len(dispersion.measured) > 0
        style.say(axes, "the counts do not vary" if enough else "the trace is too short")
        return
    span_s, measured = dispersion.span_s[seen], dispersion.measured[seen]
    error = dispersion.error[seen]
    style.log_time_axis(axes, "x", float(span_s[0]), float(span_s[-1]))
    axes.axhline(1.0, color=style.INK, linewidth=1.0, linestyle=style.DASHED, label="Poisson")
    if len(dispersion.curve_s):
        axes.plot(
            dispersion.curve_s, dispersion.curve, color=style.ORANGE, linewidth=1.8,
            label=dispersion.curve_name,
        )  # fmt: skip
    if len(dispersion.expected):
        axes.plot(
            span_s, np.maximum(dispersion.expected[seen], 1e-3), color=style.ORANGE, marker="s",
            markersize=4.5, markerfacecolor="white", linestyle="none",
            label="in a draw as long as the trace",
        )  # fmt: skip
    below = np.minimum(2.0 * error, 0.9 * measured)  # a logarithmic axis has no place for less
    axes.errorbar(
        span_s, measured, yerr=(below, 2.0 * error), color=style.BLUE, marker="o", markersize=3.5,
        linewidth=0.0 if len(dispersion.curve_s) else 1.3, elinewidth=1.0, label="the trace",
    )  # fmt: skip
    axes.set_yscale("log")
    shown = np.concatenate((measured - below, measured + 2.0 * error, dispersion.curve, [1.0]))
    shown = shown[shown > 0.0]
    low, high = float(shown.min()), float(shown.max())
    axes.set_ylim(min(low / 1.2, 0.7), max(high * 1.2, 1.5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if high / low > 20.0:
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_minor_formatter(FuncFormatter(_few_minor))
    axes.set_xlabel("length of the window")
    axes.set_ylabel("variance / mean")
    axes.legend(loc="best")  # its entries are too long to stand beside the title


def _few_minor(value: float, _position: int | None = None) -> str:
    digit = round(value / 10.0 ** np.floor(np.log10(value) + 1e-9))
    return f"{value:g}" if digit in {2, 3, 5} else ""


def _draw_autocorrelation(axes: Axes, arrivals: Arrivals) -> None:
    lags_s = arrivals.lags_s
    if not len(lags_s):
        axes.set_title("Autocorrelation of counts")
        style.say(axes, "the trace is too short")
        return
    axes.set_title(f"Autocorrelation of counts in {fmt.tick(float(lags_s[0]))}")
    noise = arrivals.autocorrelation_noise
    axes.axhspan(-noise, noise, color=style.FAINT, alpha=0.2, linewidth=0, label="chance (95 %)")
    axes.axhline(0.0, color=style.INK, linewidth=0.8)
    axes.vlines(lags_s, 0.0, arrivals.autocorrelation, color=style.BLUE, linewidth=1.4)
    axes.set_xlim(0.0, float(lags_s[-1]) * 1.02)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: fmt.tick(value)))
    axes.set_xlabel("lag")
    style.legend_above(axes, 1)


def _draw_tokens(axes: Axes, arrivals: Arrivals) -> None:
    axes.set_title("Tokens a request")
    top = max(float(column.max()) for column in arrivals.tokens.values())
    edges = np.unique(np.round(np.geomspace(1.0, max(top, 2.0) + 1.0, _TOKEN_BINS)))
    for (name, column), color in zip(
        arrivals.tokens.items(), (style.BLUE, style.ORANGE, style.GREEN), strict=False
    ):
        number, _ = np.histogram(np.maximum(column, 1), edges)
        style.area(axes, edges, number / len(column), color=color, label=name)
    axes.set_xscale("log")
    axes.set_xlim(1.0, edges[-1])
    axes.set_ylim(bottom=0.0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100.0 * share:g} %"))
    axes.set_xlabel("tokens (logarithmic; 0 is shown as 1)")
    axes.set_ylabel("requests")
    style.legend_above(axes, 2)


def save_dispersion(title: str, dispersion: Dispersion, path: Path) -> None:
    """Draw the dispersion of a trace and of a process, and write that as a PNG."""
    with _saved(title, path, (7.6, 4.4), wrap=76) as figure:
        draw_dispersion(figure.subplots(), dispersion)
