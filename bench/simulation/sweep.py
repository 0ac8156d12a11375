"""Trying every combination of some knobs: the whole surface, in seconds."""

import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.table import Table

from bench.console import output_console
from bench.errors import InputError
from bench.exit_codes import OK
from bench.profiling.load import Loaded
from bench.settings import BatcherSettings, Settings
from bench.simulation.outcome import Outcome
from bench.simulation.setup import Setup
from bench.streams import kept_in
from bench.traces import arrivals
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


MOST_CELLS = 20_000
_KNOBS = tuple(BatcherSettings.model_fields)
Value = int | float | str


@dataclass(frozen=True)
class SweepPlan:
    """Which knobs take which values.

    Attributes:
        axes: (knob, its values), in the order given.
    """

    axes: tuple[tuple[str, tuple[Value, ...]], ...]

    def cells(self) -> Iterable[dict[str, Value]]:
        """Every combination; the last knob varies fastest."""
        names = [name for name, _ in self.axes]
        for values in itertools.product(*(values for _, values in self.axes)):
            yield dict(zip(names, values, strict=True))

    def largest_batch(self, usual: int) -> int:
        """The largest max_batch_size of all cells; `usual` where it is not swept."""
        sizes = [
            size for size in dict(self.axes).get("max_batch_size", ()) if isinstance(size, int)
        ]
        return max(sizes, default=usual)


def parse_sweep(texts: Sequence[str]) -> SweepPlan:
    """Read `max_batch_size=1,2,4:batch_timeout_ms=0:20:1`, in one text or several.

    A knob's values are a list with commas between, or first:last:step, both ends included.

    Raises:
        InputError: it is none of that, an unknown knob, one named twice, or too many cells.
    """
    axes: dict[str, tuple[Value, ...]] = {}
    for group in (group for text in texts for group in re.split(r":(?=[A-Za-z_-]+=)", text)):
        name, equals, values = group.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in _KNOBS:
            raise InputError(
                f"sweep must be KNOB=VALUES with a knob of {', '.join(_KNOBS)}, but got {group!r}"
            )
        if name in axes:
            raise InputError(f"sweep must name each knob once, but {name} is there twice")
        axes[name] = _values(name, values)
    plan = SweepPlan(tuple(axes.items()))
    cells = 1
    for _, along in plan.axes:
        cells *= len(along)
    if cells > MOST_CELLS:
        raise InputError(f"sweep must be {MOST_CELLS:,} combinations at most, but got {cells:,}")
    return plan


def _values(name: str, text: str) -> tuple[Value, ...]:
    steps = text.split(":")
    if len(steps) == 3:
        return _progression(name, text, [_number(name, step) for step in steps])
    if len(steps) > 1:
        raise InputError(f"sweep of {name} must be first:last:step, but got {text!r}")
    values = tuple(_value(part.strip()) for part in text.split(",") if part.strip())
    if not values:
        raise InputError(f"sweep of {name} must have values, but got {text!r}")
    return tuple(dict.fromkeys(values))


def _progression(name: str, text: str, steps: list[float]) -> tuple[Value, ...]:
    first, last, step = steps
    if not (step > 0 and last >= first):
        raise InputError(
            f"sweep of {name} must be first:last:step with last >= first and step > 0, "
            f"but got {text!r}"
        )
    count = int((last - first) / step + 1e-9) + 1
    if count > MOST_CELLS:
        raise InputError(
            f"sweep of {name} must be {MOST_CELLS:,} values at most, but got {count:,}"
        )
    values = [round(first + i * step, 12) for i in range(count)]
    return tuple(int(v) if v == int(v) else v for v in values)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise InputError(f"sweep of {name} must be of finite numbers, but got {text!r}")
    return value


def _value(text: str) -> Value:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@dataclass(frozen=True)
class Cell:
    """One combination at one load.

    Attributes:
        offered_rps: the load.
        utilization: the load as a share of what the source can serve, if it was given so.
        limit_rps: what this setting serves with a queue that never empties.
        knobs: what was swept.
        outcome: what came of it; None if this setting cannot carry the load.
    """

    offered_rps: float
    utilization: float | None
    limit_rps: float
    knobs: dict[str, Value]
    outcome: Outcome | None

    def as_json(self, slo_s: float | None, window_s: float) -> dict[str, Any]:
        """The cell in numbers; times in seconds, null where a request got no answer."""
        out = self.outcome
        named = {
            **self.knobs,
            "offered_rps": self.offered_rps,
            "utilization": self.utilization,
            "limit_rps": self.limit_rps,
        }
        if out is None:
            return named | {"able": False} | dict.fromkeys(NUMBERS)
        goodput = None if slo_s is None else out.within(slo_s) / window_s
        return named | {
            "able": True,
            "p50_s": _known(out.percentile_s(0.5)),
            "p99_s": _known(out.percentile_s(0.99)),
            "mean_s": _known(out.mean_s),
            "throughput_rps": out.throughput_rps,
            "goodput_rps": goodput,
            "device_s_per_request": _known(out.device_s_per_request),
            "busy_fraction": out.busy_fraction,
            "mean_batch_size": _known(out.mean_batch_size),
            "answered": out.ok / out.requests if out.requests else None,
        }


