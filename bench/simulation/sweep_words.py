"""What a sweep found, in the terminal: for each load the settings worth knowing."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.table import Table

from results import format as fmt


def table(content: Mapping[str, Any]) -> Table:
    """For each load: the fastest setting, the cheapest, and the cheapest within the SLO.

    Args:
        content: what `sweep.json` holds.
    """
    knobs = list(content["axes"])
    shown = Table(
        title=f"{content['model']} on {content['device']}, simulated", title_justify="left"
    )
    for name in ("load", "setting", *knobs, "p99", "device time a request", "mean batch"):
        shown.add_column(name, justify="left" if name == "setting" else "right")
    for _, cells in groupby(content["cells"], key=lambda cell: cell["offered_rps"]):
        for label, cell in chosen(list(cells), content["slo_s"]):
            shown.add_row(
                _load(cell),
                label,
                *(str(cell[knob]) for knob in knobs),
                fmt.duration(cell["p99_s"]),
                fmt.duration(cell["device_s_per_request"]),
                fmt.number(cell["mean_batch_size"]),
            )
        shown.add_section()
    return shown


def chosen(
    cells: Sequence[Mapping[str, Any]], slo_s: float | None
) -> list[tuple[str, Mapping[str, Any]]]:
    """The cells of one load that are worth knowing, each with what it is."""
    able = [cell for cell in cells if cell["p99_s"] is not None]
    if not able:
        return [("none answers all", cells[0])]
    fastest = min(able, key=lambda cell: cell["p99_s"])
    cheapest = min(able, key=lambda cell: (cell["device_s_per_request"], cell["p99_s"]))
    found = [("fastest (p99)", fastest), ("cheapest (device time)", cheapest)]
    if slo_s is not None:
        within = [cell for cell in able if cell["p99_s"] <= slo_s]
        if within:
            best = min(within, key=lambda cell: (cell["device_s_per_request"], cell["p99_s"]))
            found.append((f"cheapest with p99 <= {fmt.duration(slo_s)}", best))
    if len(cells) > 1:
        found.append(("slowest (p99)", max(able, key=lambda cell: cell["p99_s"])))
    return found


def _load(cell: Mapping[str, Any]) -> str:
    share = "" if cell["utilization"] is None else f" ({fmt.percent(cell['utilization'])})"
    return f"{fmt.rate(cell['offered_rps'])}{share}"
