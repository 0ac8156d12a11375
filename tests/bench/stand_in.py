"""A device whose runs are simulations, watched as real ones are."""

from math import inf
from types import SimpleNamespace

import numpy as np

from bench.live.replay import Sent
from bench.profiling.load import Loaded
from bench.simulation.run import write_simulation
from bench.simulation.setup import Setup
from tests.bench.tuning.tuned import affine

TICK_S = 0.25


class StandIn:
    """Serves with the batch times of a source of its own, perhaps not those of the profile."""

    def __init__(self, base_ms=5.0, *, source=None, fail_after=inf):
        self.source = source or affine(base_ms)
        self.runs = []
        self.ended = []
        self.fail_after = fail_after

    def __call__(self, arm, arrivals, folder, ender=None):
        if len(self.runs) >= self.fail_after:
            raise KeyboardInterrupt
        self.runs.append((arm.name, arrivals.trace.fingerprint()))
        setup = Setup(arm.settings.batcher, self.source)
        loaded = Loaded(self.source, "affine", "stand-in")
        run = write_simulation(setup, arm.settings, loaded, arrivals, folder)
        if ender is not None:
            self.ended.append(watched(run, arrivals, ender))
        return run


def watched(run, arrivals, ender):
    """Show a finished run to what watches it, tick by tick, as far as it lets it go on."""
    now = SimpleNamespace(s=0.0)
    batches = {
        row.batch: SimpleNamespace(
            batch=row.batch,
            device_s=float("nan"),
            started_s=row.started_s,
            completed_s=row.completed_s,
            delivered_s=row.delivered_s,
        )
        for row in run.batches.itertuples()
    }
    requests = [
        SimpleNamespace(
            status=row.status,
            ended_s=row.ended_s,
            batch=batches.get(row.batch),
            done=lambda ended_s=row.ended_s: ended_s <= now.s,
        )
        for row in run.requests.itertuples()
    ]
    sent = Sent(start_s=0.0)
    scheduled_s = run.requests["scheduled_s"].to_numpy()
    for tick_s in np.arange(TICK_S, arrivals.window_s, TICK_S):
        now.s = tick_s
        sent.requests = requests[: int(np.searchsorted(scheduled_s, tick_s, side="right"))]
        ender.watch(sent, tick_s)
        if sent.stop.is_set():
            break
    return ender.ended
