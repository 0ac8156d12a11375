"""Live metrics say what the batcher did, exactly, and cost nothing where nobody asks for them."""

import math
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from batching import ConfigError, DynamicBatcher, FaultTolerance, QueueFullError, VirtualClock
from batching.models import AffineModel
from batching.models.contract import Collated
from batching.prometheus import METRICS, BatcherCollector
from batching.prometheus import _Observer as Observer
from batching.request import BatchRecord, Request

ROOT = Path(__file__).resolve().parents[2]


class Model(AffineModel):
    """Takes 5 ms a batch; `misbehave(payloads)` may raise or take longer. Pads to length 8."""

    def __init__(self, clock, misbehave):
        super().__init__(0.005, 0.0, clock)
        self.misbehave = misbehave

    def collate(self, payloads, staging):
        real = sum(p for p in payloads if isinstance(p, int))
        return Collated(payloads, real_elements=real, padded_elements=8 * len(payloads))

    def run(self, inputs):
        super().run(inputs)
        self.misbehave(inputs)
        return inputs


class Virtual:
    """A batcher in virtual time with its metrics; held requests go after 10 ms."""

    def __init__(self, misbehave=lambda payloads: None, **options):
        self.clock = VirtualClock()
        options = {"max_batch_size": 4, "batch_timeout_ms": 10.0, "warm_up_budget_s": 0} | options
        self.batcher = DynamicBatcher(Model(self.clock, misbehave), clock=self.clock, **options)
        self.registry = CollectorRegistry()
        self.registry.register(BatcherCollector(self.batcher))
        self.batcher.start()

    def submit(self, *payloads, **options):
        return [self.batcher.submit(payload, **options) for payload in payloads]

    def sleep(self, seconds):
        self.clock.sleep_until(self.clock.now() + seconds)

    def value(self, name, batcher="default", **labels):
        return self.registry.get_sample_value(f"dynbatch_{name}", {"batcher": batcher, **labels})


class TestExposition:
    def test_both_text_formats_are_read_back_with_every_metric_and_its_type(self):
        virtual = Virtual(warm_up_budget_s=20)
        virtual.submit(1, 2, 3)
        virtual.batcher.stop()
        plain = generate_latest(virtual.registry).decode()
        strict = openmetrics.generate_latest(virtual.registry).decode()
        for families in (
            text_string_to_metric_families(plain),
            openmetrics_parser.text_string_to_metric_families(strict),
        ):
            found = {(family.name, family.type): family for family in families}
            assert set(found) == {(m.name.removesuffix("_total"), m.type) for m in METRICS}
            for metric in METRICS:
                family = found[metric.name.removesuffix("_total"), metric.type]
                assert family.samples
                for sample in family.samples:
                    assert set(sample.labels) - {"le"} == {"batcher", *metric.labels}
                    assert sample.labels["batcher"] == "default"

    def test_the_documented_table_is_what_the_collector_gives(self):
        text = (ROOT / "docs" / "live-metrics.md").read_text()
        rows = [
            tuple(cell.strip().replace("`", "") for cell in line.strip("|").split("|"))
            for line in text.splitlines()
            if line.startswith("| `dynbatch_")
        ]
        assert rows == [
            (m.name, m.type, ", ".join(m.labels), m.unit, m.meaning.replace("`", ""))
            for m in METRICS
        ]

    def test_names_follow_prometheus(self):
        for metric in METRICS:
            assert metric.name.endswith("_total") == (metric.type == "counter")
            assert ("_seconds" in metric.name) == (metric.unit == "seconds")


