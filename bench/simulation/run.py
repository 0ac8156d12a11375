"""A simulation as a run on disk, labelled as what it is."""

from pathlib import Path

import numpy as np

from bench.profiling.load import Loaded
from bench.settings import Settings
from bench.simulation.bounds import bounds
from bench.simulation.outcome import simulation_logs
from bench.simulation.setup import Setup
from results.run.analysis import analyse
from results.run.record import (
    SIMULATION,
    Run,
    RunDirectory,
    RunRecord,
)
from workloads import ResolvedTrace


def write_simulation(
    setup: Setup,
    settings: Settings,
    loaded: Loaded,
    arrivals: ResolvedTrace,
    folder: Path,
    *,
    command: str = "",
) -> Run:
    """Simulate, write the logs and the record, compute the metrics.

    Args:
        setup: the batcher.
        settings: what was asked for, for the record.
        loaded: where the batch times are from.
        arrivals: the trace.
        folder: the run's folder.
        command: how to do it again.
    """
    seed = 0 if arrivals.seed is None else arrivals.seed
    run = setup.run(arrivals.trace.arrival_s, seed)
    directory = RunDirectory.create(folder)
    directory.write_logs(simulation_logs(run, arrivals.trace.arrival_s, setup.knobs.max_batch_size))
    directory.write_record(
        RunRecord(
            id=folder.resolve().name,
            kind=SIMULATION,
            window_s=arrivals.window_s,
            config={
                **settings.batcher.model_dump(mode="json"),
                "model": loaded.model,
                "device": loaded.device,
                "replicas": setup.replicas,
                "service_seed": seed,
                "slo": [str(slo) for slo in settings.slo.parsed],
                **loaded.describe(),
                "command": command,
            },
            trace=arrivals.describe(),
            bounds=bounds_of(setup, arrivals),
        )
    )
    return analyse(folder)


def bounds_of(setup: Setup, arrivals: ResolvedTrace) -> dict[str, float]:
    """What no setting of any policy can beat here; see `bench.simulation.bounds`."""
    inside_s = np.asarray(arrivals.trace.arrival_s[: arrivals.requests])
    found = bounds(inside_s, setup.source, replicas=setup.replicas)
    return {
        "capacity_rps": found.capacity_rps,
        "mean_s": found.mean_s,
        "p50_s": found.percentile_s(0.5),
        "p99_s": found.percentile_s(0.99),
    }