NUMBERS = (
    "p50_s",
    "p99_s",
    "mean_s",
    "throughput_rps",
    "goodput_rps",
    "device_s_per_request",
    "busy_fraction",
    "mean_batch_size",
    "answered",
)


def _known(value: float) -> float | None:
    return value if isfinite(value) else None


def setups(
    plan: SweepPlan, base: BatcherSettings, loaded: Loaded
) -> list[tuple[dict[str, Value], Setup]]:
    """A batcher for each combination; all are checked before the first is tried.

    Raises:
        InputError: a value that its knob cannot take, or a batch beyond the profile.
        ConfigError: knobs that do not go together.
    """
    made: list[tuple[dict[str, Value], Setup]] = []
    for knobs in plan.cells():
        try:
            settings = BatcherSettings.model_validate({**base.model_dump(), **knobs})
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(
                f"sweep of {first['loc'][0]}: {first['msg'].removeprefix('Input ')}, "
                f"but got {first['input']!r}"
            ) from None
        made.append((knobs, Setup(settings, loaded.source, settings.replicas or 1)))
    return made


def refuses(setup: Setup) -> bool:
    """Whether it lets requests go rather than fall behind: then any load can be offered."""
    knobs = setup.knobs
    return (
        knobs.max_queue_size is not None
        or knobs.deadline_ms is not None
        or knobs.policy == "deadline"
    )


def run_sweep(
    plan: SweepPlan,
    settings: Settings,
    loaded: Loaded,
    spec: arrivals.Spec,
    loads: Sequence[float],
) -> Mapping[str, Any]:
    """Try every combination at every load; all of one load meet the same arrivals.

    Args:
        plan: the combinations.
        settings: everything that is not swept.
        loaded: batch times.
        spec: the trace.
        loads: shares of what one replica can serve times the replicas asked for, whatever the
            replicas of a cell; none: the load that the settings or the trace name.

    Returns:
        What `sweep.json` holds.
    """
    made = setups(plan, settings.batcher, loaded)
    limits = [setup.limit_rps() for _, setup in made]
    slo_ms = settings.batcher.slo_ms
    slo_s = None if slo_ms is None else slo_ms / 1e3
    replicas = settings.batcher.replicas
    cells: list[dict[str, Any]] = []
    for load in loads or (None,):
        replay = settings.replay
        if load is not None:
            replay = replay.model_copy(update={"utilization": load, "rate": None})
        resolved = arrivals.resolve(spec, replay, partial(loaded.peak_rps, replicas))
        seed, offered_rps = resolved.seed or 0, resolved.offered_rps
        for (knobs, setup), limit_rps in zip(made, limits, strict=True):
            # In overload latency says how long the trace is, not how fast the setting is.
            able = refuses(setup) or offered_rps < limit_rps
            outcome = setup.outcome(resolved, seed) if able else None
            cell = Cell(offered_rps, resolved.utilization, limit_rps, knobs, outcome)
            cells.append(cell.as_json(slo_s, resolved.window_s))
    return {
        "simulated": True,
        "model": loaded.model,
        "device": loaded.device,
        **loaded.describe(),
        "axes": {name: list(values) for name, values in plan.axes},
        "fixed": settings.batcher.model_dump(mode="json"),
        "trace": settings.replay.trace,
        "slo_s": slo_s,
        "cells": cells,
    }


def write_sweep(content: Mapping[str, Any], folder: Path) -> None:
    """Write `sweep.png`, if there is something to draw, and `sweep.json` into the folder."""
    from results.figures.sweep import save_surfaces
    from results.files import write_text

    save_surfaces(content, folder / "sweep.png")
    write_text(folder / "sweep.json", json.dumps(content, indent=1) + "\n")
    kept_in(folder)


def tell_sweep(content: Mapping[str, Any], folder: Path, *, as_json: bool, quiet: bool) -> int:
    """Say what is best and where the rest is."""
    if as_json:
        sys.stdout.write(json.dumps(content, indent=1) + "\n")
    elif not quiet:
        console = output_console()
        for table in tables(content):
            console.print(table)
        for name, path in (("numbers", folder / "sweep.json"), ("picture", folder / "sweep.png")):
            if path.exists():
                console.print(f"{name}: {path}", soft_wrap=True)
    return OK
