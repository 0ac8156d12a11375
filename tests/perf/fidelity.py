"""`make fidelity`: how far simulations are off, on this machine, now.

Every cell is predicted from a service profile measured a moment before, then replayed for real at
least twice; the spread of the replays is what no prediction can be better than. The load is a share
of what the setting itself serves with a full queue, so that no cell is overloaded.
"""

import argparse
import json
import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console
from rich.table import Table

from batching import RealClock
from batching.execution.devices import cpu_name
from bench.live.measure import measure_run
from bench.live.plan import plan_run
from bench.live.session import Session
from bench.profiling.load import load_for
from bench.settings import load_settings
from bench.simulation.setup import Setup
from bench.traces.source import load_replayed
from results.run.logs import RunLogs
from results.run.metrics import compute_metrics
from results.run.predicted import PREDICTED, execution, measured

MODELS = ("mlp", "affine:5,0.1")
TRACES = ("poisson.json", "bursty.json")
LOADS = (0.3, 0.6, 0.8)
KNOBS = {
    "window": {"policy": "window", "batch_timeout_ms": 2.0},
    "timeout": {"policy": "timeout", "batch_timeout_ms": 2.0},
    "deadline": {"policy": "deadline", "slo_ms": 40.0},
}
TARGETS = {"latency_s.p50": 0.05, "latency_s.p99": 0.10}
OTHER_TARGET = 0.02
# Other processes that take this much of a core change what is measured.
DISTURBED = 0.2
# A device that has become slower or faster by more than this since it was profiled is another one.
DRIFTED = 0.05


@dataclass(frozen=True)
class Cell:
    model: str
    trace: str
    load: float
    policy: str

    def settings(self, rate_rps, seconds):
        listed = not self.trace.endswith(".json")
        options = {"model": self.model, "trace": self.trace, "duration": seconds, "rate": rate_rps}
        return load_settings(
            None,
            {**options, "max_batch_size": 32, "loop": True if listed else None}
            | KNOBS[self.policy],
        )


class Others:
    """CPU cores that other processes took since the last look."""

    def __init__(self):
        self._process = psutil.Process()
        self._before = self._look()

    def _look(self):
        every, own = psutil.cpu_times(), self._process.cpu_times()
        busy_s = sum(every) - every.idle - getattr(every, "iowait", 0.0) - own.user - own.system
        return time.perf_counter(), busy_s - getattr(every, "guest", 0.0)

    def cores(self):
        before, self._before = self._before, self._look()
        return (self._before[1] - before[1]) / (self._before[0] - before[0])


def replay(session, planned):
    recording = measure_run(session, planned)
    logs = RunLogs(
        requests=recording.requests,
        batches=recording.batches,
        telemetry=recording.telemetry,
        stalls=recording.stalls,
    )
    logs = logs.validated()
    executed = execution(recording.prediction.execute_s, logs.batches, recording.window_s)
    found = measured(compute_metrics(logs, recording.window_s))
    return found, executed.measured_s / executed.profiled_s


def run_cell(cell, loaded, arguments):
    quiet = Console(quiet=True)
    probe = cell.settings(1.0, arguments.seconds)
    limit_rps = Setup(probe.batcher, loaded.source).limit_rps()
    settings = cell.settings(cell.load * limit_rps, arguments.seconds)
    session = Session(settings.model, [settings.batcher], RealClock(), quiet)
    planned = plan_run(session, settings, load_replayed(settings.replay, quiet), loaded)
    predicted = planned.prediction.metrics
    others = Others()
    runs = [replay(session, planned) for _ in range(arguments.repeats)]
    taken = others.cores()
    row = {"model": cell.model, "trace": Path(cell.trace).stem[:12], "load": cell.load}
    row |= {"policy": cell.policy, "rate_rps": cell.load * limit_rps, "others": taken}
    row["slower"] = median(slower for _, slower in runs)
    row["metrics"] = {}
    for key in PREDICTED:
        values = [one[key] for one, _ in runs]
        middle = median(values)
        row["metrics"][key] = {
            "predicted": predicted[key],
            "measured": values,
            "error": predicted[key] / middle - 1.0,
            "spread": (max(values) - min(values)) / middle,
        }
    return row


def profile_of(cell, arguments):
    """A profile measured now, through a session, as `bench --predict` does it."""
    settings = cell.settings(1.0, 10.0)
    clock, quiet = RealClock(), Console(quiet=True)
    session = Session(settings.model, [settings.batcher], clock, quiet)
    return load_for(
        session.model,
        session.placement,
        clock,
        quiet,
        profile=None,
        max_batch_size=settings.batcher.max_batch_size,
        budget_s=arguments.budget,
    )


