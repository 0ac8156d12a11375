"""`make search-quality`: regret of what `dynbatch tune` finds, beside other ways to search.

Cases are independent and run in processes of their own. Each is kept as soon as it is done, so a
table that was cut off goes on where it was, if its FILE is still there.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from results.files import write_text
from tests.search_quality.baselines import SEARCHES
from tests.search_quality.cases import (
    LIMIT_S,
    LOAD,
    MODELS,
    OBJECTIVES,
    TRACES,
    WINDOW_S,
    carry_out,
    chosen,
)
from tests.search_quality.regret import ALLOWED

DEAREST = 1.0 / 15.0


def said(regret):
    """A regret, or that the setting is of no use."""
    return "misses SLO" if regret is None else f"{100 * regret:+.2f} %"


def middle_and_worst(regrets):
    """Over the seeds of a search."""
    ordered = sorted(regrets, key=lambda regret: float("inf") if regret is None else regret)
    return f"{said(ordered[(len(ordered) - 1) // 2])}, {said(ordered[-1])}"


def tables(rows):
    """What was found, and how much that says."""
    regrets = Table("model", "trace", "objective", "found", "regret", "as simulated", "timeout 0",
                    *(f"{name}: median, worst" for name in SEARCHES), title="Regret")  # fmt: skip
    surfaces = Table("model", "trace", "objective", "trials", "best of grid",
                     "cells within 2 / 5 / 20 %", "worst cell", "device s", "of grid's",
                     "SLO missed by", "device", "took", title="Surface and cost")  # fmt: skip
    for row in rows:
        name = (row["model"], row["trace"], row["objective"])
        regrets.add_row(
            *name, row["handed over"], said(row["regret"]), said(row["regret as simulated"]),
            said(row["regret of plain"]),
            *(middle_and_worst(row["others"][other]["regrets"]) for other in SEARCHES),
        )  # fmt: skip
        near = " / ".join(f"{100 * share:.0f}" for share in row["cells within 2, 5, 20 %"])
        missed = row["slo missed by"]
        surfaces.add_row(
            *name, str(row["trials"]), row["best of grid"],
            f"{near} of {row['cells that qualify']}", f"x {row['worst cell']:.3g}",
            f"{row['device_s']:.0f}", f"1/{1 / row['cost']:.0f}",
            "load" if missed is None else f"{100 * missed:.2f} %", row["on the device"],
            f"{row['took_s']:.0f} s",
        )  # fmt: skip
    return regrets, surfaces


def kept(path):
    """What an earlier call has found, with the same versions."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    cases = found.pop("cases")
    return cases if found == environment() else {}


def carry_all_out(cases, path, processes):
    """Whatever is not in the file yet; the file holds every result as soon as there is one.

    A case that fails costs only itself.
    """
    known = kept(path)
    todo = [asked for asked in cases if asked.key not in known]
    if len(todo) < len(cases):
        print(f"{len(cases) - len(todo)} of {len(cases)} are in {path}; delete it to begin anew")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        running = {pool.submit(carry_out, asked): asked for asked in todo}
        for number, future in enumerate(as_completed(running), 1):
            asked = running[future]
            if (error := future.exception()) is not None:
                print(f"{asked.key}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            row = known[asked.key] = future.result()
            write_text(path, json.dumps({**environment(), "cases": known}, indent=1) + "\n")
            print(
                f"{number}/{len(todo)} {asked.model} {asked.trace} {asked.objective}: "
                f"{said(row['regret'])}, {row['took_s']:.0f} s",
                flush=True,
            )
    return [known[asked.key] for asked in cases if asked.key in known]


def environment():
    """What the results may depend on."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "optuna")},
        "load": LOAD,
        "slo": f"p99<={1e3 * LIMIT_S:g}ms",
    }


def main():
    """Print the tables; exit code 1 if a regret is beyond 2 %, or a search too dear."""
    parser = argparse.ArgumentParser("python -m tests.search_quality", description=__doc__)
    parser.add_argument("words", nargs="*", help="models, traces or objectives; default all")
    parser.add_argument("--draws", type=int, default=300, help="of the truth, in two halves")
    parser.add_argument("--seeds", type=int, default=5, help="of each other kind of search")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("search-quality.json"), metavar="FILE")
    options = parser.parse_args()
    unknown = set(options.words) - {*MODELS, *TRACES, *OBJECTIVES}
    if unknown:
        known = ", ".join((*MODELS, *TRACES, *OBJECTIVES))
        parser.error(f"words must be of {known}, but got {', '.join(sorted(unknown))}")
    cases = list(chosen(options.words, options.draws, options.seeds))
    rows = carry_all_out(cases, options.out, options.processes)
    console = Console(width=190)
    for table in tables(rows):
        console.print(table)
    print(
        f"{options.draws} draws of {min(WINDOW_S.values()):g} to {max(WINDOW_S.values()):g} s at "
        f"{100 * LOAD:.0f} % load, the best cell chosen on one half and all judged on the other; "
        f"SLO p99 <= {1e3 * LIMIT_S:g} ms; all results in {options.out}"
    )
    if "DYNBATCH_RECORDING" not in os.environ:
        print("without a recording: DYNBATCH_RECORDING=FILE names one")
    within = len(rows) == len(cases) and all(
        row["regret"] is not None and row["regret"] <= ALLOWED for row in rows
    )
    return 0 if within and all(row["cost"] <= DEAREST for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
