"""The summary of a comparison in the terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from results.comparison.outcome import Challenger
from results.comparison.record import Comparison
from results.comparison.wording import arm_rows, letter, notes, rows, standing

_STYLES = {"better": "green", "worse": "red"}


def summary(comparison: Comparison) -> RenderableType:
    """Return the summary: what speaks against it, the sentences, what the arms are, the metrics."""
    record, outcome = comparison.record, comparison.outcome
    first = standing(outcome, interrupted=record.state == "interrupted")
    arms = Table.grid(padding=(0, 2))
    for name, label in arm_rows(record.labels):
        arms.add_row(Text(name, style="bold"), Text(label))
    return Group(
        Text(first.line, style="bold green" if first.good else "bold red"),
        *(Text(sentence, style="bold") for sentence in record.sentences),
        arms,
        *(_table(challenger, letter(outcome.control)) for challenger in outcome.challengers),
        *(Text(note, style="dim") for note in notes(outcome)),
    )


def _table(challenger: Challenger, control: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for column in ("metric", control, letter(challenger.arm), "change", "verdict"):
        table.add_column(column)
    for row in rows(challenger):
        style = _STYLES.get(row.verdict, "")
        cells = (row.metric, row.control, row.challenger, row.change, row.verdict)
        table.add_row(*(Text(cell, style=style if cell == row.verdict else "") for cell in cells))
    return table
