"""Figures of latency: its distribution, and where the time went."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from results import format as fmt
from results.arrays import FloatArray
from results.figures import style
from results.run.breakdown import PARTS, breakdown
from results.run.metrics import counted, latencies, percentile
from results.run.record import Run

_MARKED = ((500, "p50"), (900, "p90"), (950, "p95"), (990, "p99"), (999, "p99.9"))
_NARROWEST_LABEL = 0.085
_FEW = 100


def draw_distribution(run: Run, figure: Figure) -> None:
    """Draw the share of requests that took longer than a time, over that time, both logarithmic."""
    axes = figure.subplots()
    axes.set_title("Latency of answered requests")
    latency = np.sort(latencies(run.requests)[counted(run.requests, run.record.window_s)])
    number = len(latency)
    if number == 0:
        style.say(axes, "no request was answered")
        return
    slower = 1.0 - np.arange(number) / number
    keep = _visible(number)
    dots = "o" if number <= _FEW else None
    axes.step(
        latency[keep], slower[keep], where="pre", color=style.BLUE, linewidth=1.6, marker=dots,
        markersize=3.5,
    )  # fmt: skip
    for per_mille, name in _MARKED:
        value = percentile(latency, per_mille)
        if value is not None and number * (1000 - per_mille) >= 1000:
            _mark(axes, value, 1.0 - per_mille / 1000.0, f"{name}  {fmt.duration(value)}")
    low = float(latency[latency > 0.0][0]) if latency[-1] > 0.0 else 1e-6
    high = float(latency[-1])
    style.log_time_axis(axes, "x", low, high * max(1.3, (high / low) ** 0.18))  # room for labels
    axes.set_yscale("log")
    axes.set_ylim(min(0.7 / number, 0.05), 1.25)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100.0 * share:g} %"))
    axes.set_xlabel("latency, from the scheduled arrival")
    axes.set_ylabel("requests slower than that")
    if run.slo_latency_s is not None:
        _mark_slo(axes, run.slo_latency_s)


def _mark_slo(axes: Axes, limit_s: float) -> None:
    axes.axvline(limit_s, color=style.INK, linewidth=1.0, linestyle=style.DASHED)
    axes.annotate(
        f"SLO {fmt.duration(limit_s)}", (limit_s, 0.0), xycoords=("data", "axes fraction"),
        xytext=(-4, 5), textcoords="offset points", ha="right", fontsize=8.5, annotation_clip=True,
    )  # fmt: skip


def _visible(number: int) -> style.IntArray:
    """Return ranks that draw the same curve as all of them would: fewer where they lie dense."""
    if number <= 4000:
        return np.arange(number)
    body = np.linspace(0, number - 1, 2000)
    tail = number - np.geomspace(1, number, 2000)
    return np.unique(np.concatenate((body, tail)).astype(np.int64))


def _mark(axes: Axes, value: float, share: float, text: str) -> None:
    axes.plot([value], [share], "o", color=style.RED, markersize=4.5, zorder=3)
    axes.annotate(
        text, (value, share), xytext=(7, 6), textcoords="offset points", ha="left", va="center",
        fontsize=8.5, bbox=style.label_box(),
    )  # fmt: skip


def draw_parts(run: Run, figure: Figure) -> None:
    """Draw which share of the latency each part made up, for all requests and the slowest 1 %."""
    axes = figure.subplots()
    axes.set_title("Where the time went", pad=26)
    rows = counted(run.requests, run.record.window_s)
    latency = latencies(run.requests)[rows]
    if len(latency) == 0 or latency.max() <= 0.0:
        style.say(axes, "no request was answered")
        return
    parts = breakdown(run.requests, run.batches, run.replicas)[list(PARTS)].to_numpy()[rows]
    slowest = np.argsort(latency, kind="stable")[-max(1, -(-len(latency) // 100)) :]
    groups = (("the slowest 1 %", parts[slowest]), ("all answered requests", parts))
    for height, (name, group) in enumerate(groups):
        _stack(axes, height, np.clip(group.mean(axis=0), 0.0, None))
        mean = fmt.duration(float(group.sum(axis=1).mean()))
        axes.text(0.0, height + 0.36, f"{name}, mean {mean}", ha="left", va="bottom")
    axes.set_ylim(-0.4, 1.75)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    style.share_axis(axes, "x")
    axes.set_xlabel("share of the latency")
    axes.legend(
        handles=[Patch(color=style.PART_COLORS[name], label=name) for name in PARTS],
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(PARTS), borderaxespad=0.2,
        columnspacing=1.3, handletextpad=0.5,
    )  # fmt: skip


def _stack(axes: Axes, height: float, means: FloatArray) -> None:
    """Draw one bar of shares, each wide one labelled with its time."""
    left = 0.0
    total = float(means.sum())
    for name, mean in zip(PARTS, means, strict=True):
        share = float(mean) / total
        color = style.PART_COLORS[name]
        axes.barh(height, share, left=left, height=0.62, color=color)
        if share >= _NARROWEST_LABEL:
            axes.text(
                left + share / 2.0, height, fmt.duration(float(mean)), ha="center", va="center",
                color=style.ink_on(color), fontsize=8.5,
            )  # fmt: skip
        left += share
