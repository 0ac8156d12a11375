"""How every figure looks: colours, grid, titles, axes of time."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colors as mcolors
from matplotlib.axes import Axes
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    PercentFormatter,
)

from results import format as fmt
from results.arrays import FloatArray

IntArray = npt.NDArray[np.int64]
AnyArray = FloatArray | IntArray

DPI = 144

INK = "#1f2933"
FAINT = "#7b8794"
GRID = "#e4e7eb"

# Okabe and Ito's colours, which stay apart for colour-blind readers, yellow and black left out.
BLUE = "#0072b2"
SKY = "#56b4e9"
ORANGE = "#e69f00"
RED = "#d55e00"
GREEN = "#009e73"
PINK = "#cc79a7"

DASHED = (0, (4, 3))

STATUS_COLORS = {"rejected": ORANGE, "expired": PINK, "failed": RED, "cancelled": FAINT}

PART_COLORS = {
    "slip": "#9aa5b1",
    "forming": SKY,
    "queued": ORANGE,
    "collate": PINK,
    "staged": "#8a6fb0",
    "execute": BLUE,
    "deliver": GREEN,
    "retry": RED,
}

REASON_COLORS = {"full": BLUE, "timeout": ORANGE, "drain": "#9aa5b1"}
OTHER_REASONS = (GREEN, PINK, SKY, RED, "#8a6fb0")

RC: dict[Any, Any] = {  # matplotlib's own type lists every key there is
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.2,
    "figure.constrained_layout.h_pad": 0.09,
    "figure.constrained_layout.w_pad": 0.09,
    "lines.linewidth": 1.3,
    "lines.solid_joinstyle": "round",
    "patch.linewidth": 0.0,
    "figure.facecolor": "white",
}


def window_axis(axes: Axes, window_s: float) -> None:
    """Let the x axis show the measured window."""
    axes.set_xlim(0.0, window_s)
    axes.set_xlabel("time since the window began (s)")


def log_time_axis(axes: Axes, which: str, low_s: float, high_s: float) -> None:
    """Make an axis a logarithmic one of time, labelled in the unit of each tick.

    Args:
        axes: Where.
        which: "x" or "y".
        low_s: The smallest time to be seen, > 0.
        high_s: The largest, seconds.
    """
    low_s, high_s = low_s / 1.25, max(high_s, low_s * 1.5) * 1.25
    axis = axes.xaxis if which == "x" else axes.yaxis
    # The limits come first: a new scale looks at the data for want of them, and 0 has no logarithm.
    getattr(axes, f"set_{which}lim")(low_s, high_s)
    getattr(axes, f"set_{which}scale")("log")
    decades = np.log10(high_s / low_s)
    steps = (1.0,) if decades > 4.5 else (1.0, 3.0) if decades > 2.2 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=steps, numticks=30))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: fmt.tick(value)))
    axis.set_minor_formatter(NullFormatter())


def count_axis(axes: Axes) -> None:
    """Let the y axis begin at zero and count with thousands separators."""
    axes.set_ylim(bottom=0.0)
    axes.yaxis.set_major_locator(
        MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def label_box() -> dict[str, Any]:
    """Return the white ground of a label that may lie across a line."""
    return {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8}


def ink_on(color: str) -> str:
    """Return the colour of text that can be read on a patch of this colour."""
    return "white" if mcolors.to_rgb(color)[1] < 0.55 else INK


def share_axis(axes: Axes, which: str) -> None:
    """Let an axis show shares from 0 to 100 %."""
    getattr(axes, f"set_{which}lim")(0.0, 1.0)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def legend_above(axes: Axes, columns: int) -> None:
    """Put the legend between the title's end and the right edge, where no data can be."""
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, borderaxespad=0.2,
        columnspacing=1.2,
    )  # fmt: skip


def say(axes: Axes, sentence: str, *, keep_x: bool = False) -> None:
    """Show a sentence instead of data; the x axis may stay, for axes that share it."""
    axes.grid(visible=False)
    axes.xaxis.set_visible(keep_x)
    axes.yaxis.set_visible(False)
    axes.text(0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center", color=FAINT)


def bins(window_s: float, shortest_s: float, most: int) -> FloatArray:
    """Return the edges of equal bins over the window: as fine as asked, but not too many.

    The width is `shortest_s` or, where that makes more than `most` bins, a larger round number.
    """
    width = shortest_s
    while window_s / width > most:
        width *= 2.0
    number = max(1, int(np.ceil(window_s / width - 1e-9)))
    return np.append(np.arange(number) * width, window_s)


def sampled(values: FloatArray, most: int) -> IntArray:
    """Return the indices of at most `most` values, evenly drawn, always the same ones."""
    if len(values) <= most:
        return np.arange(len(values))
    return np.sort(np.random.default_rng(0).choice(len(values), most, replace=False))


def stairs(
    axes: Axes, edges: FloatArray, heights: AnyArray, *, color: str, label: str | None = None
) -> None:
    """Draw one value a bin as a line of steps."""
    values = np.asarray(heights, dtype=np.float64)
    axes.stairs(values, edges, baseline=None, color=color, label=label, linewidth=1.0)


def area(
    axes: Axes, edges: FloatArray, heights: AnyArray, *, color: str, label: str | None = None
) -> None:
    """Draw one value a bin as a line of steps, filled down to zero."""
    values = np.asarray(heights, dtype=np.float64)
    axes.stairs(values, edges, color=color, fill=True, alpha=0.2, linewidth=0)
    stairs(axes, edges, heights, color=color, label=label)
