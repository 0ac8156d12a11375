"""The parts `bench` and `fidelity`: replays at three loads, each predicted before."""

import shlex
from statistics import median

from results.prediction import PREDICTED, measured
from results.report import write_report
from tests.reference.plan import LOADS, TRACES
from tests.reference.replaying import Replays
from tests.reference.step import command_of

# The cell whose whole report is kept.
SHOWN = ("bursty", 0.7)
# Starting, draining and analysing a replay, beside its window.
_AROUND_S = 3.0
_SHORTEST_S = 2.0


def run(context, part):
    """Replay the cells that this part has not; `fidelity` repeats those of `bench`."""
    engine = context.engine
    replays = Replays(context.plan.model_settings(engine), context.profile_of(engine))
    done = context.folder.read(part)
    if part == "fidelity":
        # A repetition is of the same arrivals, so as long as the first.
        cells = {key: cell["settings"] for key, cell in context.folder.read("bench").items()}
    else:
        cells = planned(context, replays.profile)
    waiting = {key: own for key, own in cells.items() if key not in done}
    for own in waiting.values():
        replays.load(own["batcher"], own["replay"])
        break
    context.start()
    for number, (key, own) in enumerate(waiting.items()):
        window_s = own["replay"]["duration"]
        if number and context.left_s < window_s + _AROUND_S:
            return f"{len(waiting) - number} of {len(cells)} cells are left to be replayed"
        context.folder.add(part, key, cell(context, replays, key, own))
    return "" if cells else "the part 'bench' has replayed nothing to repeat"


def planned(context, profile):
    """The cells, in the order of importance: all loads of a trace would be half of a table."""
    plan, engine = context.plan, context.engine
    window_s = context.seconds / (len(TRACES) * len(LOADS)) - _AROUND_S
    window_s = round(min(plan.window_s, max(_SHORTEST_S, window_s)), 1)
    for earlier in context.folder.read("bench").values():  # one table, one window
        window_s = earlier["settings"]["replay"]["duration"]
    knobs = {
        "policy": "timeout",
        "max_batch_size": profile.peak_batch_size,
        "batch_timeout_ms": plan.timeout_ms,
    }
    return {
        f"{trace.removesuffix('.json')} {load}": {
            "model": plan.model_settings(engine),
            "batcher": knobs,
            "replay": {
                "trace": trace,
                "rate": round(load * profile.peak_rps, 1),
                "duration": window_s,
                "seed": 7,
            },
        }
        for load in (0.7, 0.9, 0.5)
        for trace in TRACES
    }


def cell(context, replays, key, own):
    """Replay one and reduce it to numbers."""
    settings = replays.settings(own["batcher"], own["replay"])
    command = command_of(own)

    def read(found):
        if key == f"{SHOWN[0]} {SHOWN[1]}" and context.step.part == "bench":
            page = write_report(found)
            context.folder.write_text("report.html", page.read_text(encoding="utf-8"))
        return {
            "settings": own,
            "command": command,
            "valid": found.record.valid,
            "findings": [finding.code for finding in found.record.findings],
            "predicted": found.record.prediction,
            "measured": measured(found.metrics),
            "metrics": found.metrics.model_dump(mode="json"),
        }

    return replays.run(settings, shlex.split(command), read)


def errors(bench, fidelity):
    """Predicted / measured - 1 of each cell and metric, and the spread of its replays.

    The measured value is the median of the cell's replays; the spread is of them, relative to it,
    and null of a single one. No prediction can be better than the spread.

    Returns:
        Cell -> metric -> {"predicted", "measured", "error", "spread"}.
    """
    found = {}
    for key, first in bench.items():
        runs = [first, *([fidelity[key]] if key in fidelity else [])]
        found[key] = {}
        for metric in PREDICTED:
            values = [one["measured"][metric] for one in runs]
            predicted = (first["predicted"] or {}).get(metric)
            if predicted is None or any(not value for value in values):
                continue
            middle = median(values)
            found[key][metric] = {
                "predicted": predicted,
                "measured": values,
                "error": predicted / middle - 1.0,
                "spread": (max(values) - min(values)) / middle if len(values) > 1 else None,
            }
    return found


def medians(table):
    """Metric -> median over the cells of the absolute error, and of the spread (null: unknown)."""
    summary = {}
    for metric in PREDICTED:
        cells = [cell[metric] for cell in table.values() if metric in cell]
        if cells:
            spreads = [one["spread"] for one in cells if one["spread"] is not None]
            summary[metric] = {
                "cells": len(cells),
                "error": median(abs(one["error"]) for one in cells),
                "spread": median(spreads) if spreads else None,
            }
    return summary
