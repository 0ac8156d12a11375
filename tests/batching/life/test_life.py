"""Whatever is done to a batcher, every request ends once, and its counts and tables are right."""

from hypothesis import HealthCheck, given, settings

from tests.batching.life.life import live_through
from tests.batching.life.scenarios import scenarios

quietly = settings(suppress_health_check=list(HealthCheck), database=None)


class TestTheWholeLife:
    @settings(quietly, max_examples=200)
    @given(scenarios())
    def test_every_request_ends_once_whatever_is_done_in_virtual_time(self, scenario):
        live_through(scenario)

    @settings(quietly, max_examples=20)
    @given(scenarios())
    def test_every_request_ends_once_whatever_is_done_with_live_threads(self, scenario):
        live_through(scenario, live=True)
