"""What the search recommends is as good as the best of a grid, on draws that neither saw."""

from pathlib import Path

import pytest

from batching.profiles import load_profile
from bench.profiling.service_times import ProfileSource
from bench.tuning.simulated.simulator import SimulationBudget
from tests.bench.tuning.tuned import (
    affine,
    p99,
    roofline,
    traffic,
)
from tests.search_quality.regret import ALLOWED, Case, question_of, search_regret

SMALL = SimulationBudget(search=9_000, capacity=3_000, closely=24_000, fewest=3, most=12)
MLP = Path(__file__).parents[2] / "search_quality" / "data" / "mlp-cpu.json"


def mlp():
    return ProfileSource(load_profile(MLP))


@pytest.mark.parametrize(
    ("source", "objective", "limit", "trace"),
    [
        (affine(), "latency", None, "poisson.json"),
        (roofline(), "device-time", p99(30), "poisson.json"),
        (roofline(), "capacity", p99(30), "poisson.json"),
        (mlp(), "device-time", p99(30), "bursty.json"),
    ],
    ids=["latency", "device time", "capacity", "device time of a profile"],
)
def test_regret_against_an_exhaustive_grid_is_at_most_two_percent(source, objective, limit, trace):
    case = Case(
        question_of(objective, limit, trials=40, patience=20),
        source,
        traffic(source, trace=trace),
        draws=16 if objective == "capacity" else 40,
        window_s=1.0 if objective == "capacity" else 2.0,
        sizes=8,
        timeouts=4 if objective == "capacity" else 10,
        effort=SMALL,
    )
    regret, slo = search_regret(case)
    assert regret <= ALLOWED
    assert slo <= 0.02  # the SLO, which the search saw few draws of
