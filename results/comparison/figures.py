"""The figures of a comparison."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from results import format as fmt
from results.arrays import FloatArray
from results.comparison.forest_plot import draw_effects
from results.comparison.observation import METRICS, Observation
from results.comparison.outcome import Outcome
from results.comparison.record import Comparison
from results.comparison.wording import letter
from results.figures import style
from results.run.breakdown import PARTS

FOLDER = "figures"
_WIDTH_IN = 7.6
_ARM_COLORS = (style.BLUE, style.RED, style.GREEN, style.PINK, style.ORANGE, style.SKY)
_SMALLEST_SHARE = 0.005
_WIDEST_TOGETHER = 8.0


@dataclass(frozen=True, slots=True)
class FigureSpec:
    """One figure: its file's name, its height for so many arms, how to read it, what draws it."""

    name: str
    height_in: Callable[[Outcome], float]
    reading: str
    draw: Callable[[Comparison, Figure], None]

    def save(self, comparison: Comparison, path: Path) -> None:
        """Draw the figure and write it as a PNG."""
        with mpl.rc_context(style.RC):
            height = self.height_in(comparison.outcome)
            figure = Figure(figsize=(_WIDTH_IN, height), layout="constrained")
            FigureCanvasAgg(figure)
            self.draw(comparison, figure)
            figure.savefig(path, dpi=style.DPI, format="png")


def _arms(comparison: Comparison) -> list[tuple[str, str]]:
    """Return each arm with its colour, the control first."""
    names = list(comparison.record.arms)
    return [(name, _ARM_COLORS[i % len(_ARM_COLORS)]) for i, name in enumerate(names)]


def _observations(comparison: Comparison, arm: str) -> list[Observation]:
    return [draw[arm] for draw in comparison.draws]


def draw_distributions(comparison: Comparison, figure: Figure) -> None:
    """Draw the survival curve of latency of every arm: all draws together, and each by itself."""
    axes = figure.subplots()
    axes.set_title("Latency, all draws together; each draw thin")
    curves = {
        arm: [o.curve for o in _observations(comparison, arm) if o.curve.shape[1] > 1]
        for arm in comparison.record.arms
    }
    latencies = np.concatenate([c[0] for some in curves.values() for c in some] or [np.empty(0)])
    latencies = latencies[latencies > 0.0]
    if len(latencies) == 0:
        style.say(axes, "no request was answered")
        return
    low, high = float(np.quantile(latencies, 0.002)), float(latencies.max())
    grid = np.geomspace(low, high, 500)
    fewest = 1.0
    for arm, color in _arms(comparison):
        pooled = np.zeros(len(grid))
        for curve in curves[arm]:
            if len(curves[arm]) > 1:
                axes.plot(curve[0], curve[1], color=color, linewidth=0.6, alpha=0.35)
            pooled += np.interp(grid, curve[0], curve[1], left=1.0) / len(curves[arm])
        fewest = min(fewest, float(pooled[pooled > 0.0].min(initial=1.0)))
        name = f"{letter(arm)}: {comparison.record.labels[arm]}"
        axes.plot(
            grid, np.where(pooled > 0.0, pooled, np.nan), color=color, linewidth=2.0, label=name
        )
    for share, name in ((0.5, "p50"), (0.1, "p90"), (0.01, "p99"), (0.001, "p99.9")):
        if share > fewest:
            axes.axhline(share, color=style.FAINT, linewidth=0.8, linestyle=style.DASHED, zorder=0)
            axes.annotate(
                name, (1.0, share), xycoords=("axes fraction", "data"), xytext=(-2, 2),
                textcoords="offset points", ha="right", va="bottom", fontsize=8.0,
                color=style.FAINT,
            )  # fmt: skip
    style.log_time_axis(axes, "x", low, high)
    axes.set_yscale("log")
    axes.set_ylim(max(fewest * 0.7, 1e-5), 1.25)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100.0 * share:g} %"))
    axes.set_xlabel("latency, from the scheduled arrival")
    axes.set_ylabel("requests slower than that")
    figure.legend(loc="outside lower center", ncols=1 if len(curves) > 2 else 2)