class TestRequests:
    def test_every_ending_is_counted(self):
        virtual = Virtual(max_batch_size=1, max_queue_size=3)
        virtual.submit("runs")
        virtual.sleep(0.001)
        cancelled, _, _ = virtual.submit("cancelled", "runs", "expires", deadline_ms=7)
        with pytest.raises(QueueFullError):
            virtual.submit("rejected")
        assert virtual.value("queue_depth_requests") == 3
        assert virtual.value("in_flight_requests") == 1
        assert virtual.value("ready") == 1
        virtual.batcher.cancel(cancelled)
        virtual.batcher.stop()
        outcomes = ("ok", "rejected", "expired", "failed", "cancelled")
        counts = [virtual.value("requests_total", outcome=outcome) for outcome in outcomes]
        assert counts == [2, 1, 1, 0, 1]
        assert virtual.value("queue_depth_requests") == 0
        assert virtual.value("in_flight_requests") == 0
        assert virtual.value("ready") == 0
        assert virtual.value("healthy_replicas") == 1

    def test_waiting_is_from_enqueueing_to_the_batch(self):
        virtual = Virtual()
        virtual.submit(1)
        virtual.sleep(0.0041)
        virtual.submit(1)
        virtual.sleep(0.1)
        # 10 ms and 5.9 ms.
        assert virtual.value("request_wait_seconds_sum") == pytest.approx(0.0159)
        assert virtual.value("request_wait_seconds_count") == 2
        assert virtual.value("request_wait_seconds_bucket", le="0.005") == 0
        assert virtual.value("request_wait_seconds_bucket", le="0.0075") == 1
        assert virtual.value("request_wait_seconds_bucket", le="0.015") == 2
        assert virtual.value("request_wait_seconds_bucket", le="+Inf") == 2
        virtual.batcher.stop()

    def test_a_request_that_slips_in_after_the_clock_was_read_has_not_waited(self):
        observer = Observer()
        record = BatchRecord(size=2, limit=2, reason="full", taken_s=1.0, free_since_s=0.0)
        record.started_s = record.completed_s = 1.5
        observer(record, [Request(None, 0.75), Request(None, 1.0001)])
        totals = observer.snapshot()
        assert (totals.wait_s.total, totals.idle_wait_s, totals.wasted_s) == (0.25, 0.25, 0.0)


class TestBatches:
    def test_sizes_efficiency_reasons_and_execution_times(self):
        virtual = Virtual()
        virtual.submit(*[1] * 6)  # four go at once, two at the timeout
        virtual.sleep(0.1)
        virtual.submit(1)
        virtual.batcher.stop()
        assert virtual.value("batches_total", reason="full") == 1
        assert virtual.value("batches_total", reason="timeout") == 1
        assert virtual.value("batches_total", reason="drain") == 1
        assert virtual.value("batch_size_requests_sum") == 7
        assert virtual.value("batch_size_requests_bucket", le="1.0") == 1
        assert virtual.value("batch_size_requests_bucket", le="2.0") == 2
        assert virtual.value("batch_size_requests_bucket", le="4.0") == 3
        assert virtual.value("batch_efficiency_ratio_sum") == 1 + 0.5 + 0.25
        assert virtual.value("batch_efficiency_ratio_count") == 3
        assert virtual.value("batch_execution_seconds_sum") == pytest.approx(0.015)
        assert virtual.value("batch_execution_seconds_count") == 3

    @pytest.mark.parametrize(
        ("metric", "bounds"),
        [
            (
                "batch_execution_seconds",
                [0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03,
                 0.05, 0.1, 0.2, 0.5, 1, 2, 5, math.inf],
            ),
            ("batch_size_requests", [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, math.inf]),
            (
                "batch_efficiency_ratio",
                [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1, math.inf],
            ),
        ],
    )  # fmt: skip
    def test_the_bounds_of_buckets_stay_as_dashboards_know_them(self, metric, bounds):
        [family] = [f for f in Virtual().registry.collect() if f.name == f"dynbatch_{metric}"]
        buckets = [s.labels["le"] for s in family.samples if s.name.endswith("_bucket")]
        assert [float(bound) for bound in buckets] == bounds

    def test_padding_is_totalled(self):
        virtual = Virtual()
        virtual.submit(3, 8, 5)
        virtual.batcher.stop()
        assert virtual.value("real_elements_total") == 16
        assert virtual.value("padded_elements_total") == 24

    def test_the_limit_of_each_worker_is_what_fits_its_memory(self):
        def misbehave(payloads):
            if len(payloads) > 2:
                raise MemoryError("too large")

        virtual = Virtual(misbehave)
        assert virtual.value("batch_size_limit_requests", worker="0") == 4
        virtual.submit(*range(4))
        virtual.batcher.stop()
        assert virtual.value("batch_size_limit_requests", worker="0") == 2
        assert virtual.value("isolation_executions_total") == 2

    def test_starting_is_described_as_far_as_it_was_done(self):
        phases = ("load", "first_request", "warm_up")
        cold = Virtual()
        assert [cold.value("cold_start_seconds", phase=phase) for phase in phases] == [
            0,
            None,
            None,
        ]
        warm = Virtual(warm_up_budget_s=20)
        assert warm.value("cold_start_seconds", phase="first_request") == pytest.approx(0.005)
        assert warm.value("cold_start_seconds", phase="warm_up") > 0.02
        assert warm.value("batches_total", reason="full") is None
        cold.batcher.stop()
        warm.batcher.stop()


