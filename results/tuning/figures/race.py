"""The figures of what the device said: predictions, the race, the winner against the others."""

from collections.abc import Mapping, Sequence
from math import log

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from results import format as fmt
from results.arrays import FloatArray
from results.figures import style
from results.figures.ratio_axis import ratio_axis
from results.tuning.device_record import DeviceRecord, Gain, RaceArm
from results.tuning.figures.axes import (
    LINE_IN,
    legend_in,
    value_axis,
    with_foot,
)
from results.tuning.named import (
    arm_name,
    fate_of,
    mark_of,
    pair_ratios,
    prediction_error,
)
from results.tuning.record import TuningRecord

_VERDICT_COLORS = {"better": style.GREEN, "worse": style.RED}


def draw_prediction(record: TuningRecord, figure: Figure) -> None:
    """Draw what was predicted of each arm, and what was measured on the same arrivals."""
    verified = record.raced
    [axes], foot = with_foot(figure, 1, LINE_IN)
    label = f"{verified.label[:1].upper()}{verified.label[1:]}"
    axes.set_title(f"{label}: predicted and measured on the same arrivals")
    arms = [name for name in verified.race if name in verified.predicted]
    every = [
        value
        for name in arms
        for arm in (verified.race[name],)
        for value in (*arm.values, arm.value, verified.predicted[name])
        if value is not None
    ]
    if not every:
        style.say(axes, "no setting that was raced answered all requests")
        return
    value_axis(axes, "x", verified.objective, every)
    for row, name in enumerate(reversed(arms)):
        _prediction_row(axes, row, verified.race[name], verified.predicted[name])
    axes.set_yticks(range(len(arms)), [arm_name(record, name) for name in reversed(arms)])
    axes.set_ylim(-0.6, len(arms) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(verified.label)
    marks = {
        "measured": _dot("D", style.BLUE, 5.5),
        "of each draw": _dot("o", style.BLUE, 3.5),
        "predicted": _dot("o", style.RED, 6.0, "white"),
    }
    legend_in(foot, marks, 3)


def _dot(marker: str, color: str, size: float, inside: str | None = None) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker=marker, color=color, markersize=size,
        markerfacecolor=inside or color,
    )  # fmt: skip


def _prediction_row(axes: Axes, row: int, arm: RaceArm, predicted: float | None) -> None:
    draws = [value for value in arm.values if value is not None]
    axes.plot(
        draws, np.full(len(draws), row - 0.22), "o", color=style.BLUE, alpha=0.4, markersize=3.5,
        markeredgewidth=0.0,
    )  # fmt: skip
    if arm.value is not None and predicted is not None:
        axes.plot([arm.value, predicted], [row, row], color=style.FAINT, linewidth=1.2, zorder=1)
    if arm.value is not None:
        axes.plot([arm.value], [row], "D", color=style.BLUE, markersize=5.5, zorder=3)
    if predicted is not None:
        axes.plot(
            [predicted], [row], "o", color=style.RED, markerfacecolor="white", markersize=6.0,
            zorder=4,
        )  # fmt: skip
    axes.annotate(
        prediction_error(arm, predicted), (1.0, row), xycoords=("axes fraction", "data"),
        xytext=(6, 0), textcoords="offset points", ha="left", va="center", fontsize=8.5,
        annotation_clip=False,
    )  # fmt: skip


def draw_race(record: TuningRecord, figure: Figure) -> None:
    """Draw each arm's ratio to the winner, draw by draw, as far as it came."""
    verified = record.raced
    arms = verified.race
    [axes], foot = with_foot(figure, 1, LINE_IN * len(arms))
    base = _base(verified)
    against = "the best" if base is None else arm_name(record, base)
    axes.set_title(f"The race: {verified.label} against {against}")
    if base is None:
        style.say(axes, "no setting that was raced answered all requests")
        return
    logs = {name: _log_ratios(arm, arms[base]) for name, arm in arms.items()}
    every = np.concatenate([*logs.values(), [-0.02, 0.02]])
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    room = 0.08 * (high - low)
    axes.set_ylim(low - room, high + room)
    ratio_axis(axes, low - room, high + room, "y")
    offsets = np.linspace(-0.12, 0.12, len(arms))
    lines: dict[str, Artist] = {}
    for offset, (name, arm) in zip(offsets, arms.items(), strict=True):
        won = name == verified.winner
        line = _race_line(axes, name, logs[name], float(offset), dropped=arm.dropped_after)
        lines[f"{arm_name(record, name)}: {fate_of(arm, won=won)}"] = line
    draws = max(arm.draws for arm in arms.values())
    axes.set_xlim(0.6, draws + 0.4)
    axes.set_xticks(range(1, draws + 1))
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("draw: the same arrivals for all")
    legend_in(foot, lines, 1)


