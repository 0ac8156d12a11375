"""The figure of batch sizes."""

import numpy as np
from matplotlib.figure import Figure

from results import format as fmt
from results.figures import style
from results.run.logs import floats, inside
from results.run.record import Run

_MOST_BARS = 64


def draw_batch_sizes(run: Run, figure: Figure) -> None:
    """Draw how many batches there were of each size, coloured by why they went."""
    axes = figure.subplots()
    axes.set_title("Batch sizes, by the reason they were dispatched")
    taken = run.batches[inside(floats(run.batches, "taken_s"), run.record.window_s)]
    if len(taken) == 0:
        style.say(axes, "no batch was dispatched")
        return
    sizes = np.asarray(taken["size"], dtype=np.int64)
    limit = int(taken["limit"].max())
    largest = max(int(sizes.max()), limit)
    step = -(-largest // _MOST_BARS)
    edges = np.arange(0, largest + step, step) + 0.5
    bottom = np.zeros(len(edges) - 1)
    for reason, color in _colors(taken["reason"].value_counts().index.tolist()):
        number, _ = np.histogram(sizes[np.asarray(taken["reason"] == reason)], edges)
        axes.bar(
            edges[:-1] + step / 2.0, number, width=0.86 * step, bottom=bottom, color=color,
            label=reason,
        )  # fmt: skip
        bottom += number
    mean = float(sizes.mean())
    axes.axvline(mean, color=style.INK, linewidth=1.0, linestyle=style.DASHED)
    near_right = mean > 0.8 * largest
    axes.annotate(
        f"mean {fmt.number(mean)}", (mean, 1.0), xycoords=("data", "axes fraction"), va="top",
        xytext=(-5 if near_right else 5, -2), textcoords="offset points",
        ha="right" if near_right else "left", fontsize=8.5,
        bbox=style.label_box(),
    )  # fmt: skip
    axes.set_xlim(0.5 - 0.2 * step, edges[-1] + 0.2 * step)
    style.count_axis(axes)
    axes.set_ylim(0.0, 1.15 * float(bottom.max()))
    axes.grid(visible=False, axis="x")
    axes.set_xticks(_ticks(largest))
    axes.set_xlabel(f"requests in the batch (max_batch_size {limit})")
    axes.set_ylabel("batches")
    style.legend_above(axes, 6)


def _ticks(largest: int) -> list[int]:
    """Return 1 and the multiples of a power of two, some ten ticks in all."""
    step = 1
    while largest / step > 12:
        step *= 2
    return sorted({1, *range(step, largest + 1, step)})


def _colors(reasons: list[str]) -> list[tuple[str, str]]:
    """Pair each reason with its colour, the most frequent reason first."""
    others = [reason for reason in reasons if reason not in style.REASON_COLORS]
    free = {r: style.OTHER_REASONS[i % len(style.OTHER_REASONS)] for i, r in enumerate(others)}
    return [(reason, (style.REASON_COLORS | free)[reason]) for reason in reasons]