class TestIdleWaiting:
    """What it costs to hold requests for company, and which part of that bought nothing."""

    @staticmethod
    def idle_and_wasted(virtual):
        virtual.sleep(1.0)
        virtual.batcher.stop()
        return (
            virtual.value("idle_wait_seconds_total"),
            virtual.value("idle_wait_wasted_seconds_total"),
        )

    def test_alone_all_of_it_is_wasted(self):
        virtual = Virtual()
        virtual.submit(1)
        assert self.idle_and_wasted(virtual) == pytest.approx((0.010, 0.010))

    def test_what_passes_after_the_last_has_joined_is_wasted(self):
        virtual = Virtual()
        virtual.submit(1)
        virtual.sleep(0.004)
        virtual.submit(1)
        assert self.idle_and_wasted(virtual) == pytest.approx((0.010, 0.006))

    def test_a_batch_that_fills_up_wastes_nothing(self):
        virtual = Virtual()
        virtual.submit(1, 1, 1)
        virtual.sleep(0.004)
        virtual.submit(1)
        assert self.idle_and_wasted(virtual) == pytest.approx((0.004, 0.0))

    def test_time_behind_a_busy_worker_is_not_idle(self):
        virtual = Virtual()
        virtual.submit(1, 1, 1, 1)
        virtual.sleep(0.001)
        virtual.submit(1)  # behind the first batch for 4 ms, then held for 6 ms more
        assert self.idle_and_wasted(virtual) == pytest.approx((0.006, 0.006))

    def test_a_batch_taken_ahead_of_its_turn_held_nobody(self):
        virtual = Virtual(in_flight=2)
        virtual.submit(1, 1, 1, 1)
        virtual.sleep(0.001)
        virtual.submit(1, 1, 1)
        virtual.sleep(0.002)
        virtual.submit(1)  # full: taken while the device is still busy
        assert self.idle_and_wasted(virtual) == pytest.approx((0.0, 0.0))

    def test_a_retry_did_not_wait_for_company(self):
        outage = iter([True])

        def misbehave(payloads):
            if next(outage, False):
                raise ConnectionError("away")

        faults = FaultTolerance(max_retries=1, retry_on=(ConnectionError,), retry_backoff_ms=100)
        virtual = Virtual(misbehave, faults=faults)
        virtual.submit(1)
        assert self.idle_and_wasted(virtual) == pytest.approx((0.010, 0.010))
        assert virtual.value("retries_total", cause="retry") == 1
        assert virtual.value("retries_total", cause="isolation") == 0
        assert virtual.value("request_wait_seconds_count") == 1
        assert virtual.value("batch_execution_seconds_count") == 1