def draw_pairs(comparison: Comparison, figure: Figure) -> None:
    """Draw the judged metric of every arm in every draw, the arms of a draw side by side."""
    outcome = comparison.outcome
    metric = METRICS[outcome.metric]
    axes = figure.subplots()
    axes.set_title(f"{metric.label[:1].upper()}{metric.label[1:]} of each draw", pad=10)
    arms = _arms(comparison)
    offsets = np.linspace(-0.16, 0.16, len(arms))
    every: list[float] = []
    any_hollow = False
    for number, draw in enumerate(comparison.draws, 1):
        values = [draw[arm].values[metric.name] for arm, _ in arms]
        heights = [np.nan if value is None else value for value in values]
        every += [value for value in values if value]
        axes.plot(number + offsets, heights, color=style.FAINT, linewidth=1.0, zorder=1)
        for offset, height, (arm, color) in zip(offsets, heights, arms, strict=True):
            hollow = draw[arm].saturated
            any_hollow = any_hollow or hollow
            axes.plot(
                [number + offset], [height], "o", color=color, markersize=6.5, zorder=2,
                markerfacecolor="white" if hollow else color,
            )  # fmt: skip
    if not every:
        style.say(axes, f"{metric.label} was not measured")
        return
    for arm, color in arms:
        axes.plot([], [], "o", color=color, markersize=6.5, label=letter(arm))
    axes.set_xlim(0.4, len(comparison.draws) + 0.6)
    axes.set_xticks(range(1, len(comparison.draws) + 1))
    axes.set_xlabel(
        "draw" + (" (hollow: more load than the arm could serve)" if any_hollow else "")
    )
    axes.grid(visible=False, axis="x")
    if metric.is_latency or metric.name == "device_time":
        style.log_time_axis(axes, "y", min(every), max(every))
    else:
        axes.set_ylim(0.0, 1.15 * max(every))
    axes.set_ylabel(metric.label)
    style.legend_above(axes, len(arms))


def draw_parts(comparison: Comparison, figure: Figure) -> None:
    """Draw where the time of an answered request went, arm beside arm, means over the draws."""
    axes = figure.subplots()
    axes.set_title("Where the time went, on average", pad=26)
    names = [arm for arm, _ in reversed(_arms(comparison))]
    means = {
        arm: {
            part: float(np.mean([o.parts_s[part] for o in _observations(comparison, arm)]))
            for part in PARTS
        }
        for arm in names
    }
    totals = {arm: sum(parts.values()) for arm, parts in means.items()}
    widest = max(totals.values())
    if widest <= 0.0:
        style.say(axes, "no request was answered")
        return
    as_shares = min(totals.values()) < widest / _WIDEST_TOGETHER
    for height, arm in enumerate(names):
        unit = max(totals[arm], 1e-12) / widest if as_shares else 1.0
        _parts_bar(axes, height, means[arm], unit, widest)
    axes.set_yticks(range(len(names)), [letter(arm) for arm in names])
    axes.set_ylim(-0.5, len(names) - 0.5)
    axes.set_xlim(0.0, 1.14 * widest)
    axes.grid(visible=False, axis="y")
    if as_shares:
        axes.set_xticks([share * widest for share in (0.0, 0.25, 0.5, 0.75, 1.0)])
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{100 * value / widest:g} %")
        )
    else:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: fmt.tick(value)))
    axes.set_xlabel(("share of the " if as_shares else "") + "mean latency of answered requests")
    shown = [
        part
        for part in PARTS
        if max(means[arm][part] / max(totals[arm], 1e-12) for arm in names) >= _SMALLEST_SHARE
    ]
    axes.legend(
        handles=[Patch(color=style.PART_COLORS[part], label=part) for part in shown],
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(PARTS), borderaxespad=0.2,
        columnspacing=1.3, handletextpad=0.5,
    )  # fmt: skip


