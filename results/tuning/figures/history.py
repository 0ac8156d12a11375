"""The figures of a search: what it tried, how soon it was there, and which knobs matter."""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from results.arrays import BoolArray, FloatArray
from results.figures import style
from results.figures.style import IntArray
from results.tuning.figures.axes import LINE_IN, legend_in, value_axis, with_foot
from results.tuning.named import called, is_time, shown, title_of
from results.tuning.record import GoalRecord, TuningRecord

# A trial this much worse than the best is drawn at the edge.
_WORTH_SEEING = 30.0


def goals_with_history(record: TuningRecord) -> list[tuple[str, GoalRecord]]:
    """The goals whose trials were kept."""
    return [(name, goal) for name, goal in record.goals.items() if goal.history]


def goals_with_importance(record: TuningRecord) -> list[tuple[str, GoalRecord]]:
    """The goals of which it is known how much each knob matters."""
    return [(name, goal) for name, goal in record.goals.items() if goal.importance]


def draw_history(record: TuningRecord, figure: Figure) -> None:
    """Draw every trial in its order, a panel a goal, and the best so far."""
    goals = goals_with_history(record)
    panels, foot = with_foot(figure, len(goals), LINE_IN)
    for axes, (name, goal) in zip(panels, goals, strict=True):
        _draw_goal(axes, name, goal, record)
    panels[-1].set_xlabel("trial")
    lines = {str(line.get_label()): line for axes in panels for line in axes.get_lines()}
    legend_in(foot, {name: line for name, line in lines.items() if not name.startswith("_")}, 4)


def _draw_goal(axes: Axes, name: str, goal: GoalRecord, record: TuningRecord) -> None:
    title = f"{called(name)[:1].upper()}{called(name)[1:]}"
    title += f": {title_of(goal.objective, record.statistic)}"
    numbers = np.arange(1, len(goal.history) + 1)
    values = np.array([np.nan if t.value is None else t.value for t in goal.history])
    good = np.array([t.feasible for t in goal.history]) & np.isfinite(values)
    axes.set_xlim(0.0, len(numbers) + 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    known = values[good] if good.any() else values[np.isfinite(values) & (values > 0.0)]
    if good.any():
        title += f", {shown(goal.objective, float(known.max() if goal.maximise else known.min()))}"
    axes.set_title(title, fontsize=10.0)
    if not len(known):
        style.say(axes, "no trial has a value")
        return
    if is_time(goal.objective):
        known = known[known <= _WORTH_SEEING * known.min()]
    value_axis(axes, "y", goal.objective, list(known))
    _draw_trials(axes, goal, numbers, values, good)
    best = np.where(good, values, -np.inf if goal.maximise else np.inf)
    so_far = (np.maximum if goal.maximise else np.minimum).accumulate(best)
    found = np.isfinite(so_far)
    axes.plot(
        numbers[found], so_far[found], color=style.INK, linewidth=1.6, drawstyle="steps-post",
        label="best so far",
    )  # fmt: skip


def _draw_trials(
    axes: Axes, goal: GoalRecord, numbers: IntArray, values: FloatArray, good: BoolArray
) -> None:
    """Draw a mark a trial; those without a value, and far away ones, at the edge."""
    low, high = axes.get_ylim()
    seen = np.isfinite(values) & (values >= low) & (values <= high) & (values > 0.0)
    cut = np.array([trial.metrics.ended is not None for trial in goal.history])
    edge = 0.02 if goal.maximise else 0.98
    kinds: tuple[tuple[BoolArray, str, dict[str, Any]], ...] = (
        (good & ~cut, "violates nothing", _look("o", style.BLUE, 3.5)),
        (good & cut, "ended early: a bound", _look("o", style.BLUE, 4.5) | {"mfc": "white"}),
        (~good, "violates a constraint",
         _look("x", style.RED, 4.0)),
    )  # fmt: skip
    for those, label, look in kinds:
        if not those.any():
            continue
        near, far = those & seen, those & ~seen
        axes.plot(numbers[near], values[near], label=label, **look)
        at_edge = np.full(far.sum(), edge)
        axes.plot(numbers[far], at_edge, transform=axes.get_xaxis_transform(), **look)


def _look(marker: str, color: str, size: float) -> dict[str, Any]:
    return {"linestyle": "", "marker": marker, "color": color, "markersize": size}


def draw_importance(record: TuningRecord, figure: Figure) -> None:
    """Draw each knob's share of what tells the best tenth of the trials from the rest."""
    goals = goals_with_importance(record)
    [axes], foot = with_foot(figure, 1, LINE_IN)
    axes.set_title("Which knobs matter")
    knobs = list(dict.fromkeys(knob for _, goal in goals for knob in goal.importance or {}))
    colors = (style.BLUE, style.GREEN, style.PINK, style.ORANGE)
    height = 0.8 / len(goals)
    bars: dict[str, Artist] = {}
    for number, (name, goal) in enumerate(goals):
        shares = [(goal.importance or {}).get(knob, 0.0) for knob in knobs]
        at = np.arange(len(knobs)) + (number - (len(goals) - 1) / 2.0) * height
        bars[called(name)] = axes.barh(at, shares, 0.9 * height, color=colors[number % 4])[0]
        for y, share in zip(at, shares, strict=True):
            axes.annotate(
                f"{100.0 * share:.0f} %", (share, y), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize=8.5,
            )  # fmt: skip
    axes.set_yticks(range(len(knobs)), knobs)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    style.share_axis(axes, "x")
    axes.set_xlim(0.0, 1.08)
    axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0])
    axes.set_xlabel("share of the importance")
    legend_in(foot, bars, 3)
