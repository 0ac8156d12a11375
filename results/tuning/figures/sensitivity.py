"""The figure of the recommended setting under other arrivals than those it was found for."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results import format as fmt
from results.figures import style
from results.tuning.figures.axes import time_axis
from results.tuning.metrics import Metrics, latency_field
from results.tuning.record import TuningRecord, sensitivity_rows


def draw_sensitivity(record: TuningRecord, figure: Figure) -> None:
    """Draw latency and device time of the setting in every case."""
    rows = sensitivity_rows(record)
    left, right = figure.subplots(1, 2, sharey=True)
    latency = latency_field(record.statistic)
    _panel(left, rows, latency, f"{record.statistic} latency", record.slo_s)
    _panel(right, rows, "device_s_per_request", "Device time per request", None)
    left.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
    left.set_ylim(-0.6, len(rows) - 0.4)


def _panel(
    axes: Axes,
    rows: Sequence[tuple[str, Metrics]],
    name: str,
    title: str,
    limit_s: float | None,
) -> None:
    axes.set_title(title, fontsize=10.0)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    values: list[float | None] = [getattr(metrics, name) for _, metrics in reversed(rows)]
    known = [value for value in values if value]
    if not known:
        axes.grid(visible=False)
        axes.xaxis.set_visible(False)
        axes.text(0.5, 0.5, "not carried", transform=axes.transAxes, ha="center", color=style.FAINT)
        return
    ends = known if limit_s is None else [*known, limit_s]
    time_axis(axes, "x", min(ends), max(ends))
    if limit_s is not None:
        axes.axvline(limit_s, color=style.INK, linewidth=1.0, linestyle=style.DASHED, label="SLO")
        style.legend_above(axes, 1)
    if values[-1]:
        axes.axvline(values[-1], color=style.GRID, linewidth=1.6, zorder=0)
    for row, value in enumerate(values):
        if not value:
            axes.annotate(
                "cannot carry it", (0.5, row), xycoords=("axes fraction", "data"), ha="center",
                va="center", color=style.RED, fontsize=8.5,
            )  # fmt: skip
            continue
        over = limit_s is not None and value > limit_s
        own = row == len(values) - 1
        color = style.RED if over else style.INK if own else style.BLUE
        axes.plot([value], [row], "D" if own else "o", color=color, markersize=6.5, zorder=3)
        axes.annotate(
            _change(value, values[-1], own=own), (value, row), xytext=(0, 7), color=color,
            textcoords="offset points", ha="center", va="bottom", fontsize=8.0,
        )  # fmt: skip


def _change(value: float, base: float | None, *, own: bool) -> str:
    if own or not base:
        return fmt.duration(value)
    return f"{fmt.duration(value)} ({100.0 * (value / base - 1.0):+.0f} %)"
