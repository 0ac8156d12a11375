"""What the search recommends is as good as the best of a grid, on draws that neither saw."""

import pytest

from bench.tuning.simulated import Effort
from tests.bench.tuned import affine, p99, roofline, traffic
from tests.search_quality.regret import question_of, search_regret

SMALL = Effort(search=9_000, capacity=3_000, closely=24_000, fewest=3, most=12)


@pytest.mark.parametrize(
    ("source", "objective", "limit"),
    [
        (affine(), "latency", None),
        (roofline(), "device-time", p99(30)),
        (roofline(), "capacity", p99(30)),
    ],
)
def test_regret_against_an_exhaustive_grid_is_at_most_two_percent(source, objective, limit):
    question = question_of(objective, limit, trials=60, patience=30)
    found = search_regret(
        question,
        source,
        traffic(source),
        draws=8 if objective == "capacity" else 24,
        window_s=2.0,
        first=4,
        sizes=8,
        timeouts=3 if objective == "capacity" else 10,
        effort=SMALL,
    )
    assert found.regret <= 0.02
    assert found.slo <= 0.02  # the SLO, which the search saw few draws of
