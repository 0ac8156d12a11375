import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.errors import InvalidInputError
from results.run.metrics import Metrics, compute_metrics, percentile
from tests.results.made import answered, made_logs, same_draws, served_logs


@pytest.mark.parametrize(
    ("number", "per_mille", "rank"),
    [
        (1, 500, 1),  # of a single value every percentile is that value
        (2, 500, 1),
        (3, 500, 2),
        (4, 500, 2),
        (100, 990, 99),  # not the 100th, although 0.99 * 100 may come out above 99
        (100, 70, 7),  # 0.07 * 100 is 7.000000000000001 in floating point
        (101, 990, 100),
        (1000, 999, 999),
        (1001, 999, 1000),
        (10, 999, 10),
        (10, 1000, 10),
    ],
)
def test_a_percentile_is_the_value_of_its_nearest_rank(number, per_mille, rank):
    assert percentile(np.arange(1.0, number + 1), per_mille) == rank


@same_draws
@given(st.integers(1, 500), st.integers(1, 1000))
def test_at_least_that_share_of_the_values_lies_at_or_below_a_percentile(number, per_mille):
    values = np.arange(1.0, number + 1)
    value = percentile(values, per_mille)
    assert 1000 * np.sum(values <= value) >= per_mille * number
    assert 1000 * np.sum(values < value) < per_mille * number


def test_there_is_no_percentile_of_nothing():
    assert percentile(np.empty(0), 990) is None


def test_a_percentile_beyond_the_range_is_refused():
    with pytest.raises(InvalidInputError, match="per_mille must be within 1 and 1000, but got 0"):
        percentile(np.ones(3), 0)


def batch(taken_s, started_s, completed_s, size, **more):
    stamps = {"taken_s": taken_s, "staged_s": started_s, "started_s": started_s}
    ends = {"completed_s": completed_s, "delivered_s": completed_s, "freed_s": completed_s}
    return stamps | ends | {"size": size, "weight": size, "limit": 4} | more


def test_a_run_small_enough_to_work_out_by_hand():
    # Window [0, 10). Requests at 1 s and 2 s share a batch over [2, 4), handed over at 4.5 s;
    # one at 9 s runs over [9, 11), so it counts for latency but completes outside the window;
    # one at -1 s was warm-up and one at 10 s belongs to the tail.
    def one(at, taken, completed, ended, **more):
        stages = {"enqueued_s": at, "taken_s": taken, "staged_s": taken, "started_s": taken}
        return stages | {"scheduled_s": at, "completed_s": completed, "ended_s": ended} | more

    logs = made_logs(
        requests=[
            one(-1.0, -1.0, -0.5, -0.5),
            one(1.0, 2.0, 4.0, 4.5),
            one(2.0, 2.0, 4.0, 4.5),
            one(9.0, 9.0, 11.0, 11.0),
            one(10.0, 11.0, 12.0, 12.0),
            {"scheduled_s": 5.0, "enqueued_s": 5.0, "ended_s": 6.0, "status": "expired"},
            {"scheduled_s": 6.0, "ended_s": 6.0, "status": "rejected"},
        ],
        batches=[
            batch(-1.0, -1.0, -0.5, 1),
            batch(2.0, 2.0, 4.0, 2, real_elements=30.0, padded_elements=40.0),
            batch(9.0, 9.0, 11.0, 1, real_elements=10.0, padded_elements=10.0),
            batch(11.0, 11.0, 12.0, 1),
        ],
        telemetry=[
            {"t_s": 2.0, "process_cpu_cores": 1.0, "rss_bytes": 100.0},
            {"t_s": 4.0, "process_cpu_cores": 3.0, "rss_bytes": 300.0},
            {"t_s": 10.5, "process_cpu_cores": 4.0, "rss_bytes": 900.0},
        ],
        stalls=[{"at_s": 1.0, "late_s": 0.25}, {"at_s": 99.0, "late_s": 9.0}],
    )
    metrics = compute_metrics(logs, 10.0, replicas=1, cores=4, slo_latency_s=2.5)
    assert metrics.offered_rps == 0.5
    assert metrics.throughput_rps == 0.2
    assert metrics.goodput_rps == 0.1  # of 3.5 s and 2.5 s only one is within 2.5 s
    assert metrics.latency_s.mean == pytest.approx(8.0 / 3.0)
    assert metrics.latency_s.p50 == 2.5
    assert metrics.latency_s.max == 3.5
    assert metrics.breakdown_s.forming == pytest.approx(1.0 / 3.0)
    assert metrics.breakdown_s.execute == 2.0
    assert metrics.breakdown_s.deliver == pytest.approx(1.0 / 3.0)
    assert metrics.stall_s.max == 0.25
    assert metrics.batch.count == 2
    assert metrics.batch.mean_size == 1.5
    assert metrics.batch.efficiency == 0.375
    assert metrics.batch.padding_efficiency == 0.8
    assert metrics.batch.histogram == {"1": 1, "2": 1}
    assert metrics.counts.model_dump() == {
        "submitted": 5,
        "ok": 3,
        "rejected": 1,
        "expired": 1,
        "failed": 0,
        "cancelled": 0,
        "retried": 0,
    }
    assert metrics.device.busy_fraction == pytest.approx(0.3)
    assert metrics.device.busy_s_per_request == pytest.approx(1.5)
    assert metrics.device.cpu_utilization == 0.5
    assert metrics.device.memory_bytes == 300.0


