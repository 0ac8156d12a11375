"""How far predictions were off, beside how far replays differ from each other."""

from statistics import median

from results.run.predicted import PREDICTED


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
