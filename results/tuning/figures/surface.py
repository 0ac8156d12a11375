"""The figure of the objective over the knobs that were searched, with the trials on it."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any, TypeGuard

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.tri import Triangulation

from results.arrays import FloatArray
from results.figures import style
from results.figures.labels import Label, place_labels
from results.tuning.device_record import Judged
from results.tuning.figures.axes import color_norm, knob_axis, value_axis
from results.tuning.named import Named, draw_mark, named_settings, tick, title_of
from results.tuning.record import Trial, TuningRecord

_FIRST = ("max_batch_size", "batch_timeout_ms")
_LOGARITHMIC = ("max_batch_size", "max_queue_size")
# What is not on a scale divides the trials into panels.
_KINDS = ("policy", "engine", "captured_batch_sizes")
_USUAL = "default"
_COLUMNS = 3
_TITLE_LETTERS = 26
# A triangle with a longer edge, as a share of the axes, is not supported by its corners.
_LONGEST_EDGE = 0.34
_FEWEST_FOR_MAP = 8
# Between the trials colours are paler than on them.
_PALENESS = 0.5
_MARKED = ("recommended", "nearest", "default", "current", "no delay")


@dataclass(frozen=True)
class Panel:
    """The trials of one policy and engine, and the knobs that vary among them.

    Attributes:
        kind: policy, engine and what it captures, as far as they were searched.
        trials: at least one.
        across, up: the knobs on the axes; None where there are fewer.
        others: knobs that vary too.
    """

    kind: Mapping[str, str]
    trials: Sequence[Trial]
    across: str | None
    up: str | None
    others: tuple[str, ...]

    @property
    def title(self) -> str:
        """What its trials have in common: policy deadline, cudagraph 8+16."""
        policy, engine = self.kind.get("policy"), self.kind.get("engine")
        captured = self.kind.get("captured_batch_sizes", _USUAL)
        words = [] if policy is None else [f"policy {policy}"]
        engines = [word for word in (engine, captured) if word not in {None, _USUAL}]
        if engine is None and captured != _USUAL:
            engines.insert(0, "capturing")
        return ", ".join([*words, *([" ".join(engines)] if engines else [])])


def panels_of(record: TuningRecord) -> list[Panel]:
    """A panel for each policy and engine that was searched."""
    history = record.asked.history
    panels = []
    for kind in dict.fromkeys(map(_kind_of, history)):
        own = [trial for trial in history if _kind_of(trial) == kind]
        varying = [knob for knob in _knobs(own) if knob not in _KINDS and _varies(own, knob)]
        numeric = [knob for knob in varying if all(_is_number(t.knobs.get(knob)) for t in own)]
        numeric.sort(key=lambda knob: _FIRST.index(knob) if knob in _FIRST else len(_FIRST))
        across, up = [*numeric, None, None][:2]
        others = tuple(knob for knob in varying if knob not in (across, up))
        panels.append(Panel(dict(kind), own, across, up, others))
    return panels


def surface_height_in(record: TuningRecord) -> float:
    """How high the figure is, inches."""
    panels = len(panels_of(record))
    return 3.9 if panels < _COLUMNS else 3.4 * -(-panels // _COLUMNS)


def _kind_of(trial: Trial) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(trial.knobs[name])) for name in _KINDS if name in trial.knobs)


def draw_surface(record: TuningRecord, figure: Figure) -> None:
    """Draw a panel per policy and engine: a map where two knobs vary, a curve where one does."""
    panels = panels_of(record)
    columns = min(len(panels), _COLUMNS)
    grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False).flatten()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    asked = record.asked
    values = [t.value for t in asked.history if t.feasible and t.value is not None]
    if not values:
        for axes in grid[1:]:
            axes.set_visible(False)
    norm = color_norm(values or [1.0], maximise=asked.maximise)
    title = title_of(asked.objective, record.statistic)
    title = title[:1].upper() + title[1:]
    if len(panels) > 1:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.0, fontweight="bold")
    mapped: list[Axes] = []
    to_label: list[tuple[Axes, Panel]] = []
    for axes, panel in zip(grid, panels, strict=False):
        own = textwrap.shorten(panel.title.replace("+", " +"), _TITLE_LETTERS, placeholder=" ...")
        axes.set_title(title if len(panels) == 1 else own.replace(" +", "+"))
        if panel.across is None:
            _draw_strip(axes, panel, record)
        elif panel.up is None:
            _draw_curve(axes, panel, record)
            to_label.append((axes, panel))
        else:
            _draw_map(axes, panel, norm, maximise=asked.maximise)
            mapped.append(axes)
            to_label.append((axes, panel))
    if mapped and values:
        _colorbar(figure, mapped, norm, asked.objective, maximise=asked.maximise)
    for axes, panel in to_label:
        _mark(figure, axes, panel, record)


def _draw_map(axes: Axes, panel: Panel, norm: Normalize, *, maximise: bool) -> None:
    """Draw the trials as dots, and between them what lies between their values."""
    assert panel.across is not None  # noqa: S101 - for the type checker; the caller has looked
    assert panel.up is not None  # noqa: S101 - the same
    x, y = _places(panel.trials, panel.across), _places(panel.trials, panel.up)
    for which, knob, at in (("x", panel.across, x), ("y", panel.up, y)):
        knob_axis(axes, which, knob, list(at), log=knob in _LOGARITHMIC)
    axes.grid(visible=False)
    colors = _cmap(maximise=maximise)
    cut = np.array([t.feasible and t.metrics.ended is not None for t in panel.trials])
    good = np.array([t.feasible and t.value is not None for t in panel.trials]) & ~cut
    known = [
        t.value if ok and t.value is not None else np.nan
        for t, ok in zip(panel.trials, good, strict=True)
    ]
    values = np.array(known, dtype=np.float64)
    if not panel.others:
        _draw_between(axes, np.column_stack([x, y]), values, norm, colors)
    axes.plot(
        x[cut], y[cut], "o", color=style.FAINT, markersize=4.0, markerfacecolor="white", zorder=3
    )  # fmt: skip
    bad = ~good & ~cut
    axes.plot(
        x[bad], y[bad], "x", color=style.FAINT, markersize=4.5, markeredgewidth=1.0, zorder=3,
        label="violates a constraint" if bad.any() else None,
    )  # fmt: skip
    order = np.argsort(values[good])[:: 1 if maximise else -1]  # the best are drawn last
    axes.scatter(
        x[good][order], y[good][order], c=values[good][order], norm=norm, cmap=colors, s=22.0,
        edgecolors="white", linewidths=0.6, zorder=4,
    )  # fmt: skip


def _draw_between(
    axes: Axes, places: FloatArray, values: FloatArray, norm: Normalize, colors: str
) -> None:
    """Fill the triangles whose three corners are near each other and violate nothing.

    Args:
        axes: where.
        places: `[N, 2]`.
        values: `[N]`, NaN for a trial that violates something.
        norm: of the values.
        colors: the same.
    """
    unit = np.column_stack([_unit(places[:, 0]), _unit(places[:, 1])])
    _, first = np.unique(unit.round(9), axis=0, return_index=True)
    corners, heights = unit[first], values[first]
    if len(first) < _FEWEST_FOR_MAP or np.linalg.matrix_rank(corners - corners[0]) < 2:
        return
    triangles = Triangulation(corners[:, 0], corners[:, 1]).triangles
    edges = corners[triangles] - np.roll(corners[triangles], 1, axis=1)
    too_far = np.linalg.norm(edges, axis=2).max(axis=1) > _LONGEST_EDGE
    unsupported = too_far | np.isnan(heights[triangles]).any(axis=1)
    if unsupported.all():
        return
    at = places[first]
    mesh = Triangulation(at[:, 0], at[:, 1], triangles, mask=unsupported)
    shown = np.where(np.isnan(heights), np.nanmin(heights), heights)  # those are masked anyway
    pale = ListedColormap(1.0 - _PALENESS * (1.0 - mpl.colormaps[colors](np.linspace(0, 1, 256))))
    axes.tripcolor(
        mesh, shown, norm=norm, cmap=pale, shading="gouraud", zorder=1
    )  # fmt: skip


def _draw_curve(axes: Axes, panel: Panel, record: TuningRecord) -> None:
    """Draw the value against the only knob that varies."""
    assert panel.across is not None  # noqa: S101 - for the type checker; the caller has looked
    x = _places(panel.trials, panel.across)
    knob_axis(axes, "x", panel.across, list(x), log=panel.across in _LOGARITHMIC)
    _value_dots(axes, x, panel.trials, record)
    good = sorted(
        (at, trial.value)
        for at, trial in zip(x, panel.trials, strict=True)
        if trial.feasible and trial.value is not None
    )
    if not panel.others:
        axes.plot(
            *zip(*good, strict=True), color=style.BLUE, linewidth=1.0, zorder=2
        ) if good else None


def _draw_strip(axes: Axes, panel: Panel, record: TuningRecord) -> None:
    """Draw the value of every combination of names, where no number was searched."""
    names = [
        ", ".join(str(value) for knob, value in trial.knobs.items() if knob not in _KINDS)
        for trial in panel.trials
    ]
    places = list(dict.fromkeys(names))
    x = np.array([places.index(name) for name in names], dtype=np.float64)
    _value_dots(axes, x, panel.trials, record)
    only = panel.title or "the only setting"
    axes.set_xticks(range(len(places)), [place or only for place in places])
    axes.set_xlim(-0.6, len(places) - 0.4)
    axes.set_xlabel(", ".join(panel.others or panel.kind))


def _value_dots(axes: Axes, x: FloatArray, trials: Sequence[Trial], record: TuningRecord) -> None:
    known = [t.value for t in record.asked.history if t.value is not None]  # panels are alike
    if not known:
        axes.set_title("")
        style.say(axes, "no setting that was tried has a value")
        return
    value_axis(axes, "y", record.asked.objective, known)
    for good, color, marker, label in (
        (True, style.BLUE, "o", None),
        (False, style.FAINT, "x", "violates a constraint"),
    ):
        own = [
            (at, t.value)
            for at, t in zip(x, trials, strict=True)
            if t.feasible is good and t.value is not None
        ]
        if own:
            axes.plot(
                *zip(*own, strict=True), marker, color=color, markersize=4.5, label=label, zorder=3
            )
            if label:
                style.legend_above(axes, 1)


def _mark(figure: Figure, axes: Axes, panel: Panel, record: TuningRecord) -> None:
    """Mark the settings of note that lie in this panel."""
    labels = []
    for named in reversed(named_settings(record)):  # the recommended one on top
        place = _place_of(named, panel, record)
        wanted = [name for name in named.names if name in _MARKED or name in record.goals]
        if place is None or not wanted:
            continue
        draw_mark(axes, *place, named)
        # In a narrow panel all names of a setting would not fit beside it.
        said = wanted[:1] if len(panels_of(record)) >= _COLUMNS else wanted
        labels.append(Label(*place, ", ".join(said)))
    x_low, x_high = axes.get_xlim()
    avoid: list[tuple[float, float]] = []
    if panel.across is not None and panel.up is not None:
        x, y = _places(panel.trials, panel.across), _places(panel.trials, panel.up)
        avoid = [(float(a), float(b)) for a, b in zip(x, y, strict=True) if x_low <= a <= x_high]
    place_labels(figure, axes, labels[::-1], avoid)


def _place_of(named: Named, panel: Panel, record: TuningRecord) -> tuple[float, float] | None:
    """Where a setting lies in a panel; None if it lies outside, or is not one of its kind."""
    settings = named.judged.settings
    common = {name: _as_searched((record.recommended or {}).get(name)) for name in _KINDS}
    fixed = {k: v for k, v in panel.trials[0].knobs.items() if not _varies(panel.trials, k)}
    wanted = {k: v for k, v in {**common, **fixed}.items() if v is not None}
    if "captured_batch_sizes" not in panel.kind:
        wanted.pop("captured_batch_sizes", None)
    if any(_as_searched(settings.get(knob)) != value for knob, value in wanted.items()):
        return None
    x = _place_on(panel, panel.across, settings)
    if panel.up is not None:
        y = _place_on(panel, panel.up, settings)
    else:
        y = _value_of(named.judged, record)
    return None if x is None or y is None else (x, y)


def _as_searched(value: object) -> object:
    """The value of a setting as a search has it: sizes to capture as 8+16+32."""
    if isinstance(value, list | tuple):
        return "+".join(map(str, value)) or _USUAL
    return value


def _place_on(panel: Panel, knob: str | None, settings: Mapping[str, Any]) -> float | None:
    """Where a setting lies on a knob's axis; None if that does not reach so far."""
    value = None if knob is None else settings.get(knob)
    if knob is None or not _is_number(value):
        return None
    place, seen = _scaled(knob, float(value)), _places(panel.trials, knob)
    return place if seen.min() - 1e-9 <= place <= seen.max() + 1e-9 else None


