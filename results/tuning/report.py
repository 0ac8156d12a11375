"""The report of a tuning: one HTML file with everything in it."""

import base64
from pathlib import Path

from results.files import write_text
from results.page import render
from results.run.record import REPORT
from results.run.wording import free_form_rows
from results.tuning.figures.catalogue import SECTIONS, save_figures
from results.tuning.recommended_toml import RECOMMENDED
from results.tuning.record import Tuning, TuningRecord
from results.tuning.wording import settings_table, standing


def write_report(tuning: Tuning) -> Path:
    """Draw the figures and write `report.html` into the tuning's folder; return its path.

    Like a run's report it loads nothing and has no script.
    """
    record = tuning.record
    images = {name: _data_uri(path) for name, path in save_figures(tuning).items()}
    config = tuning.path / RECOMMENDED
    html = render(
        "tuning.html.j2",
        record=record,
        name=record.id or tuning.path.resolve().name,
        standing=standing(record),
        settings=settings_table(record),
        sections=[
            (
                section,
                images.get(section.name),
                None
                if section.table is None or section.name not in images
                else section.table(record),
            )
            for section in SECTIONS
        ],
        missing=[
            (section.title, reason) for section in SECTIONS if (reason := section.absent(record))
        ],
        tables=[
            (_setting(record), free_form_rows(record.recommended or {})),
            ("What was asked", free_form_rows(_asked(tuning))),
            ("Trace", free_form_rows(record.load)),
        ],
        use=f"dynbatch bench --config {config}" if config.is_file() else "",
    )
    path = tuning.path / REPORT
    write_text(path, html)
    return path


def _setting(record: TuningRecord) -> str:
    """What the setting is that is told in full."""
    if record.met:
        return "The recommended setting"
    best = record.asked.best
    simulated = best is not None and best.feasible and record.verified is not None
    return "The best setting of the search" if simulated else "The nearest setting"


def _asked(tuning: Tuning) -> dict[str, object]:
    record = tuning.record
    asked: dict[str, object] = {
        "model": record.model,
        "device": record.device,
        "objective": record.objective,
        "statistic": record.statistic,
        "slo": record.slo,
        "trials": {name: goal.trials for name, goal in record.goals.items()},
    }
    if record.verified is not None:
        asked |= {
            "race.draws_of_s": record.verified.window_s,
            "race.rate_rps": record.verified.rate_rps,
            "race.spent_s": record.verified.spent_s,
        }
    return asked


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
