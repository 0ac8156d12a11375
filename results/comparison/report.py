"""The report of a comparison: one HTML file with everything in it."""

import base64
from pathlib import Path

from results.comparison.figures import FIGURES, save_figures
from results.comparison.observation import METRICS
from results.comparison.record import Comparison
from results.comparison.wording import arm_rows, letter, notes, rows, standing
from results.files import write_text
from results.page import render
from results.run.record import REPORT
from results.run.wording import free_form_rows


def write_report(comparison: Comparison) -> Path:
    """Draw the figures and write `report.html` into the comparison's folder; return its path.

    Like a run's report it loads nothing and has no script.

    Raises:
        RunCorruptError: No draw was finished.
    """
    record, outcome = comparison.record, comparison.outcome
    images = {name: _data_uri(path) for name, path in save_figures(comparison).items()}
    control = letter(outcome.control)
    html = render(
        "comparison.html.j2",
        record=record,
        sentences=record.sentences,
        standing=standing(outcome, interrupted=record.state == "interrupted"),
        arms=arm_rows(record.labels),
        control=control,
        verdicts=[
            (f"{letter(challenger.arm)} against {control}", rows(challenger))
            for challenger in outcome.challengers
        ],
        notes=notes(outcome),
        figures=[(spec, images[spec.name]) for spec in FIGURES],
        metric=METRICS[outcome.metric].label,
        draws=_draw_rows(comparison),
        tables=[
            ("Load", free_form_rows(record.load)),
            ("Trace", free_form_rows(record.trace)),
            *(
                (f"Settings of {letter(name)}", free_form_rows(arm.settings))
                for name, arm in record.arms.items()
            ),
        ],
    )
    path = comparison.path / REPORT
    write_text(path, html)
    return path


def _draw_rows(comparison: Comparison) -> list[list[tuple[str, str]]]:
    metric = METRICS[comparison.outcome.metric]
    return [
        [
            (metric.show(draw.values[arm].get(metric.name)), draw.runs.get(arm, ""))
            for arm in comparison.record.arms
        ]
        for draw in comparison.record.draws
        if len(draw.values) == len(comparison.record.arms)
    ]


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