def _base(verified: DeviceRecord) -> str | None:
    """Whom the others are compared with: the winner, or else the best of those that came far."""
    if verified.winner is not None:
        return verified.winner
    sign = -1.0 if verified.maximise else 1.0
    able = [
        (-arm.draws, sign * arm.value, name)
        for name, arm in verified.race.items()
        if arm.value is not None
    ]
    return min(able)[2] if able else None


def _log_ratios(arm: RaceArm, base: RaceArm) -> FloatArray:
    """Log of one arm's values to another's, NaN where a draw did not give both."""
    pairs = zip(arm.values, base.values, strict=False)
    return np.array([log(a / b) if a and b else np.nan for a, b in pairs])


def _race_line(
    axes: Axes, name: str, logs: FloatArray, offset: float, *, dropped: int | None
) -> Line2D:
    color, marker = mark_of(name)
    x = np.arange(1, len(logs) + 1) + offset
    [line] = axes.plot(
        x, logs, color=color, linewidth=1.4, marker=marker, markeredgecolor="white",
        markersize=11.0 if marker == "*" else 7.5, markeredgewidth=0.6, zorder=3,
    )  # fmt: skip
    missing = np.isnan(logs)
    if missing.any():
        axes.plot(
            x[missing], np.full(missing.sum(), 0.97), "x", color=color, markersize=6.0,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    if dropped is not None and not missing.all():
        last = int(np.flatnonzero(~missing)[-1])
        axes.plot(
            [x[last]], [logs[last]], "o", color=color, markersize=14.0, markerfacecolor="none",
            markeredgewidth=1.4, zorder=5,
        )  # fmt: skip
    return line


def draw_effects(record: TuningRecord, figure: Figure) -> None:
    """Draw the winner's ratio to the default and to the current setting, with intervals."""
    verified = record.raced
    axes = figure.subplots()
    winner = arm_name(record, verified.winner or "")
    axes.set_title(f"{winner} against what it would replace: {verified.label}")
    gains = verified.gains
    ratios = {gain.over: pair_ratios(verified, gain.over) for gain in gains}
    low, high = _extent(gains, ratios)
    axes.axvline(0.0, color=style.INK, linewidth=1.0, zorder=1)
    for row, gain in enumerate(reversed(gains)):
        _gain_row(axes, row, gain, ratios[gain.over])
    axes.set_xlim(low, high)
    axes.set_ylim(-0.6, len(gains) - 0.4)
    axes.set_yticks(range(len(gains)), [f"against {gain.over}" for gain in reversed(gains)])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    ratio_axis(axes, low, high)
    level = next((gain.level for gain in gains if gain.level is not None), 0.05)
    confidence = fmt.percent(1.0 - level)
    axes.set_xlabel(f"change of {verified.label}; bars: {confidence} intervals, dots: single draws")


def _extent(gains: Sequence[Gain], ratios: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    ends = [0.0, -0.05, 0.05]
    for gain in gains:
        ends += [log(ratio) for ratio in ratios[gain.over]]
        ends += [log(end) for end in (gain.low, gain.high) if end]
    room = 0.06 * (max(ends) - min(ends))
    return min(ends) - room, max(ends) + room


def _gain_row(axes: Axes, row: int, gain: Gain, ratios: Sequence[float]) -> None:
    color = _VERDICT_COLORS.get(gain.verdict, style.FAINT)
    axes.annotate(
        gain.verdict, (1.0, row), xycoords=("axes fraction", "data"), xytext=(6, 0),
        textcoords="offset points", ha="left", va="center", color=color, fontsize=8.5,
        fontweight="bold", annotation_clip=False,
    )  # fmt: skip
    axes.plot(
        np.log(ratios), np.full(len(ratios), row - 0.25), "o", color=style.FAINT, markersize=3.5,
        alpha=0.6, markeredgewidth=0.0,
    )  # fmt: skip
    if gain.ratio is None or gain.low is None or gain.high is None:
        axes.annotate(
            "no ratio is given", (0.0, row), xytext=(6, 0), textcoords="offset points",
            va="center", color=style.FAINT, fontsize=8.5, bbox=style.label_box(),
        )  # fmt: skip
        return
    axes.plot(np.log([gain.low, gain.high]), [row, row], color=color, linewidth=3.0, zorder=3)
    axes.plot(
        [log(gain.ratio)], [row], "D", color=color, markersize=7.0, markeredgecolor="white",
        markeredgewidth=0.8, zorder=4,
    )  # fmt: skip
