"""The figure of latency against device time: what can be had, and where the named settings lie."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.figures import style
from results.figures.labels import Label, place_labels
from results.tuning.figures.axes import time_axis
from results.tuning.metrics import Metrics
from results.tuning.named import draw_mark, named_settings
from results.tuning.record import TuningRecord


def draw_front(record: TuningRecord, figure: Figure) -> None:
    """Draw every trial that carries the load, those that none beats, and what has a name."""
    axes = figure.subplots()
    axes.set_title(f"{record.statistic} latency against device time per request")
    tried = [
        point
        for goal in record.goals.values()
        for trial in goal.history
        if (point := _point(trial.metrics, record)) is not None
    ]
    points = (_point(trial.metrics, record) for trial in record.front)
    front = [point for point in points if point is not None]
    marks = [
        (named, point)
        for named in named_settings(record)
        if (point := _point(named.judged.metrics, record)) is not None
    ]
    seen = [*front, *(point for _, point in marks)] or tried
    if not seen:
        style.say(axes, "no setting that was tried carries the load")
        return
    _limits(axes, record, seen, tried)
    axes.plot(*_columns(tried), ".", color=style.FAINT, alpha=0.35, markersize=4.0, zorder=1)
    xs, ys = _columns(sorted(front))
    if xs:
        axes.plot(
            xs, ys, color=style.BLUE, linewidth=1.6, drawstyle="steps-post", zorder=2,
            label="no setting is better in both",
        )  # fmt: skip
        axes.plot(xs, ys, "o", color=style.BLUE, markersize=3.0, zorder=3)
        style.legend_above(axes, 1)
    for named, (x, y) in reversed(marks):  # the recommended one on top
        draw_mark(axes, x, y, named)
    if record.slo is not None and record.slo_s is not None:
        axes.axhline(record.slo_s, color=style.INK, linewidth=1.0, linestyle=style.DASHED)
        axes.annotate(
            record.slo, (1.0, record.slo_s), xycoords=("axes fraction", "data"), xytext=(-3, 3),
            textcoords="offset points", ha="right", va="bottom", bbox=style.label_box(), zorder=6,
        )  # fmt: skip
    labels = [Label(x, y, named.short) for named, (x, y) in marks]
    place_labels(figure, axes, labels, [*front, *tried])


def _limits(
    axes: Axes,
    record: TuningRecord,
    seen: list[tuple[float, float]],
    tried: list[tuple[float, float]],
) -> None:
    """Show the front and the named settings; of the trials, those that are not much worse."""
    xs, ys = _columns(seen)
    if record.slo_s is not None:
        ys = [*ys, record.slo_s]
    far_x, far_y = 1.15 * max(xs), 1.15 * max(ys)
    near = [(x, y) for x, y in tried if x <= far_x and y <= far_y]
    xs, ys = [*xs, *(x for x, _ in near)], [*ys, *(y for _, y in near)]
    time_axis(axes, "x", min(xs), max(xs))
    time_axis(axes, "y", min(ys), max(ys))
    axes.set_xlabel("device time per request")
    axes.set_ylabel(f"{record.statistic} latency")


def _point(metrics: Metrics, record: TuningRecord) -> tuple[float, float] | None:
    x, y = metrics.device_s_per_request, metrics.latency_s(record.statistic)
    return None if x is None or y is None or min(x, y) <= 0.0 else (x, y)


def _columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
