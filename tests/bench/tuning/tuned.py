"""Small tunings that take no time: synthetic models, short traces, few trials."""

from batching import VirtualClock
from batching.models import AffineModel, RooflineModel
from bench.profiling.service_times import ExactSource
from bench.settings import ReplaySettings
from bench.tuning.search.objectives import Evidence, Limit, Statistic
from bench.tuning.simulated.simulator import SimulationBudget, Simulator, Traffic

MS = 1e-3
QUICK = SimulationBudget(search=4_000, capacity=2_000, closely=12_000, fewest=3, most=8)


def affine(base_ms=5.0, each_ms=0.1):
    return ExactSource(AffineModel(base_ms * MS, each_ms * MS, VirtualClock()))


def roofline():
    return ExactSource(RooflineModel(0.5 * MS, 4 * MS, 0.25 * MS, VirtualClock()))


def traffic(source, *, utilization=0.3, trace="poisson.json", duration=2.0, **replay):
    asked = ReplaySettings(trace=trace, utilization=utilization, duration=duration, **replay)
    return Traffic.of(asked, lambda: source.peak_rps)


def simulator(source, first=0, draws=3, **kwargs):
    return Simulator(source, traffic(source, **kwargs), first, draws)


def p99(limit_ms):
    return Limit(Statistic(0.99), limit_ms * MS)


def evidence(outcomes=(), *, offered_rps=100.0, limit_rps=200.0, capacity_rps=0.0, window_s=1.0):
    return Evidence(offered_rps, limit_rps, tuple(outcomes), window_s, lambda _: capacity_rps)
