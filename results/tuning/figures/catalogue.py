"""Which figures and tables a tuning has, in the order of the report."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from results.figures import style
from results.files import replacing
from results.page import Table
from results.run.record import FIGURES as FOLDER
from results.tuning import wording
from results.tuning.figures.axes import LINE_IN
from results.tuning.figures.engines import draw_engines
from results.tuning.figures.history import (
    draw_history,
    draw_importance,
    goals_with_history,
    goals_with_importance,
)
from results.tuning.figures.pareto_front import draw_front
from results.tuning.figures.race import draw_effects, draw_prediction, draw_race
from results.tuning.figures.sensitivity import draw_sensitivity
from results.tuning.figures.surface import draw_surface, surface_height_in
from results.tuning.record import Tuning, TuningRecord, sensitivity_rows

_WIDTH_IN = 7.6
_FOOT_IN = 0.17


@dataclass(frozen=True, slots=True)
class Section:
    """One figure of the report, and perhaps the same in numbers.

    Attributes:
        name: of its file, without the ending.
        title: of the section.
        reading: how to read it.
        absent: why it is not there; empty if it is.
        height_in: inches; all have the same width.
        draw: draws it.
        simulated: whether it is of simulation alone.
        table: the same in numbers.
    """

    name: str
    title: str
    reading: str
    absent: Callable[[TuningRecord], str]
    height_in: Callable[[TuningRecord], float]
    draw: Callable[[TuningRecord, Figure], None]
    simulated: bool = False
    table: Callable[[TuningRecord], Table] | None = None

    def save(self, record: TuningRecord, path: Path) -> None:
        """Draw the figure and write it as a PNG."""
        with mpl.rc_context(style.RC):
            figure = Figure(figsize=(_WIDTH_IN, self.height_in(record)), layout="constrained")
            FigureCanvasAgg(figure)
            if self.simulated and record.simulated:  # before the labels are placed
                _leave_foot(figure)
                figure.text(0.995, 0.005, "simulated", ha="right", va="bottom", color=style.FAINT)
            self.draw(record, figure)
            with replacing(path) as fresh:
                figure.savefig(fresh, dpi=style.DPI, format="png")


def _leave_foot(figure: Figure) -> None:
    """Keep a line free at the bottom."""
    engine = figure.get_layout_engine()
    if engine is not None:
        foot = _FOOT_IN / figure.get_figheight()
        engine.set(rect=(0.0, foot, 1.0, 1.0 - foot))  # type: ignore[call-arg]


def _no_trials(record: TuningRecord) -> str:
    return "" if record.asked.history else "the trials are not in tune.json"


def _no_engines(record: TuningRecord) -> str:
    if any(engine.rates_rps for engine in record.engines):
        return ""
    return "a single engine: --search engine=eager,compile (cudagraph on a GPU) searches several"


def _no_front(record: TuningRecord) -> str:
    return "" if record.front else "no setting that was tried carries the load"


def _no_importance(record: TuningRecord) -> str:
    if goals_with_importance(record):
        return ""
    return "too few trials, a single knob, or trials that do not differ"


def _no_race(record: TuningRecord) -> str:
    if record.verified is None:
        return record.unverified or "not raced on a device"
    return "" if record.verified.race else "nothing was raced"


def _no_prediction(record: TuningRecord) -> str:
    verified = record.verified
    if verified is not None and verified.race and not verified.predicted:
        return "nothing was predicted: there was no simulation"
    return _no_race(record)


def _no_gains(record: TuningRecord) -> str:
    if record.verified is None:
        return record.unverified or "not raced on a device"
    if record.verified.winner is None:
        return "nothing that was raced met the SLO"
    return "" if record.verified.gains else "nothing was confirmed against another setting"


def _no_sensitivity(record: TuningRecord) -> str:
    return "" if sensitivity_rows(record) else "not worked out"


def _arms(record: TuningRecord) -> int:
    return 0 if record.verified is None else len(record.verified.race)


SECTIONS = (
    Section(
        "surface",
        "What was tried",
        "Dots are trials, yellow ones the best, hollow ones those that were ended early, crosses "
        "those that violate a constraint. The "
        "colour between trials is interpolated linearly, and only where three that violate nothing "
        "are near: it is no measurement. Where other knobs were searched too, dots alone.",
        _no_trials,
        surface_height_in,
        draw_surface,
        simulated=True,
    ),
    Section(
        "engines",
        "Which engine",
        "Requests per second that one worker serves in full batches, as they were measured. A star "
        "marks the batch size of an engine's best setting for what was asked.",
        _no_engines,
        lambda _: 3.4,
        draw_engines,
        table=wording.engines_table,
    ),
    Section(
        "front",
        "What waiting buys",
        "Further down is faster, further left leaves the device more time for others. The line "
        "joins the trials that none beats in both: a setting above it gives something away for "
        "nothing. Grey: other trials. The named settings were judged on more draws than those, so "
        "they may lie beside the line.",
        _no_front,
        lambda _: 4.4,
        draw_front,
        simulated=True,
    ),
    Section(
        "history",
        "How the search went",
        "A line that was flat for long at its end has found what there is; one that still moved "
        "asks for more --trials or --patience. Marks at the edge are far away, or have no value.",
        _no_trials,
        lambda record: 0.4 + LINE_IN + 1.75 * len(goals_with_history(record)),
        draw_history,
        simulated=True,
    ),
    Section(
        "importance",
        "Which knobs matter",
        "By PED-ANOVA (Watanabe et al., IJCAI 2023): how much a knob's values among the best tenth "
        "of the trials differ from those among all that were tried. The search looks more closely "
        "where it is good, so this is of these trials, not of the whole space.",
        _no_importance,
        lambda record: (
            1.0
            + LINE_IN
            + 0.24
            * len(goals_with_importance(record))
            * max(len(goal.importance or {}) for _, goal in goals_with_importance(record))
        ),
        draw_importance,
        simulated=True,
    ),
    Section(
        "prediction",
        "Predicted and measured",
        "A machine that is slower than its profile by the same factor everywhere ranks settings "
        "alike; errors that differ from setting to setting make the ranking of what was not raced "
        "doubtful.",
        _no_prediction,
        lambda record: 1.2 + LINE_IN + 0.42 * _arms(record),
        draw_prediction,
        table=wording.prediction_table,
    ),
    Section(
        "race",
        "The race",
        "All settings of a draw served the same arrivals, so each is compared draw by draw with "
        "the winner, or where nobody won with the best. A ring marks the draw after which a "
        "setting was dropped, a cross at the top one with unanswered requests.",
        _no_race,
        lambda record: 2.9 + LINE_IN * _arms(record),
        draw_race,
        table=wording.race_table,
    ),
    Section(
        "effects",
        "The winner against what it would replace",
        "Draws that took no part in choosing the winner, and whose number was fixed before the "
        "first. A bar that stays clear of the line is a difference.",
        _no_gains,
        lambda record: 1.3 + 0.5 * (len(record.verified.gains) if record.verified else 0),
        draw_effects,
        table=wording.gains_table,
    ),
    Section(
        "sensitivity",
        "If the traffic is not what it was",
        "The setting that was found, unchanged, under other arrivals.",
        _no_sensitivity,
        lambda record: 1.2 + 0.42 * len(sensitivity_rows(record)),
        draw_sensitivity,
        simulated=True,
        table=wording.sensitivity_table,
    ),
)


def save_figures(tuning: Tuning) -> dict[str, Path]:
    """Write the figures there are to `figures/<name>.png` in the folder; return where, by name."""
    folder = tuning.path / FOLDER
    folder.mkdir(exist_ok=True)
    paths = {}
    for section in SECTIONS:
        path = folder / f"{section.name}.png"
        if section.absent(tuning.record):
            path.unlink(missing_ok=True)  # of an earlier report of the same folder
            continue
        section.save(tuning.record, path)
        paths[section.name] = path
    return paths
