"""The figure of a capacity: latency against load, the limit, and where they meet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from results import format as fmt
from results.figures import style
from results.files import replacing

_SIZE_IN = (7.6, 3.4)


def save_capacity_figure(content: Mapping[str, Any], path: Path) -> None:
    """Draw what was tried and write it as a PNG.

    Args:
        content: what `capacity.json` holds.
        path: where the PNG goes.
    """
    with mpl.rc_context(style.RC):
        figure = Figure(figsize=_SIZE_IN, layout="constrained")
        FigureCanvasAgg(figure)
        _draw(content, figure)
        figure.text(0.995, 0.005, "simulated", ha="right", va="bottom", color=style.FAINT)
        with replacing(path) as fresh:
            figure.savefig(fresh, dpi=style.DPI, format="png")


def _draw(content: Mapping[str, Any], figure: Figure) -> None:
    axes = figure.subplots()
    name, limit_s = content["metric"], content["slo_s"]
    tried = [trial for trial in content["trials"] if trial["value_s"] is not None]
    rates = [trial["rate_rps"] for trial in tried]
    values = [trial["value_s"] for trial in tried]
    axes.set_title(f"{name} against load: {content['model']}")
    axes.plot(rates, values, color=style.FAINT, linewidth=1.0, zorder=1)
    for met, color, label in ((True, style.BLUE, "met"), (False, style.RED, "missed")):
        own = [trial for trial in tried if trial["met"] is met]
        each = [(t["rate_rps"], v) for t in own for v in t["of_each_draw_s"] if v is not None]
        axes.plot(*_columns(each), ".", color=color, markersize=4.0, alpha=0.45, zorder=2)
        at = [(trial["rate_rps"], trial["value_s"]) for trial in own]
        axes.plot(*_columns(at), "o", color=color, markersize=4.5, label=label, zorder=3)
    axes.axhline(limit_s, color=style.INK, linewidth=1.0, linestyle=style.DASHED)
    axes.annotate(
        content["slo"], (0.0, limit_s), xycoords=("axes fraction", "data"), xytext=(4, 3),
        textcoords="offset points", va="bottom", bbox=style.label_box(),
    )  # fmt: skip
    if content["rate_rps"] is not None:
        axes.axvline(content["rate_rps"], color=style.BLUE, linewidth=1.0, zorder=0)
        _label(axes, content["rate_rps"], fmt.rate(content["rate_rps"]), 0.96)
    axes.axvline(content["limit_rps"], color=style.FAINT, linewidth=1.0, linestyle=style.DASHED)
    _label(axes, content["limit_rps"], f"full queue: {fmt.rate(content['limit_rps'])}", 0.84)
    style.log_time_axis(axes, "y", min([*values, limit_s]), max([*values, limit_s]))
    axes.set_xlim(0.0, 1.04 * content["limit_rps"])
    axes.set_xlabel("load (req/s)")
    style.legend_above(axes, 2)


def _columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _label(axes: Any, x: float, text: str, height: float) -> None:
    axes.annotate(
        text, (x, height), xycoords=("data", "axes fraction"), xytext=(-4, 0),
        textcoords="offset points", ha="right", va="top", bbox=style.label_box(),
    )  # fmt: skip
