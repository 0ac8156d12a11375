"""Predictions beside measurements, and how far a run is from its bounds."""

import pandas as pd
import pytest

from results.run import predicted
from results.run.metrics import compute_metrics
from results.run.predicted import gaps, sentence
from results.run.record import SIMULATION, RunRecord
from results.run.wording import standing
from tests.results.made import answered, made_logs


def metrics_of(latencies_s, *more):
    batches = [{"size": 4, "taken_s": 0.0, "started_s": 0.0, "completed_s": 0.01}]
    return compute_metrics(made_logs([*answered(latencies_s), *more], batches), 1.0)


class TestErrors:
    def test_are_predicted_over_measured_less_one(self):
        metrics = metrics_of([0.010, 0.020, 0.030])
        said = {"throughput_rps": 3.0, "latency_s.p50": 0.022, "latency_s.p99": 0.015}
        off = predicted.errors(said | {"batch.mean_size": 5.0}, metrics)
        assert off == pytest.approx(
            {
                "throughput_rps": 0.0,
                "latency_s.p50": 0.1,
                "latency_s.p99": -0.5,
                "batch.mean_size": 0.25,
            }
        )

    def test_are_none_where_either_is_missing(self):
        metrics = metrics_of([0.010])
        off = predicted.errors({"latency_s.p50": None, "latency_s.p99": float("inf")}, metrics)
        assert set(off.values()) == {None}
        assert predicted.in_percent(None) == "unknown"

    def test_of_what_was_measured_are_zero(self):
        metrics = metrics_of([0.010, 0.020])
        assert set(predicted.errors(predicted.measured(metrics), metrics).values()) == {0.0}

    def test_are_rows_of_name_predicted_measured_and_error(self):
        metrics = metrics_of([0.010])
        found = predicted.rows({"latency_s.p50": 0.011}, metrics)
        assert ("latency, p50", "11.0 ms", "10.0 ms", "+10.0 %") in found
        assert ("throughput", "not measured", "1.00 req/s", "unknown") in found


class TestExecution:
    batches = pd.DataFrame(
        {
            "size": [1, 4, 4, 4, 9, 4],
            "taken_s": [0.0, 1.0, 2.0, 3.0, 4.0, 10.0],
            "started_s": [0.0, 1.0, 2.0, 3.0, 4.0, 10.0],
            "completed_s": [0.012, 1.022, 2.026, 9.0, 4.1, 19.0],
            "ok": [True, True, True, False, True, True],
        }
    )

    def test_is_compared_with_what_the_profile_gives_the_same_sizes(self):
        found = predicted.execution({1: 0.010, 4: 0.020}, self.batches, 10.0)
        assert found.profiled_s == pytest.approx((0.010 + 0.020 + 0.020) / 3)
        assert found.measured_s == pytest.approx((0.012 + 0.022 + 0.026) / 3)

    def test_is_unknown_without_a_profile_or_a_batch_of_a_profiled_size(self):
        assert predicted.execution(None, self.batches, 10.0) is None
        assert predicted.execution({2: 0.010}, self.batches, 10.0) is None

    def test_is_the_last_row_of_the_table(self):
        executed = predicted.Execution(0.010, 0.0125)
        [*_, last] = predicted.rows({}, metrics_of([0.010]), executed)
        assert last == ("batch execution, same sizes", "10.0 ms", "12.5 ms", "-20.0 %")


class TestHeadroom:
    bounds = {"capacity_rps": 900.0, "mean_s": 0.005, "p50_s": 0.004, "p99_s": 0.020}  # noqa: RUF012 - read only

    def test_is_how_many_times_the_least_a_latency_is(self):
        found = gaps(self.bounds, metrics_of([0.010] * 9 + [0.030]))
        assert {gap.name: gap.times for gap in found} == pytest.approx(
            {"p50": 2.5, "p99": 1.5, "mean": 2.4}
        )
        assert sentence(found) == (
            "p50 is 2.50 x 4.00 ms, p99 is 1.50 x 20.0 ms, the least of any policy that keeps the "
            "order of arrival; mean is 2.40 x 5.00 ms, the least of any policy at all"
        )

    def test_is_not_claimed_where_a_request_got_no_answer(self):
        lost = {"status": "rejected", "enqueued_s": 0.0, "ended_s": 0.0}
        assert gaps(self.bounds, metrics_of([0.010], lost)) == []

    def test_is_not_claimed_without_bounds(self):
        assert gaps(None, metrics_of([0.010])) == []
        assert sentence([]) == ""


@pytest.mark.parametrize(
    ("kind", "valid", "line"),
    [
        (SIMULATION, True, "SIMULATED, valid"),
        (SIMULATION, False, "SIMULATED, NOT VALID"),
        ("replay", True, "valid"),
    ],
)
def test_what_was_simulated_says_so_first(kind, valid, line):
    assert standing(RunRecord(id="r", kind=kind, window_s=1.0, valid=valid)).line == line