def test_metrics_serialise_to_exactly_the_documented_keys():
    shape = json.loads(compute_metrics(made_logs(), 1.0).model_dump_json())
    assert {key: sorted(part) for key, part in shape.items() if isinstance(part, dict)} == {
        "latency_s": sorted(["mean", "p50", "p90", "p95", "p99", "p99_9", "max"]),
        "breakdown_s": sorted(
            ["slip", "forming", "queued", "collate", "staged", "execute", "deliver", "retry"]
        ),
        "slip_s": ["max", "p50", "p99"],
        "stall_s": ["max", "p50", "p99"],
        "batch": sorted(["count", "mean_size", "efficiency", "padding_efficiency", "histogram"]),
        "counts": sorted(
            ["submitted", "ok", "rejected", "expired", "failed", "cancelled", "retried"]
        ),
        "device": sorted(
            ["busy_fraction", "busy_s_per_request", "nvml_utilization", "memory_bytes", "power_w",
             "energy_j", "energy_j_per_request", "energy_source", "sm_clock_mhz",
             "sm_clock_min_mhz", "temperature_c", "throttled_fraction", "throttle_reasons",
             "flops_per_s", "mfu", "cpu_utilization"]
        ),
        "devices": [],
    }  # fmt: skip
    assert [key for key, part in shape.items() if not isinstance(part, dict)] == [
        "offered_rps",
        "throughput_rps",
        "goodput_rps",
        "prediction_error",
    ]


def test_what_was_not_measured_is_null_and_never_zero():
    metrics = compute_metrics(made_logs(), 1.0)
    assert metrics.throughput_rps == 0.0
    assert set(metrics.latency_s.model_dump().values()) == {None}
    assert set(metrics.breakdown_s.model_dump().values()) == {None}
    assert set(metrics.device.model_dump().values()) == {None}
    assert metrics.batch.mean_size is None


@pytest.mark.parametrize(
    ("scheduled_s", "inside"),
    [(0.0, True), (-1e-9, False), (10.0 - 1e-9, True), (10.0, False)],
)
def test_the_window_includes_its_start_and_excludes_its_end(scheduled_s, inside):
    metrics = compute_metrics(made_logs(answered([0.0], scheduled_s)), 10.0)
    assert metrics.counts.submitted == int(inside)
    assert metrics.throughput_rps == (0.1 if inside else 0.0)


def test_latency_is_of_ok_requests_only():
    slow_failure = {"ended_s": 100.0, "status": "failed"}
    metrics = compute_metrics(made_logs([*answered([1.0, 3.0]), slow_failure]), 10.0)
    assert metrics.latency_s.max == 3.0
    assert metrics.counts.failed == 1


@pytest.mark.parametrize("status", ["ok", "rejected", "expired", "failed", "cancelled"])
def test_requests_of_one_ending_are_counted_as_that_and_as_no_other(status):
    rows = [row | {"status": status} for row in answered([1.0, 2.0])]
    rows[1]["attempts"] = 2
    counts = compute_metrics(made_logs(rows), 1.0).counts.model_dump()
    endings = dict.fromkeys(("ok", "rejected", "expired", "failed", "cancelled"), 0)
    assert counts == endings | {status: 2, "submitted": 2, "retried": 1}