def cells_of(arguments):
    traces = list(TRACES)
    if arguments.recording:
        traces.append(arguments.recording)
    loads = (0.6,) if arguments.quick else LOADS
    return [
        Cell(model, trace, load, policy)
        for model in MODELS
        for trace in traces
        for load in loads
        for policy in KNOBS
    ]


def table_of(rows):
    table = Table(title="Predicted against measured: error (spread of the replays)")
    for name in ("model", "trace", "load", "policy", "req/s"):
        table.add_column(name, no_wrap=True)
    for name in (
        "p99 predicted",
        "p99 measured",
        "p50",
        "p99",
        "throughput",
        "batch",
        "device",
        "others",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        found = row["metrics"]
        p99 = found["latency_s.p99"]
        order = ("latency_s.p50", "latency_s.p99", "throughput_rps", "batch.mean_size")
        table.add_row(
            row["model"], row["trace"], f"{row['load']:g}", row["policy"],
            f"{row['rate_rps']:,.0f}", f"{1e3 * p99['predicted']:.2f} ms",
            f"{1e3 * median(p99['measured']):.2f} ms",
            *(f"{100 * found[k]['error']:+.1f} ({100 * found[k]['spread']:.1f}) %" for k in order),
            f"x {row['slower']:.2f}",
            f"{row['others']:.2f}" + (" *" if row["others"] > DISTURBED else ""),
        )  # fmt: skip
    return table


def summary_of(rows, which="all"):
    table = Table(title=f"Medians, {which}: {len(rows)} cells")
    for name in ("metric", "absolute error", "spread of replays", "target", "within either"):
        table.add_column(name, justify="right")
    for key, (name, _) in PREDICTED.items():
        errors = [abs(row["metrics"][key]["error"]) for row in rows]
        spreads = [row["metrics"][key]["spread"] for row in rows]
        target = TARGETS.get(key, OTHER_TARGET)
        within = sum(e <= max(target, s) for e, s in zip(errors, spreads, strict=True))
        table.add_row(
            name, f"{100 * median(errors):.1f} %", f"{100 * median(spreads):.1f} %",
            f"{100 * target:g} %", f"{within} of {len(rows)}",
        )  # fmt: skip
    return table


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one load, no more")
    parser.add_argument(
        "--recording",
        default=os.environ.get("DYNBATCH_RECORDING"),
        help="a recorded trace to replay too (or DYNBATCH_RECORDING)",
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="window of each replay")
    parser.add_argument("--repeats", type=int, default=2, help="replays of each cell")
    parser.add_argument("--budget", type=float, default=6.0, help="seconds for each profile")
    parser.add_argument("--out", type=Path, help="write all numbers there as JSON")
    return parser.parse_args()


def main():
    arguments = read_arguments()
    console = Console(highlight=False, width=170)
    console.print(
        f"{cpu_name()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, "
        f"torch {version('torch')}, dynbatch {version('dynbatch')}; windows of "
        f"{arguments.seconds:g} s, {arguments.repeats} replays a cell"
    )
    if not arguments.recording:
        console.print("no recording: name one with --recording or DYNBATCH_RECORDING")
    rows = []
    for _, group in groupby(cells_of(arguments), key=lambda c: (c.model, c.trace, c.load)):
        here = list(group)
        loaded = profile_of(here[0], arguments)
        for cell in here:
            rows.append(run_cell(cell, loaded, arguments))
            console.print(f"{len(rows)}: {cell}", soft_wrap=True, style="dim")
            if arguments.out:
                arguments.out.write_text(json.dumps(rows, indent=1))
    console.print(table_of(rows))
    console.print("device: execution in the replays / in the profile, batches of the same sizes")
    console.print("*: other processes took more than a fifth of a core meanwhile")
    console.print(summary_of(rows))
    groups = {f"{model} only": [r for r in rows if r["model"] == model] for model in MODELS}
    groups["undisturbed"] = [row for row in rows if row["others"] <= DISTURBED]
    groups[f"device within {100 * DRIFTED:g} % of the profile"] = [
        row for row in rows if abs(row["slower"] - 1.0) <= DRIFTED
    ]
    for which, some in groups.items():
        if 0 < len(some) < len(rows):
            console.print(summary_of(some, which))


if __name__ == "__main__":
    main()