def _parts_bar(
    axes: Axes, height: int, parts_s: Mapping[str, float], unit_s: float, widest: float
) -> None:
    """Draw one arm's parts, each wide one labelled with its time, the sum behind them."""
    left = 0.0
    for part, seconds in parts_s.items():
        color, width = style.PART_COLORS[part], seconds / unit_s
        axes.barh(height, width, left=left, height=0.62, color=color)
        if width >= 0.09 * widest:
            axes.text(
                left + width / 2.0, height, fmt.duration(seconds), ha="center", va="center",
                color=style.ink_on(color), fontsize=8.5,
            )  # fmt: skip
        left += width
    axes.annotate(
        fmt.duration(sum(parts_s.values())), (left, height), xytext=(5, 0),
        textcoords="offset points", ha="left", va="center", fontsize=8.5,
    )  # fmt: skip


def draw_batch_sizes(comparison: Comparison, figure: Figure) -> None:
    """Draw the share of requests that were served in batches of each size, arm above arm."""
    arms = _arms(comparison)
    panels = figure.subplots(len(arms), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    histograms = {arm: _sizes(_observations(comparison, arm)) for arm, _ in arms}
    largest = max((len(sizes) for sizes in histograms.values()), default=1) - 1
    step = -(-max(largest, 1) // 64)
    edges = np.arange(0, max(largest, 1) + step, step) + 0.5
    for axes, (arm, color) in zip(panels, arms, strict=True):
        sizes = histograms[arm]
        requests = sizes * np.arange(len(sizes))
        total = float(requests.sum())
        if total == 0.0:
            style.say(axes, "no batch was dispatched", keep_x=True)
            continue
        share, _ = np.histogram(np.arange(len(sizes)), edges, weights=requests / total)
        axes.bar(edges[:-1] + step / 2.0, share, width=0.86 * step, color=color)
        mean = total / float(sizes.sum())
        axes.set_title(
            f"{letter(arm)}: {comparison.record.labels[arm]}; mean size {fmt.number(mean)}",
            fontsize=9.5,
        )
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100.0 * value:g} %"))
    panels[-1].set_xlim(0.5 - 0.2 * step, edges[-1] + 0.2 * step)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    panels[-1].set_xlabel("requests in the batch")
    figure.supylabel("share of the requests", fontsize=9.0, color=style.INK)


def _sizes(observations: Sequence[Observation]) -> FloatArray:
    """Return the number of batches of each size, from 0 on."""
    pairs = [
        (int(size), count)
        for observation in observations
        for size, count in observation.metrics.batch.histogram.items()
    ]
    tally = np.zeros(max((size for size, _ in pairs), default=0) + 1)
    for size, count in pairs:
        tally[size] += count
    return tally


FIGURES = (
    FigureSpec(
        "effects",
        lambda outcome: 0.9 + sum(0.5 + 0.31 * len(c.effects) for c in outcome.challengers),
        "A bar that stays clear of the line is a difference, one inside the grey band is none that "
        "matters, one that does neither leaves it open. Dots are single draws; the metric in bold "
        "decides.",
        draw_effects,
    ),
    FigureSpec(
        "latency_distributions",
        lambda outcome: 3.6 + 0.2 * len(outcome.challengers),
        "The curve further left is faster; where curves cross, one arm is faster for most requests "
        "and slower for the tail. Thin lines that scatter widely show what one draw is worth.",
        draw_distributions,
    ),
    FigureSpec(
        "pairs",
        lambda _: 3.0,
        "Arms of one draw had the same arrivals: lines that all fall, or all rise, are the effect; "
        "the height they lie at is the luck of the draw.",
        draw_pairs,
    ),
    FigureSpec(
        "where_the_time_went",
        lambda outcome: 1.5 + 0.5 * (1 + len(outcome.challengers)),
        "Forming is waiting that the batch timeout causes, while a worker was free; queued is "
        "waiting because every worker was busy.",
        draw_parts,
    ),
    FigureSpec(
        "batch_sizes",
        lambda outcome: 0.8 + 1.25 * (1 + len(outcome.challengers)),
        "Weighted by requests: how large the batch was that a request found itself in.",
        draw_batch_sizes,
    ),
)


def save_figures(comparison: Comparison) -> dict[str, Path]:
    """Write every figure to `figures/<name>.png` in the folder; return where, by name."""
    folder = comparison.path / FOLDER
    folder.mkdir(exist_ok=True)
    paths = {spec.name: folder / f"{spec.name}.png" for spec in FIGURES}
    for spec in FIGURES:
        spec.save(comparison, paths[spec.name])
    return paths
