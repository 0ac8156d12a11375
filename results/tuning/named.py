"""The settings that have a name, and how each is marked in every figure."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from results.figures import style
from results.tuning.record import Judged, TuningRecord

RECOMMENDED, NEAREST = "recommended", "nearest"
# By name: what it is called on the page, its colour and its marker.
_MARKS = {
    RECOMMENDED: ("recommended", style.RED, "*"),
    NEAREST: ("the nearest to what was asked", style.RED, "D"),
    "fastest": ("fastest", style.BLUE, "^"),
    "cheapest": ("cheapest within the SLO", style.GREEN, "v"),
    "most capacity": ("most capacity within the SLO", style.PINK, "s"),
    "current": ("current", style.ORANGE, "P"),
    "default": ("default", style.INK, "o"),
    "plain": ("plain", style.SKY, "X"),
    "window": ("window", style.FAINT, "d"),
    "best simulated": ("best simulated", "#8a6fb0", "h"),
    "second best": ("second best", "#8a6fb0", "h"),
    "third best": ("third best", style.PINK, "p"),
    "found on device": ("found on the device", style.GREEN, "^"),
    "second on device": ("second on the device", style.BLUE, "v"),
}
_OTHER = (style.FAINT, ">")


@dataclass(frozen=True, slots=True)
class Named:
    """A setting and all names that it has, the most telling first."""

    names: tuple[str, ...]
    judged: Judged

    @property
    def title(self) -> str:
        """Its names: recommended, fastest."""
        return ", ".join(called(name) for name in self.names)

    @property
    def short(self) -> str:
        """Its names, for a figure."""
        return ", ".join(self.names)


def draw_mark(axes: Axes, x: float, y: float, named: Named) -> None:
    """Draw a setting's mark, on top of everything but labels."""
    color, marker = mark_of(named.names[0])
    axes.plot(
        [x], [y], marker, color=color, markersize=16.0 if marker == "*" else 10.0,
        markeredgecolor="white", markeredgewidth=1.0, zorder=8, clip_on=False,
    )  # fmt: skip


def called(name: str) -> str:
    """What a name is called on the page."""
    return _MARKS[name][0] if name in _MARKS else name


def mark_of(name: str) -> tuple[str, str]:
    """The colour and the marker of a name."""
    return _MARKS[name][1:] if name in _MARKS else _OTHER


def named_settings(record: TuningRecord) -> list[Named]:
    """The recommended setting, the best of each goal, and those to be beaten.

    One that has several names is there once. Where no setting does what was asked, none is called
    recommended; of those nearest, that of the goal asked for is there.
    """
    pairs = [(name, one) for name, one in record.judged if name not in record.goals or one.feasible]
    nearest = record.asked.best
    if nearest is not None and not nearest.feasible:
        pairs.insert(0, (NEAREST, nearest))
    if record.recommended is not None and record.met:
        known = record.of(record.recommended)
        pairs.insert(0, (RECOMMENDED, known or Judged(settings=record.recommended)))
    names: dict[str, list[str]] = {}
    settings: dict[str, Judged] = {}
    for name, judged in pairs:
        key = _key(judged.settings)
        names.setdefault(key, []).append(name)
        if key not in settings or name in record.references:  # those were all judged alike
            settings[key] = judged
    found = [Named(tuple(sorted(names[key], key=_rank)), settings[key]) for key in settings]
    return sorted(found, key=lambda one: _rank(one.names[0]))


def label_of(judged: Judged) -> str:
    """A setting in short, also of a file that does not say it."""
    if judged.label:
        return judged.label
    settings = judged.settings
    policy, size = settings.get("policy", ""), settings.get("max_batch_size", "?")
    timeout_ms = settings.get("batch_timeout_ms")
    waits = f" / {timeout_ms:g} ms" if isinstance(timeout_ms, int | float) else ""
    return f"{policy} {size}{waits}".strip()


def _rank(name: str) -> int:
    return list(_MARKS).index(name) if name in _MARKS else len(_MARKS)


def _key(settings: dict[str, Any]) -> str:
    return repr(sorted(settings.items()))
