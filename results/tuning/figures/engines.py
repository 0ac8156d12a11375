"""The engines that were searched: how fast each is, what making it takes, and its best setting."""

from collections.abc import Sequence
from math import log2

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results import format as fmt
from results.figures import style
from results.page import Table
from results.tuning.figures.axes import knob_axis
from results.tuning.named import label_of, shown
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


def engines_table(record: TuningRecord) -> Table:
    """Return each engine with its best setting, the one that leads in bold."""
    objective = record.asked.objective
    rows = [[one.engine, *_speed(one), *_best(one, objective)] for one in record.engines]
    bold = _leader(record.engines, maximise=record.asked.maximise)
    memory = any(one.engine_bytes is not None for one in record.engines)
    head = ["engine", "fastest", "batch of 1", "start", *(["graphs"] if memory else [])]
    if not memory:
        rows = [[*row[:4], *row[5:]] for row in rows]
    return Table(
        [*head, "best setting", objective],
        rows,
        frozenset() if bold is None else frozenset((bold,)),
        ["Start: loading, making the engine, and warming every batch size up once."],
    )


def _speed(engine: EngineRecord) -> list[str]:
    if not engine.rates_rps:
        return ["not measured"] + [""] * 3
    alone_s = 1.0 / engine.rates_rps[1] if 1 in engine.rates_rps else None
    return [
        f"{fmt.rate(engine.peak_rps)} at {engine.peak_batch_size}",
        fmt.duration(alone_s),
        fmt.duration(engine.cold_start_s),
        "" if engine.engine_bytes is None else fmt.size(engine.engine_bytes),
    ]


def _best(engine: EngineRecord, objective: str) -> list[str]:
    if engine.best is None:
        return ["none does what was asked", ""]
    return [label_of(engine.best), shown(objective, engine.best.value)]


def _leader(engines: Sequence[EngineRecord], *, maximise: bool) -> int | None:
    """The number of the engine whose best setting is the best of all."""
    sign = -1.0 if maximise else 1.0
    values = {
        number: sign * one.best.value
        for number, one in enumerate(engines)
        if one.best is not None and one.best.value is not None
    }
    return min(values, key=lambda number: values[number], default=None)