class TestFaults:
    def test_isolation_is_counted_apart_from_what_the_policy_did(self):
        def misbehave(payloads):
            if "poison" in payloads:
                raise ValueError("cannot")

        virtual = Virtual(misbehave)
        virtual.submit(1, 2, 3, "poison")
        virtual.batcher.stop()
        # 4 fail, 2 succeed, 2 fail, 1 succeeds, 1 fails
        assert virtual.value("batches_total", reason="isolate") == 4
        assert virtual.value("isolation_executions_total") == 4
        assert virtual.value("retries_total", cause="isolation") == 6
        assert virtual.value("batch_size_requests_count") == 1
        assert virtual.value("batch_execution_seconds_count") == 2
        assert virtual.value("request_wait_seconds_count") == 4
        assert virtual.value("requests_total", outcome="ok") == 3
        assert virtual.value("requests_total", outcome="failed") == 1

    def test_a_batch_that_was_given_up_is_not_counted_when_it_fails_late(self):
        virtual = None

        def misbehave(payloads):
            if "hang" in payloads:
                virtual.sleep(10.0)
                raise ValueError("late")

        virtual = Virtual(misbehave, faults=FaultTolerance(execute_timeout_ms=100))
        virtual.submit("hang")
        virtual.sleep(1.0)
        assert virtual.value("healthy_replicas") == 0
        assert virtual.value("ready") == 0
        virtual.sleep(20.0)
        assert virtual.value("healthy_replicas") == 1
        assert virtual.value("batch_size_requests_count") == 0
        virtual.batcher.stop()
        assert virtual.value("requests_total", outcome="failed") == 1


class TestCollectors:
    def test_several_batchers_are_told_apart_by_their_names(self):
        first = Virtual()
        second = Virtual()
        registry = CollectorRegistry()
        collector = BatcherCollector(first.batcher, name="first")
        collector.add(second.batcher, name="second")
        registry.register(collector)
        first.submit(1)
        second.submit(1, 2)
        first.batcher.stop()
        second.batcher.stop()
        sizes = [
            registry.get_sample_value("dynbatch_batch_size_requests_sum", {"batcher": name})
            for name in ("first", "second")
        ]
        assert sizes == [1, 2]
        # Prometheus wants each metric described once, however many batchers there are.
        assert generate_latest(registry).decode().count("# TYPE dynbatch_ready ") == 1

    def test_a_second_collector_in_a_registry_is_refused(self):
        virtual = Virtual()
        with pytest.raises(ValueError, match="Duplicated"):
            virtual.registry.register(BatcherCollector(virtual.batcher, name="again"))
        virtual.batcher.stop()

    def test_a_name_is_used_once(self):
        batcher = DynamicBatcher(lambda xs: xs)
        collector = BatcherCollector(batcher, name="ranker")
        with pytest.raises(ConfigError, match="not yet used, but got 'ranker' again"):
            collector.add(DynamicBatcher(lambda xs: xs), name="ranker")

    def test_a_batcher_may_be_scraped_before_it_is_started(self):
        registry = CollectorRegistry()
        registry.register(BatcherCollector(DynamicBatcher(lambda xs: xs)))
        assert registry.get_sample_value("dynbatch_ready", {"batcher": "default"}) == 0

    def test_observers_are_called_in_the_order_in_which_they_were_added(self):
        calls = []
        batcher = DynamicBatcher(lambda xs: xs, observer=lambda *_: calls.append("argument"))
        batcher.add_observer(lambda *_: calls.append("added"))
        batcher.add_observer(lambda record, requests: calls.append((record.size, len(requests))))
        with batcher:
            batcher.submit(1)
        assert calls == ["argument", "added", (1, 1)]

    def test_nothing_is_lost_while_workers_run_and_others_scrape(self):
        batcher = DynamicBatcher(lambda xs: xs, max_batch_size=8, batch_timeout_ms=0, replicas=3)
        registry = CollectorRegistry()
        registry.register(BatcherCollector(batcher))
        done = threading.Event()
        totals = []

        def scrape():
            while not done.is_set():
                families = {family.name: family for family in registry.collect()}
                wait = families["dynbatch_request_wait_seconds"].samples
                totals.append(next(s.value for s in wait if s.name.endswith("_count")))

        scraper = threading.Thread(target=scrape)
        with batcher:
            scraper.start()
            for request in [batcher.submit(i) for i in range(5000)]:
                request.result(60)
        done.set()
        scraper.join()
        labels = {"batcher": "default"}
        assert totals == sorted(totals)
        assert registry.get_sample_value("dynbatch_request_wait_seconds_count", labels) == 5000
        assert registry.get_sample_value("dynbatch_batch_size_requests_sum", labels) == 5000

    def test_the_batcher_alone_does_not_need_prometheus(self):
        script = "import sys, batching; print('prometheus_client' in sys.modules)"
        answer = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert answer.stdout == "False\n"
