"""What a sweep found, in the terminal: for each load the settings worth knowing."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.table import Table

from results import format as fmt


def tables(content: Mapping[str, Any]) -> Iterator[Table]:
    """For each load: the fastest setting, the cheapest, and the cheapest within the SLO.

    Args:
        content: what `sweep.json` holds.
    """
    knobs = list(content["axes"])
    if not knobs:
        yield _by_load(content)
        return
    for _, group in groupby(content["cells"], key=lambda cell: cell["offered_rps"]):
        cells = list(group)
        able = sum(cell["able"] for cell in cells)
        shown = Table(
            title=f"{content['model']}, simulated at {_load(cells[0])}: "
            f"{able} of {len(cells)} settings can carry it",
            title_justify="left",
        )
        shown.add_column("")
        for name in (*(knob.replace("_", " ") for knob in knobs), "p99", "device time", "batch"):
            shown.add_column(name, justify="right")
        for label, cell in chosen(cells, content["slo_s"]):
            shown.add_row(
                label,
                *(str(cell[knob]) for knob in knobs),
                fmt.duration(cell["p99_s"]),
                fmt.duration(cell["device_s_per_request"]),
                fmt.number(cell["mean_batch_size"]),
            )
        yield shown


def _by_load(content: Mapping[str, Any]) -> Table:
    """One setting under every load."""
    shown = Table(title=f"{content['model']}, simulated", title_justify="left")
    shown.add_column("load")
    for name in ("p99", "device time", "batch"):
        shown.add_column(name, justify="right")
    for cell in content["cells"]:
        values = (
            fmt.duration(cell["p99_s"]),
            fmt.duration(cell["device_s_per_request"]),
            fmt.number(cell["mean_batch_size"]),
        )
        shown.add_row(_load(cell), *(values if cell["able"] else ("overload", "", "")))
    return shown


def chosen(
    cells: Sequence[Mapping[str, Any]], slo_s: float | None
) -> list[tuple[str, Mapping[str, Any]]]:
    """The cells of one load that are worth knowing, each once, with all that it is."""
    able = [cell for cell in cells if cell["p99_s"] is not None]
    if not able:
        return []
    fastest = min(able, key=lambda cell: cell["p99_s"])
    cheapest = min(able, key=lambda cell: (cell["device_s_per_request"], cell["p99_s"]))
    found = [("fastest", fastest), ("least device time", cheapest)]
    if slo_s is not None:
        within = [cell for cell in able if cell["p99_s"] <= slo_s]
        if within:
            best = min(within, key=lambda cell: (cell["device_s_per_request"], cell["p99_s"]))
            found.append((f"the same, p99 <= {fmt.duration(slo_s)}", best))
    if len(able) > 1:
        found.append(("slowest", max(able, key=lambda cell: cell["p99_s"])))
    names: dict[int, list[str]] = {}
    for name, cell in found:
        names.setdefault(id(cell), []).append(name)
    return [(", ".join(names.pop(id(cell))), cell) for _, cell in found if id(cell) in names]


def _load(cell: Mapping[str, Any]) -> str:
    share = "" if cell["utilization"] is None else f" ({fmt.percent(cell['utilization'])})"
    return f"{fmt.rate(cell['offered_rps'])}{share}"
