"""The main figure of a comparison: each metric's ratio to the control, with its interval."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results import format as fmt
from results.comparison.observation import METRICS
from results.comparison.outcome import MetricEffect
from results.comparison.record import Comparison
from results.comparison.wording import letter
from results.figures import style
from results.figures.ratio_axis import ratio_axis
from results.statistics.paired import Verdict

_VERDICT_COLORS = {
    Verdict.BETTER: style.GREEN,
    Verdict.WORSE: style.RED,
    Verdict.DIFFERENT: style.BLUE,
    Verdict.EQUIVALENT: style.INK,
    Verdict.INCONCLUSIVE: style.FAINT,
}


def draw_effects(comparison: Comparison, figure: Figure) -> None:
    """Draw each metric's ratio to the control with its interval, and the ratio of every draw."""
    outcome = comparison.outcome
    panels = figure.subplots(len(outcome.challengers), 1, squeeze=False, sharex=True)[:, 0]
    known = [
        effect
        for challenger in outcome.challengers
        for effect in challenger.effects
        if effect.ratio is not None
    ]
    low, high = _extent(known, outcome.margin)
    for axes, challenger in zip(panels, outcome.challengers, strict=True):
        b, a = letter(challenger.arm), letter(outcome.control)
        axes.set_title(f"{b} against {a}")
        axes.axvspan(
            -np.log1p(outcome.margin), np.log1p(outcome.margin), color=style.GRID, zorder=0
        )
        axes.axvline(0.0, color=style.INK, linewidth=1.0, zorder=1)
        effects = challenger.effects
        for row, effect in enumerate(effects):
            _effect_row(axes, len(effects) - 1 - row, effect, judged=effect is challenger.judged)
        axes.set_xlim(low, high)
        axes.set_ylim(-0.6, len(effects) - 0.4)
        names = [METRICS[effect.metric].label for effect in reversed(effects)]
        axes.set_yticks(range(len(effects)), names)
        axes.get_yticklabels()[len(effects) - 1 - effects.index(challenger.judged)].set_fontweight(
            "bold"
        )
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    ratio_axis(panels[-1], low, high)
    margin = fmt.percent(outcome.margin)
    confidence = fmt.percent(1.0 - outcome.level)
    panels[-1].set_xlabel(
        f"change against {letter(outcome.control)}; bars: {confidence} intervals, "
        f"grey: within the margin of {margin}"
    )


def _extent(effects: Sequence[MetricEffect], margin: float) -> tuple[float, float]:
    """Return the limits of the axis of log ratios, with room for the verdicts on the right."""
    ends = [0.0, -2.0 * np.log1p(margin), 2.0 * np.log1p(margin)]
    for effect in effects:
        ends += [*effect.log_ratios, np.log(effect.low or 1.0), np.log(effect.high or 1.0)]
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low)
    return low - room, high + room


def _effect_row(axes: Axes, height: float, effect: MetricEffect, *, judged: bool) -> None:
    color = _VERDICT_COLORS[effect.verdict]
    axes.annotate(
        effect.verdict, (1.0, height), xycoords=("axes fraction", "data"), xytext=(6, 0),
        textcoords="offset points", ha="left", va="center", color=color, fontsize=8.5,
        fontweight="bold" if judged else "normal", annotation_clip=False,
    )  # fmt: skip
    if effect.ratio is None or effect.low is None or effect.high is None:
        axes.annotate(
            "no ratio is given", (0.0, height), xytext=(6, 0), textcoords="offset points",
            va="center", color=style.FAINT, fontsize=8.5, bbox=style.label_box(),
        )  # fmt: skip
        return
    axes.plot(
        effect.log_ratios, np.full(len(effect.log_ratios), height - 0.27), "o", color=style.FAINT,
        markersize=3.0, alpha=0.6, markeredgewidth=0, zorder=2,
    )  # fmt: skip
    ends = np.log([effect.low, effect.high])
    axes.plot(ends, [height, height], color=color, linewidth=3.2 if judged else 2.0, zorder=3)
    axes.plot(
        [np.log(effect.ratio)], [height], "D" if judged else "o", color=color, zorder=4,
        markersize=7.0 if judged else 5.5, markeredgecolor="white", markeredgewidth=0.8,
    )  # fmt: skip
