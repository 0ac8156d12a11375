"""What a simulation says of a run before it is measured."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from batching.profiles import load_profile
from bench.profiling.load import Loaded, matching
from bench.profiling.measure import measure_quietly
from bench.profiling.service_times import ProfileSource
from bench.simulation.outcome import simulation_logs
from bench.simulation.run import bounds_of
from bench.simulation.setup import Setup
from results.run.metrics import compute_metrics
from results.run.predicted import measured
from workloads import ResolvedTrace

if TYPE_CHECKING:
    from bench.live.session import Session


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

    def load(self, session: "Session") -> Loaded:
        """The profile of the session's model, read and checked, or measured now.

        Raises:
            ProfileError: the file is no profile, or not of this model, device, dtype and engine.
        """
        model, placement = session.model, session.placement
        differences: tuple[str, ...] = ()
        if self.path is not None:
            profile = load_profile(self.path)
            differences = matching(profile, model, placement, force=self.force)
        else:
            profile = measure_quietly(
                model,
                placement,
                session.clock,
                session.console,
                max_batch_size=session.settings.batcher.max_batch_size,
                budget_s=self.budget_s,
            )
        source = ProfileSource(profile)
        return Loaded(source, model.name, session.device, profile, self.path, differences)


@dataclass(frozen=True)
class Known:
    """Batch times that are there already.

    Args:
        loaded: the source.
        force: use a profile of something else all the same.
    """

    loaded: Loaded
    force: bool = False

    def load(self, session: "Session") -> Loaded:
        """The source, checked against the session's model.

        Raises:
            ProfileError: it is a profile of another model, device, dtype or engine.
        """
        profile = self.loaded.profile
        if profile is None:
            return self.loaded
        differences = matching(profile, session.model, session.placement, force=self.force)
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


def predict(session: "Session", loaded: Loaded, arrivals: ResolvedTrace) -> Prediction:
    """Simulate what the session is about to replay.

    Args:
        session: the model and the settings.
        loaded: its batch times.
        arrivals: what is replayed.

    Raises:
        InputError: the batcher's largest batch is beyond the profile.
    """
    setup = Setup(session.settings.batcher, loaded.source, session.replicas)
    arrival_s = arrivals.trace.arrival_s
    run = setup.run(arrival_s.tolist(), arrivals.seed or 0)
    logs = simulation_logs(run, arrival_s, setup.knobs.max_batch_size).validated()
    metrics = compute_metrics(logs, arrivals.window_s, replicas=session.replicas)
    sizes = range(1, setup.knobs.max_batch_size + 1)
    execute_s = {size: loaded.source.mean_execute_s(size) for size in sizes}
    return Prediction(measured(metrics), bounds_of(setup, arrivals), execute_s)
