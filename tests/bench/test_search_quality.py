"""What judges a search is right itself: its simulator, its device, its rivals."""

from pathlib import Path

import numpy as np
import pytest

from batching.profiles import load_profile
from bench.config import BatcherSettings
from bench.simulation.engine import simulate
from bench.simulation.runner import Setup
from bench.simulation.service import ExactService, Overheads
from bench.simulation.source import ProfileSource
from tests.bench.tuned import affine, roofline, traffic
from tests.search_quality.lockstep import Tracks, lockstep, series_of

MLP = Path(__file__).parents[1] / "search_quality" / "data" / "mlp-cpu.json"
SETTINGS = [(1, 0.0), (3, 1.7), (8, 0.0), (16, 4.0), (32, 30.0)]


class Series:
    """The engine's service and overheads, of the very series that lockstep draws."""

    def __init__(self, source, seed):
        self.ranks, wakes, timers, turns = series_of(source, seed)
        self.curve = source.profile.curve()
        self.overheads = Overheads(*(lambda one=one: next(one) for one in (wakes, timers, turns)))

    def next(self, size):
        rows = self.curve.rows(size)
        return tuple(rows[int(next(self.ranks) * len(rows))])


def service_of(source, seed):
    if isinstance(source, ProfileSource):
        series = Series(source, seed)
        return series, series.overheads
    return ExactService(source.model.batch_s), Overheads()


@pytest.mark.parametrize("trace", ["poisson.json", "bursty.json"])
@pytest.mark.parametrize(
    "source", [affine(), roofline(), ProfileSource(load_profile(MLP))], ids=["a", "r", "p"]
)
def test_runs_in_lockstep_form_the_very_batches_of_the_engine(source, trace):
    load = traffic(source, utilization=0.5, trace=trace, duration=0.6)
    tracks = Tracks(load.draws(0, 3), (5, 6, 7))
    runs = [(track, *setting) for setting in SETTINGS for track in range(3)]
    track, limit, timeout_ms = map(np.array, zip(*runs, strict=True))
    batches = lockstep(source, tracks, track, limit, timeout_ms / 1e3)
    for number, (of, size, wait_ms) in enumerate(runs):
        policy = Setup(
            BatcherSettings(max_batch_size=size, batch_timeout_ms=wait_ms), source
        ).policy()
        service, overheads = service_of(source, tracks.seeds[of])
        arrival_s = tracks.draws[of].trace.arrival_s.tolist()
        run = simulate(arrival_s, policy, service, overheads=overheads)
        mine = batches.run == number
        assert batches.size[mine].tolist() == run.size.tolist()
        assert batches.first[mine].tolist() == run.first.tolist()
        for name in ("started_s", "completed_s", "delivered_s"):
            assert getattr(batches, name)[mine].tolist() == getattr(run, name).tolist()