def _value_of(judged: Judged, record: TuningRecord) -> float | None:
    """The objective that was asked for, of a setting that may have been found for another."""
    if not judged.feasible:
        return None
    known = {
        "latency": judged.metrics.latency_s(record.statistic),
        "device-time": judged.metrics.device_s_per_request,
        "capacity": judged.capacity_rps,
    }
    return known.get(record.asked.objective)


def _colorbar(
    figure: Figure, mapped: list[Axes], norm: Normalize, objective: str, *, maximise: bool
) -> None:
    extend = "min" if maximise else "max"
    bar = figure.colorbar(
        ScalarMappable(norm, _cmap(maximise=maximise)), ax=mapped, shrink=0.9, extend=extend,
        pad=0.02,
    )  # fmt: skip
    if type(norm) is not Normalize:
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(objective, value)))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())


def _cmap(*, maximise: bool) -> str:
    """Yellow for what is good, whichever way that is."""
    return "viridis" if maximise else "viridis_r"


def _knobs(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(knob for trial in trials for knob in trial.knobs))


def _varies(trials: Sequence[Trial], knob: str) -> bool:
    return len({trial.knobs.get(knob) for trial in trials}) > 1


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scaled(knob: str | None, value: float) -> float:
    return log2(value) if knob in _LOGARITHMIC and value > 0.0 else value


def _places(trials: Sequence[Trial], knob: str) -> FloatArray:
    """Where trials lie on the axis of a knob."""
    return np.array([_scaled(knob, float(trial.knobs[knob])) for trial in trials])


def _unit(values: FloatArray) -> FloatArray:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros(len(values))
