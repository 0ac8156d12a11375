"""Figures over time: arrivals and latency, requests in the system, use of the device."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results import format as fmt
from results.arrays import FloatArray
from results.figures import style
from results.run.device_metrics import sampled_devices
from results.run.intervals import busy_between
from results.run.logs import floats, has_status, inside
from results.run.metrics import counted, latencies
from results.run.queue_length import in_system, waiting
from results.run.record import Run, whole_number

_MOST_POINTS = 4000


def draw_arrivals_and_latency(run: Run, figure: Figure) -> None:
    """Draw the rate of arrivals above, the latency of requests by their arrival below."""
    window_s = run.record.window_s
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.0, 1.7))
    # Wide enough for some arrivals each: at a low rate a narrow bin shows single requests.
    edges = style.bins(window_s, 0.05, min(640, max(1, len(run.requests) // 4)))
    arrivals, _ = np.histogram(_scheduled(run), edges)
    rate = arrivals / np.diff(edges)
    style.area(above, edges, rate, color=style.BLUE)
    width_ms = 1e3 * (edges[1] - edges[0])
    above.set_title(f"Arrivals, and latency by time of arrival ({width_ms:.0f} ms bins)")
    above.set_ylabel("arrivals (req/s)")
    style.count_axis(above)
    _latency_over_time(run, below, edges)
    style.window_axis(below, window_s)


def _scheduled(run: Run) -> FloatArray:
    scheduled = floats(run.requests, "scheduled_s")
    return scheduled[inside(scheduled, run.record.window_s)]


def _latency_over_time(run: Run, axes: Axes, edges: FloatArray) -> None:
    rows = counted(run.requests, run.record.window_s)
    at = floats(run.requests, "scheduled_s")[rows]
    latency = latencies(run.requests)[rows]
    axes.set_ylabel("latency")
    if len(latency) == 0:
        style.say(axes, "no request was answered", keep_x=True)
        _mark_unanswered(run, axes)
        return
    few = style.sampled(latency, _MOST_POINTS)
    axes.plot(
        at[few], latency[few], ".", color=style.FAINT, markersize=3.0, alpha=0.5, zorder=1,
        markeredgewidth=0,
    )  # fmt: skip
    name = "each request" if len(few) == len(latency) else "some of the requests"
    axes.plot([], [], ".", color=style.FAINT, markersize=6.0, markeredgewidth=0, label=name)
    for per_mille, name, color in ((500, "p50", style.SKY), (990, "p99", style.BLUE)):
        values = _percentile_per_bin(at, latency, edges, per_mille)
        style.stairs(axes, edges, values, color=color, label=f"{name} per bin")
    style.log_time_axis(axes, "y", _low(latency), float(latency.max()))
    limit_s = run.slo_latency_s
    if limit_s is not None and limit_s < axes.get_ylim()[1]:
        label = f"SLO {fmt.duration(limit_s)}"
        axes.axhline(limit_s, color=style.INK, linewidth=1.0, linestyle=style.DASHED, label=label)
    _mark_unanswered(run, axes)
    style.legend_above(axes, 7)


def _low(latency: FloatArray) -> float:
    positive = latency[latency > 0.0]
    return float(positive.min()) if len(positive) else 1e-6


def _mark_unanswered(run: Run, axes: Axes) -> None:
    """Mark at the lower edge when the requests were due that did not end ok."""
    at = floats(run.requests, "scheduled_s")
    for status, color in style.STATUS_COLORS.items():
        times = at[has_status(run.requests, status) & inside(at, run.record.window_s)]
        if len(times):
            times = times[style.sampled(times, _MOST_POINTS)]
            axes.plot(
                times, np.full(len(times), 0.02), "|", transform=axes.get_xaxis_transform(),
                color=color, markersize=7, label=status,
            )  # fmt: skip


def _percentile_per_bin(
    at: FloatArray, values: FloatArray, edges: FloatArray, per_mille: int
) -> FloatArray:
    """Return the nearest-rank percentile of the values within each bin, NaN where it is empty."""
    which = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, len(edges) - 2)
    order = np.lexsort((values, which))
    number = np.bincount(which, minlength=len(edges) - 1)
    first = np.cumsum(number) - number
    rank = -(-number * per_mille // 1000)
    chosen = np.minimum(first + np.maximum(rank, 1) - 1, len(values) - 1)
    return np.where(number > 0, values[order][chosen], np.nan)


def draw_in_system(run: Run, figure: Figure) -> None:
    """Draw how many requests were in the system and how many of them waited, peaks per bin."""
    axes = figure.subplots()
    edges = style.bins(run.record.window_s, 0.01, 900)
    present = in_system(run.requests).peaks(edges)
    queue = waiting(run.requests).peaks(edges)
    style.area(axes, edges, present, color=style.BLUE, label="in the system")
    style.stairs(axes, edges, queue, color=style.ORANGE, label="waiting for a batch")
    axes.set_title("Requests in the system")
    axes.set_ylabel("requests (peak per bin)")
    style.count_axis(axes)
    style.window_axis(axes, run.record.window_s)
    style.legend_above(axes, 2)


def draw_utilization(run: Run, figure: Figure) -> None:
    """Draw the busy fraction of the device per bin, with CPU use and NVML's reading beside it."""
    axes = figure.subplots()
    window_s = run.record.window_s
    edges = style.bins(window_s, 0.1, 320)
    busy = _busy_per_bin(run, edges)
    if busy is not None:
        style.area(axes, edges, busy, color=style.BLUE, label="device busy")
    cores = whole_number(run.record.environment, "cores")
    if cores is not None:
        name = f"process CPU, of {cores} cores" if cores > 1 else "process CPU, of 1 core"
        use = floats(run.telemetry, "process_cpu_cores") / cores
        _sampled_line(run.telemetry, axes, use, label=name, color=style.ORANGE)
    for name, rows in sampled_devices(run.telemetry).items():
        label = f"NVML utilisation, {name}" if len(run.devices.names) > 1 else "NVML utilisation"
        _sampled_line(rows, axes, floats(rows, "gpu_utilization"), label=label, color=style.GREEN)
    axes.set_title("Use of the device")
    if not axes.get_legend_handles_labels()[0]:
        style.say(axes, "not measured")
        return
    axes.set_ylabel("share of the time")
    style.share_axis(axes, "y")
    style.window_axis(axes, window_s)
    style.legend_above(axes, 3)


def _busy_per_bin(run: Run, edges: FloatArray) -> FloatArray | None:
    covered = busy_between(run.batches, run.devices, edges)
    return None if covered is None else covered / (np.diff(edges) * len(run.devices.names))


def _sampled_line(
    samples: pd.DataFrame, axes: Axes, share: FloatArray, *, label: str, color: str
) -> None:
    measured = np.isfinite(share)
    if measured.any():
        at = floats(samples, "t_s")[measured]
        axes.plot(at, np.clip(share[measured], 0.0, 1.0), color=color, label=label)
