"""Labels of marks in a figure that do not lie on each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, hypot, pi, sin
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from results.arrays import FloatArray
from results.figures import style

_FONT = 8.5
_MARK_POINTS = 7.0
_RADII_POINTS = (9.0, 18.0, 30.0, 46.0, 66.0, 92.0)
_DIRECTIONS = 16
_JOINED_FROM_POINTS = 11.0


@dataclass(frozen=True, slots=True)
class Label:
    """A text that belongs to a point, in the coordinates of the data."""

    x: float
    y: float
    text: str


def place_labels(
    figure: Figure, axes: Axes, labels: Sequence[Label], avoid: Sequence[tuple[float, float]] = ()
) -> None:
    """Put each label near its mark, where it covers no mark, no other label and few points.

    Tried are positions around the mark, the near ones first; a label that ends up further away gets
    a thin line to its mark. Limits and scales of the axes have to be final.

    Args:
        figure: what the axes are in.
        axes: where.
        labels: what to place; the first have the choice.
        avoid: points that would rather be seen, in the coordinates of the data.
    """
    figure.draw_without_rendering()  # so that the axes lie where they will
    canvas = cast("FigureCanvasAgg", figure.canvas)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    scale = figure.dpi / 72.0
    room = axes.get_window_extent(renderer)
    marks = [_square(axes, label.x, label.y, _MARK_POINTS * scale) for label in labels]
    points = axes.transData.transform(np.array(avoid, dtype=np.float64).reshape(-1, 2))
    placed: list[Bbox] = []
    for label, mark in zip(labels, marks, strict=True):
        note = axes.annotate(
            label.text, (label.x, label.y), xytext=(0, 0), textcoords="offset points",
            ha="center", va="center", fontsize=_FONT, color=style.INK, zorder=9,
            bbox=style.label_box(), annotation_clip=False,
        )  # fmt: skip
        note.set_in_layout(False)
        size = note.get_window_extent(renderer)
        best = min(
            _around(mark, size, scale),
            key=lambda box: _cost(box, mark, room, [*placed, *marks], points),
        )
        placed.append(best)
        note.set_position(_offset(mark, best, scale))
        _join(axes, label, mark, best, scale)


def _offset(mark: Bbox, box: Bbox, scale: float) -> tuple[float, float]:
    """From the middle of one box to that of the other, points."""
    dx = (box.x0 + box.x1 - mark.x0 - mark.x1) / 2.0
    dy = (box.y0 + box.y1 - mark.y0 - mark.y1) / 2.0
    return dx / scale, dy / scale


def _join(axes: Axes, label: Label, mark: Bbox, box: Bbox, scale: float) -> None:
    """Draw a line from a mark to its label, if that is far away."""
    x, y = (mark.x0 + mark.x1) / 2.0, (mark.y0 + mark.y1) / 2.0
    dx = (min(max(x, box.x0), box.x1) - x) / scale
    dy = (min(max(y, box.y0), box.y1) - y) / scale
    if hypot(dx, dy) <= _JOINED_FROM_POINTS:
        return
    line = axes.annotate(
        "", (label.x, label.y), xytext=(dx, dy), textcoords="offset points", zorder=7,
        arrowprops={
            "arrowstyle": "-", "color": style.FAINT, "linewidth": 0.7, "shrinkA": 0.0,
            "shrinkB": 4.0,
        },
    )  # fmt: skip
    line.set_in_layout(False)


def _square(axes: Axes, x: float, y: float, half: float) -> Bbox:
    middle_x, middle_y = axes.transData.transform((x, y))
    return Bbox.from_extents(middle_x - half, middle_y - half, middle_x + half, middle_y + half)


def _around(mark: Bbox, size: Bbox, scale: float) -> Iterator[Bbox]:
    """Boxes of a label's size around a mark, right and left of it first."""
    x, y = (mark.x0 + mark.x1) / 2.0, (mark.y0 + mark.y1) / 2.0
    half_w, half_h = size.width / 2.0, size.height / 2.0
    for radius in _RADII_POINTS:
        for step in range(_DIRECTIONS):
            angle = 2.0 * pi * step / _DIRECTIONS
            cx = x + cos(angle) * (radius * scale + half_w)
            cy = y + sin(angle) * (radius * scale + half_h)
            yield Bbox.from_extents(cx - half_w, cy - half_h, cx + half_w, cy + half_h)


def _cost(box: Bbox, mark: Bbox, room: Bbox, taken: Sequence[Bbox], points: FloatArray) -> float:
    """How bad a place is; a label outside the axes or over another is worse than any distance."""
    inside = room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1
    over = sum(box.overlaps(other) for other in taken)
    hidden = int(((points >= box.min) & (points <= box.max)).all(axis=1).sum())
    far = hypot(*_offset(mark, box, 1.0))
    return 1e6 * (not inside) + 1e5 * over + 30.0 * hidden + far
