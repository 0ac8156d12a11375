"""The engines that were searched: how fast each is, what making it takes, and its best setting."""

from math import log2

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.figures import style
from results.tuning.figures.axes import knob_axis
from results.tuning.record import EngineRecord, TuningRecord

_COLORS = (style.BLUE, style.ORANGE, style.GREEN, style.PINK, style.SKY, style.RED)


def draw_engines(record: TuningRecord, figure: Figure) -> None:
    """Draw requests per second in full batches against the batch size, a line an engine."""
    axes = figure.subplots()
    axes.set_title("Throughput in full batches")
    timed = [one for one in record.engines if one.rates_rps]
    places = [log2(size) for one in timed for size in one.rates_rps]
    knob_axis(axes, "x", "batch size", places, log=True)
    for number, one in enumerate(timed):
        _draw_engine(axes, one, _COLORS[number % len(_COLORS)])
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel("requests per second")
    style.legend_above(axes, 3)


def _draw_engine(axes: Axes, engine: EngineRecord, color: str) -> None:
    sizes = sorted(engine.rates_rps)
    rates_rps = [engine.rates_rps[size] for size in sizes]
    x = np.log2(sizes)
    axes.plot(x, rates_rps, "-o", color=color, markersize=2.5, label=engine.engine)
    best = None if engine.best is None else engine.best.settings.get("max_batch_size")
    if isinstance(best, int) and sizes[0] <= best <= sizes[-1]:
        at = float(np.interp(log2(best), x, rates_rps))
        axes.plot(
            [log2(best)], [at], "*", color=color, markersize=15.0, markeredgecolor="white",
            markeredgewidth=1.0, zorder=5,
        )  # fmt: skip
