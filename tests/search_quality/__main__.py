"""`make search-quality`: regret of what `dynbatch tune` finds in simulation.

python -m tests.search_quality [draws] [model, trace or objective ...]
"""

import sys
import time
from itertools import product

from rich.console import Console
from rich.table import Table

from batching import RealClock, load_model
from bench.config import ReplaySettings
from bench.simulation.source import ExactSource
from bench.tuning.evaluation import Traffic
from bench.tuning.objectives import Limit, Statistic
from tests.search_quality.regret import question_of, search_regret

MODELS = ("affine:5,0.1", "roofline:0.5,4,0.25")
TRACES = ("poisson.json", "bursty.json")
OBJECTIVES = ("latency", "device-time", "capacity")
# Between what a lone request needs and what the emptiest device could hold it for.
LIMIT_S = 0.03
LOAD, WINDOW_S = 0.3, 5.0
ALLOWED = 0.02


def cases(only):
    """Every model under every trace, for every objective; or those that a word of `only` names."""
    limit = Limit(Statistic(0.99), LIMIT_S)
    for case in product(MODELS, TRACES, OBJECTIVES):
        known = zip(case, (MODELS, TRACES, OBJECTIVES), strict=True)
        if all(word in only or set(only).isdisjoint(among) for word, among in known):
            yield *case, question_of(case[2], None if case[2] == "latency" else limit)


def main(draws, only):
    """Print a table; exit code 1 if a regret is beyond 2 %."""
    table = Table("model", "trace", "objective", "trials", "recommended", "best of grid", "regret",
                  "SLO missed by", "cells within 2 / 5 / 20 %", "worst cell", "took")  # fmt: skip
    worst = 0.0
    for model, trace, objective, question in cases(only):
        began_s = time.monotonic()
        source = ExactSource(load_model(model, clock=RealClock()))
        asked = ReplaySettings(trace=trace, utilization=LOAD, duration=10.0)
        traffic = Traffic.of(asked, lambda source=source: source.peak_rps)
        fewer = 4 if objective == "capacity" else 1
        found = search_regret(
            question, source, traffic, draws=draws // fewer, window_s=WINDOW_S, first=10
        )
        worst = max(worst, found.regret)
        table.add_row(
            model, trace, objective, str(found.trials), found.recommended, found.best,
            f"{100 * found.regret:+.2f} %", f"{100 * max(0.0, found.slo):.2f} %",
            " / ".join(f"{100 * share:.0f} %" for share in found.near) + f" of {found.cells}",
            f"x {found.spread:.3g}", f"{time.monotonic() - began_s:.0f} s",
        )  # fmt: skip
        print(model, trace, objective, f"{100 * found.regret:+.2f} %", flush=True)
    Console(width=200).print(table)
    slo = f"p99 <= {1e3 * LIMIT_S:g} ms"
    print(f"{draws} draws of {WINDOW_S:g} s at {100 * LOAD:.0f} % load; {slo};", end=" ")
    print("for capacity a quarter of the draws, at each load that was tried")
    return 0 if worst <= ALLOWED else 1


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    sys.exit(main(count, sys.argv[2:]))
