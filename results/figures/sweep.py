"""The figure of a sweep: a row of panels for each load, colour for what came of each setting."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from results import format as fmt
from results.arrays import FloatArray
from results.figures import style
from results.files import replacing

_PANEL_IN = (3.9, 3.1)
_MOST_LABELS = 11
_FOOT_IN = 0.22
# Key in sweep.json, title, how a value is shown, and whether a low one is good.
_PANELS = (
    ("p99_s", "p99 latency", fmt.tick, True),
    ("device_s_per_request", "Device time per request", fmt.tick, True),
    ("goodput_rps", "Goodput", fmt.rate, False),
    ("limit_rps", "Load it can carry", fmt.rate, False),
)


def save_surfaces(content: Mapping[str, Any], path: Path) -> Path | None:
    """Draw a sweep over two knobs as heat maps, over one as curves; over more there is no picture.

    Args:
        content: what `sweep.json` holds.
        path: where the PNG goes.

    Returns:
        The path, or None if nothing was drawn.
    """
    axes = {name: values for name, values in content["axes"].items() if len(values) > 1}
    if not 1 <= len(axes) <= 2:
        return None
    cells = content["cells"]
    loads = list(dict.fromkeys(cell["offered_rps"] for cell in cells))
    panels = [panel for panel in _PANELS if any(cell[panel[0]] is not None for cell in cells)]
    with mpl.rc_context(style.RC | {"axes.grid": len(axes) == 1}):
        rows = len(loads) if len(axes) == 2 else 1
        figure = Figure(
            figsize=(_PANEL_IN[0] * len(panels), _PANEL_IN[1] * rows), layout="constrained"
        )
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, len(panels), squeeze=False)
        for column, panel in enumerate(panels):
            if len(axes) == 1:
                _draw_curves(grid[0][column], cells, loads, axes, panel)
                continue
            for row, load in enumerate(loads):
                here = [cell for cell in cells if cell["offered_rps"] == load]
                _draw_map(figure, grid[row][column], here, axes, panel)
        engine = figure.get_layout_engine()
        if engine is not None:
            foot = _FOOT_IN / figure.get_figheight()
            engine.set(rect=(0.0, foot, 1.0, 1.0 - foot))  # type: ignore[call-arg]
        reading = "ring: the best; grey: cannot carry the load; " if len(axes) == 2 else ""
        figure.text(0.995, 0.002, f"{reading}simulated", ha="right", va="bottom", color=style.FAINT)
        with replacing(path) as fresh:
            figure.savefig(fresh, dpi=style.DPI, format="png")
    return path


def _draw_map(
    figure: Figure,
    axes: Axes,
    cells: Sequence[Mapping[str, Any]],
    swept: Mapping[str, Sequence[Any]],
    panel: tuple[str, str, Any, bool],
) -> None:
    key, title, show, low_is_good = panel
    (across, xs), (up, ys) = reversed(list(swept.items()))
    values = _grid([cell[key] for cell in cells], len(ys), len(xs))
    known = values[np.isfinite(values)]
    axes.set_title(f"{title}, {fmt.rate(cells[0]['offered_rps'])}")
    if not len(known):
        style.say(axes, "no setting answers all requests")
        return
    low, high = float(known.min()), float(known.max())
    norm = LogNorm(low, high) if low > 0.0 and high > 3.0 * low else Normalize(low, high)
    image = axes.imshow(
        values,
        origin="lower",
        aspect="auto",
        cmap="viridis_r" if low_is_good else "viridis",
        norm=norm,
        interpolation="nearest",
    )
    axes.set_facecolor(style.GRID)  # what shows through is a setting that cannot carry the load
    _label(axes, "x", across, xs)
    _label(axes, "y", up, ys)
    bar = figure.colorbar(image, ax=axes, shrink=0.9)
    if isinstance(norm, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    best = np.nanargmin(values) if low_is_good else np.nanargmax(values)
    row, column = np.unravel_index(best, values.shape)
    axes.plot(column, row, marker="o", markersize=8, markerfacecolor="none", color=style.RED)


def _grid(values: Sequence[float | None], rows: int, columns: int) -> FloatArray:
    """Return the cells' values as [first knob, second knob], which is [y, x]; NaN for none."""
    flat = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return flat.reshape(rows, columns)


def _label(axes: Axes, which: str, name: str, values: Sequence[Any]) -> None:
    step = -(-len(values) // _MOST_LABELS)
    places = list(range(0, len(values), step))
    getattr(axes, f"set_{which}ticks")(places, [str(values[place]) for place in places])
    getattr(axes, f"set_{which}label")(name)


def _draw_curves(
    axes: Axes,
    cells: Sequence[Mapping[str, Any]],
    loads: Sequence[float],
    swept: Mapping[str, Sequence[Any]],
    panel: tuple[str, str, Any, bool],
) -> None:
    key, title, show, _ = panel
    [(name, values)] = swept.items()
    numeric = all(isinstance(value, int | float) for value in values)
    places = np.array(values if numeric else range(len(values)), dtype=np.float64)
    colors = (style.BLUE, style.ORANGE, style.GREEN, style.RED, style.PINK, style.SKY)
    for i, load in enumerate(loads):
        line = [cell[key] for cell in cells if cell["offered_rps"] == load]
        heights = np.array([np.nan if value is None else value for value in line])
        axes.plot(
            places, heights, marker="o", markersize=3.5, color=colors[i % len(colors)],
            label=fmt.rate(load),
        )  # fmt: skip
    axes.set_title(title)
    axes.set_xlabel(name)
    if not numeric:
        axes.set_xticks(places, [str(value) for value in values])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))
    axes.set_ylim(bottom=0.0)
    if len(loads) > 1:
        axes.legend()
