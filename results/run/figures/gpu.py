"""The state of the GPUs over the window: power, clock and temperature."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.arrays import FloatArray
from results.figures import style
from results.run.device_metrics import sampled_devices
from results.run.logs import floats, floats_if_any, inside
from results.run.record import Run
from results.run.throttle_reasons import LIMITING

_PANELS = (
    ("gpu_power_w", "power (W)"),
    ("gpu_sm_clock_mhz", "clock (MHz)"),
    ("gpu_temperature_c", "temperature (°C)"),
)
_COLORS = (style.BLUE, style.ORANGE, style.GREEN, style.PINK, style.SKY, style.INK) * 8


def was_sampled(run: Run) -> bool:
    """Return whether there is anything of a GPU to be drawn."""
    return any(len(_series(run, name)) for name, _ in _PANELS)


def draw_gpu(run: Run, figure: Figure) -> None:
    """Draw power, clock and temperature of each GPU, with the times at which it was held down."""
    drawn = [panel for panel in _PANELS if _series(run, panel[0])]
    all_axes = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, label) in zip(all_axes, drawn, strict=True):
        for (device, (at_s, values)), color in zip(
            _series(run, name).items(), _COLORS, strict=False
        ):
            axes.plot(at_s, values, color=color, label=device or "GPU")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0.0)
    clocks = [axes for axes, (name, _) in zip(all_axes, drawn, strict=True) if "clock" in name]
    for axes in clocks:
        _mark_held_down(run, axes)
    all_axes[0].set_title("Power, clock and temperature of the GPU")
    style.window_axis(all_axes[-1], run.record.window_s)
    top = clocks[0] if clocks else all_axes[0]
    if len(top.get_legend_handles_labels()[0]) > 1:
        style.legend_above(top, 4)


def _series(run: Run, name: str) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return times and values of a column inside the window, by device, where there are any."""
    found: dict[str, tuple[FloatArray, FloatArray]] = {}
    for device, rows in sampled_devices(run.telemetry).items():
        at_s, values = floats(rows, "t_s"), floats_if_any(rows, name)
        known = inside(at_s, run.record.window_s) & np.isfinite(values)
        if known.any():
            found[device] = (at_s[known], values[known])
    return found


def _mark_held_down(run: Run, axes: Axes) -> None:
    """Mark at the lower edge the samples in which a clock was held down."""
    label: str | None = "held down"
    for at_s, masks in _series(run, "gpu_throttle_reasons").values():
        limited = (masks.astype("int64") & LIMITING) != 0
        if limited.any():
            axes.plot(
                at_s[limited], 0.03 + 0.0 * at_s[limited], "|", color=style.RED, markersize=7,
                transform=axes.get_xaxis_transform(), label=label,
            )  # fmt: skip
            label = None
