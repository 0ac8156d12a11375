"""Many lives, the same ones every time."""

from collections import Counter

from hypothesis import HealthCheck, given, settings

from tests.batching.life.life import live_through
from tests.batching.life.scenarios import scenarios

OUTCOMES = ("submitted", "ok", "rejected", "expired", "failed", "cancelled")


def live_many(count, trouble, *, live=False):
    """Live so many scenarios with that kind of trouble; returns the sums of what was counted.

    Raises:
        AssertionError: one had problems; it is the smallest that could be found.
    """
    sums = Counter()

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(scenarios(trouble))
    def one(scenario):
        counts = live_through(scenario, live=live).batcher.statistics()
        sums.update({outcome: getattr(counts, outcome) for outcome in OUTCOMES} | {"lives": 1})

    one()
    return sums
