"""What a simulation says of a run before it is measured."""

from dataclasses import dataclass

from bench.profiling.load import Loaded
from bench.settings import BatcherSettings
from bench.simulation.outcome import simulation_logs
from bench.simulation.run import bounds_of
from bench.simulation.setup import Setup
from results.run.metrics import compute_metrics
from results.run.predicted import measured
from workloads import ResolvedTrace


@dataclass(frozen=True)
class Prediction:
    """What a simulation says of a run.

    Attributes:
        metrics: those that are predicted, by their key in run.json.
        bounds: what no setting can beat under these arrivals, by the profile; see
            `bench.simulation.bounds`.
        execute_s: batch size -> mean execution time, seconds.
    """

    metrics: dict[str, float | None]
    bounds: dict[str, float]
    execute_s: dict[int, float]


def predict(
    batcher: BatcherSettings, replicas: int, loaded: Loaded, arrivals: ResolvedTrace
) -> Prediction:
    """Simulate what is about to be replayed.

    Args:
        batcher: its knobs.
        replicas: of the model.
        loaded: its batch times.
        arrivals: what is replayed.

    Raises:
        InputError: the batcher's largest batch is beyond the profile.
    """
    setup = Setup(batcher, loaded.source, replicas)
    arrival_s = arrivals.trace.arrival_s
    run = setup.run(arrival_s, arrivals.seed or 0)
    logs = simulation_logs(run, arrival_s, setup.knobs.max_batch_size).validated()
    metrics = compute_metrics(logs, arrivals.window_s, replicas=replicas)
    sizes = range(1, setup.knobs.max_batch_size + 1)
    execute_s = {size: loaded.source.mean_execute_s(size) for size in sizes}
    return Prediction(measured(metrics), bounds_of(setup, arrivals), execute_s)
