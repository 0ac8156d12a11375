"""An axis of ratios, to scale by their logarithms."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

_FINE = (0.1, 0.2, 0.33, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)


_COARSE = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


_DECADES = tuple(10.0**power for power in range(-9, 10))


def ratio_axis(axes: Axes, low: float, high: float, which: str = "x") -> None:
    """Label an axis of log ratios with changes in per cent, or with factors where it is wide."""
    span = high - low
    if span > np.log(6.0):
        factors = _FINE if span < np.log(30.0) else _COARSE if span < np.log(3000.0) else _DECADES
        ticks = [np.log(factor) for factor in factors]
        texts = [f"× {factor:g}" for factor in factors]
    else:
        located = MaxNLocator(nbins=7, steps=[1, 2, 5, 10]).tick_values(
            100.0 * np.expm1(low), 100.0 * np.expm1(high)
        )
        changes = [change for change in located if change > -100.0]
        ticks = [np.log1p(change / 100.0) for change in changes]
        texts = [f"{change:+g} %" if abs(change) > 1e-9 else "0" for change in changes]
    shown = [(t, text) for t, text in zip(ticks, texts, strict=True) if low <= t <= high]
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks([t for t, _ in shown], labels=[text for _, text in shown])
