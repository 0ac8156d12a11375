"""What a simulation says of a run before it is measured."""

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from batching import Clock, Model, Placement
from batching.profiles import load_profile
from bench.profiling.load import Loaded, matching
from bench.profiling.measure import measure_quietly
from bench.profiling.service_times import ProfileSource
from bench.settings import BatcherSettings
from bench.simulation.outcome import simulation_logs
from bench.simulation.run import bounds_of
from bench.simulation.setup import Setup
from results.run.metrics import compute_metrics
from results.run.predicted import measured
from workloads import ResolvedTrace


@dataclass(frozen=True)
class Profiling:
    """Where the batch times behind a prediction come from.

    Args:
        path: a profile's file; None measures one before the run.
        budget_s: time for measuring it.
        force: use a profile of something else all the same.
    """

    path: Path | None
    budget_s: float
    force: bool = False

    def load(
        self,
        model: Model,
        placement: Placement,
        *,
        device: str,
        largest: int,
        clock: Clock,
        console: Console,
    ) -> Loaded:
        """The model's profile, read and checked, or measured now.

        Args:
            model: as loaded.
            placement: where, and by which engine, it runs.
            device: the device, or the devices, as reports call them.
            largest: batch size that is measured up to.
            clock: what it is measured on.
            console: where to say what is being done.

        Raises:
            ProfileError: the file is no profile, or not of this model, device, dtype and engine.
        """
        differences: tuple[str, ...] = ()
        if self.path is not None:
            profile = load_profile(self.path)
            differences = matching(profile, model, placement, force=self.force)
        else:
            profile = measure_quietly(
                model,
                placement,
                clock,
                console,
                max_batch_size=largest,
                budget_s=self.budget_s,
            )
        source = ProfileSource(profile)
        return Loaded(source, model.name, device, profile, self.path, differences)


@dataclass(frozen=True)
class Known:
    """Batch times that are there already.

    Args:
        loaded: the source.
        force: use a profile of something else all the same.
    """

    loaded: Loaded
    force: bool = False

    def load(
        self,
        model: Model,
        placement: Placement,
        *,
        device: str,
        largest: int,
        clock: Clock,
        console: Console,
    ) -> Loaded:
        """The source, checked against the model; arguments as for `Profiling.load`.

        Raises:
            ProfileError: it is a profile of another model, device, dtype or engine.
        """
        profile = self.loaded.profile
        if profile is None:
            return self.loaded
        differences = matching(profile, model, placement, force=self.force)
        return replace(self.loaded, differences=differences)


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
    run = setup.run(arrival_s.tolist(), arrivals.seed or 0)
    logs = simulation_logs(run, arrival_s, setup.knobs.max_batch_size).validated()
    metrics = compute_metrics(logs, arrivals.window_s, replicas=replicas)
    sizes = range(1, setup.knobs.max_batch_size + 1)
    execute_s = {size: loaded.source.mean_execute_s(size) for size in sizes}
    return Prediction(measured(metrics), bounds_of(setup, arrivals), execute_s)
