"""The settings that have a name, and how each is marked in every figure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from results import format as fmt
from results.figures import style
from results.tuning.device_record import PROPOSED, DeviceRecord, Judged, RaceArm
from results.tuning.record import NO_DELAY, TuningRecord

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
    NO_DELAY: ("no-delay baseline", style.SKY, "X"),
    "window": ("window", style.FAINT, "d"),
    PROPOSED: ("proposed by the search", style.RED, "*"),
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
        """Its names in short, for a figure and a terminal."""
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
    pairs = [(name, one) for name, goal in record.goals.items() if (one := goal.chosen)]
    pairs += record.references.items()
    if record.asked.chosen is None and record.asked.best is not None:
        pairs.insert(0, (NEAREST, record.asked.best))
    if record.chosen is not None and record.met:
        pairs.insert(0, (RECOMMENDED, record.chosen))
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


def prediction_error(arm: RaceArm, predicted: float | None) -> str:
    """Predicted / measured - 1, in words."""
    if arm.value is None:
        return "not all answered"
    if predicted is None:
        return "predicted: not all answered"
    return f"off by {100.0 * (predicted / arm.value - 1.0):+.0f} %"


def arm_name(record: TuningRecord, name: str) -> str:
    """What an arm is called, first of all whether recommended.toml holds its settings."""
    verified = record.verified
    settings = None if verified is None else verified.settings_of(name)
    if not record.met or settings is None or settings != record.recommended:
        return name
    return f"{RECOMMENDED} ({name})"


def fate_of(arm: RaceArm, *, won: bool) -> str:
    """What became of an arm, in words."""
    if won:
        return "won"
    if arm.dropped_after is None:
        missed = arm.slo_excess is not None and arm.slo_excess > 0.0
        return "stayed to the end, but missed the SLO" if missed else "stayed to the end"
    why = "" if arm.dropped_why is None else f": {arm.dropped_why}"
    draws = "1 draw" if arm.dropped_after == 1 else f"{arm.dropped_after} draws"
    return f"dropped after {draws}{why}"


def pair_ratios(verified: DeviceRecord, over: str) -> list[float]:
    """The winner's value / another arm's, of each draw of the confirmation that gave both."""
    values = verified.confirmation.values
    mine, its = values.get(verified.winner or "", ()), values.get(over, ())
    return [a / b for a, b in zip(mine, its, strict=False) if a and b]


_TITLES = {
    "device-time": "device time per request",
    "capacity": "load at which the SLO is just met",
    "goodput": "goodput",
    "energy": "energy per request",
}


_SHOW: dict[str, Callable[[float | None], str]] = {
    "latency": fmt.duration,
    "device-time": fmt.duration,
    "capacity": fmt.rate,
    "goodput": fmt.rate,
    "energy": fmt.joules,
}


_TICK: dict[str, Callable[[float], str]] = {"latency": fmt.tick, "device-time": fmt.tick}


def title_of(objective: str, statistic: str) -> str:
    """What the values of an objective are."""
    return f"{statistic} latency" if objective == "latency" else _TITLES.get(objective, objective)


def shown(objective: str, value: float | None) -> str:
    """One of them, with its unit."""
    return _SHOW.get(objective, fmt.number)(value)


def tick(objective: str, value: float) -> str:
    """One of them on an axis, with its unit."""
    return _TICK.get(objective, _SHOW.get(objective, fmt.number))(value)


def is_time(objective: str) -> bool:
    """Whether they are seconds."""
    return objective in _TICK