def test_the_mean_parts_sum_to_the_mean_latency():
    metrics = compute_metrics(served_logs(burst=True), 4.0)
    parts = metrics.breakdown_s.model_dump().values()
    assert sum(parts) == pytest.approx(metrics.latency_s.mean, rel=1e-9)


def test_goodput_counts_completions_within_the_limit_itself():
    metrics = compute_metrics(made_logs(answered([1.0, 2.0, 3.0])), 10.0, slo_latency_s=2.0)
    assert metrics.goodput_rps == pytest.approx(0.2)


def test_a_batch_is_as_full_as_the_limit_of_its_own_time_allowed():
    # The limit was 4, then 8: half full, then full.
    rows = [batch(1.0, 1.0, 2.0, size=2), batch(3.0, 3.0, 4.0, size=8, limit=8)]
    assert compute_metrics(made_logs(batches=rows), 10.0).batch.efficiency == 0.75


def test_overlapping_batches_of_a_worker_are_not_counted_as_busy_twice():
    overlapping = [batch(0.0, 0.0, 4.0, 1), batch(0.0, 2.0, 6.0, 1)]
    logs = made_logs(answered([1.0]), overlapping)
    assert compute_metrics(logs, 10.0).device.busy_fraction == pytest.approx(0.6)


def test_busy_fraction_is_the_mean_over_all_replicas_and_clipped_to_the_window():
    two = [batch(-5.0, -5.0, 5.0, 1, worker=0), batch(8.0, 8.0, 20.0, 1, worker=1)]
    metrics = compute_metrics(made_logs(answered([1.0, 1.0]), two), 10.0, replicas=4)
    assert metrics.device.busy_fraction == pytest.approx(7.0 / 40.0)
    assert metrics.device.busy_s_per_request == pytest.approx(3.5)


def test_device_time_replaces_host_stamps_only_if_every_batch_that_ran_has_it():
    timed = [batch(0.0, 0.0, 2.0, 1, device_s=0.5), batch(4.0, 4.0, 6.0, 1, device_s=0.5)]
    crashed = batch(7.0, 7.0, 8.0, 1, ok=False)
    untimed = batch(7.0, 7.0, 8.0, 1)

    def busy(batches):
        return compute_metrics(made_logs(answered([1.0]), batches), 10.0).device.busy_fraction

    assert busy(timed) == pytest.approx(0.1)
    assert busy([*timed, crashed]) == pytest.approx(0.1)
    assert busy([*timed, untimed]) == pytest.approx(0.5)


def test_gpu_readings_are_means_peaks_and_differences_inside_the_window():
    samples = [
        {"t_s": -1.0, "gpu_energy_j": 0.0, "gpu_memory_bytes": 9e9},
        {"t_s": 0.0, "gpu_energy_j": 100.0, "gpu_memory_bytes": 1e9, "gpu_utilization": 0.5},
        {"t_s": 5.0, "gpu_energy_j": 150.0, "gpu_memory_bytes": 2e9, "gpu_utilization": 1.0},
        {"t_s": 9.0, "gpu_power_w": 300.0, "gpu_energy_j": 180.0, "rss_bytes": 5e9},
    ]
    device = compute_metrics(made_logs(answered([1.0] * 4), (), samples), 10.0, cores=2).device
    assert device.energy_j == pytest.approx(80.0 / 0.9)  # the samples cover 9 of 10 s
    assert device.energy_j_per_request == pytest.approx(20.0 / 0.9)
    assert device.memory_bytes == 2e9
    assert device.nvml_utilization == 0.75
    assert device.power_w == 300.0
    assert device.cpu_utilization is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window_s": 0.0}, "window_s must be > 0, but got 0"),
        ({"window_s": float("nan")}, "window_s must be > 0, but got nan"),
        ({"replicas": 0}, "replicas must be >= 1, but got 0"),
        ({"cores": 0}, "cores must be >= 1, but got 0"),
        ({"slo_latency_s": -1.0}, "slo_latency_s must be > 0, but got -1"),
        ({"slo_latency_s": 0.0}, "slo_latency_s must be > 0, but got 0"),
    ],
)
def test_an_argument_out_of_range_is_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        compute_metrics(made_logs(), **({"window_s": 1.0} | arguments))


def test_metrics_survive_a_round_trip_through_json():
    metrics = compute_metrics(served_logs(), 4.0, cores=2, slo_latency_s=0.02)
    assert Metrics.model_validate_json(metrics.model_dump_json()) == metrics
