"""The summary of a reference run."""

import pytest

from tests.reference import errors, summary
from tests.reference.device_trace import summarise
from tests.reference.folder import FAILED
from tests.reference.plan import PARTS, plan_for
from tests.reference.samples import H100, arm, kernel, profiled, replayed, saturated


class TestTheSummary:
    def test_of_nothing_names_what_was_not_run(self, folder):
        text = summary.write(folder)
        for part in PARTS:
            assert f"- {part}: not run" in text
        assert "nan" not in text

    def test_says_what_was_measured_on_what_and_by_which_command(self, folder):
        folder.write(
            "environment",
            {
                **H100,
                "measured": "2026-11-22T10:00:00+00:00",
                "cpu": "A CPU",
                "cores": 16,
                "python": "3.12.3",
                "packages": {"torch": "2.11.0", "dynbatch": "0.1.0"},
                "git_commit": "abc",
                "gpu_facts": {"driver": "580.1", "power_limit_w": 700.0},
            },
        )
        folder.write(
            "profile",
            {
                "eager": profiled("eager", 3000.0, 150.0),
                "cudagraph": profiled("cudagraph", 6000.0, 1000.0),
            },
        )
        folder.write(
            "capacity",
            {
                "recommended": arm(5000.0),
                "window 32/10 ms": arm(2500.0),
                "no batching": arm(400.0),
            },
        )
        text = summary.write(folder)
        assert "NVIDIA H100 80GB HBM3" in text
        assert "driver 580.1, power limit 700 W, Python 3.12.3, torch 2.11.0" in text
        assert "| capacity of resnet50 fp16, cudagraph | 6,000 req/s in batches of 64" in text
        assert "| the same against one by one in eager | x 40.0 |" in text
        assert "| the same, window 32/10 ms | 2,500 req/s; recommended x 2.00 |" in text
        assert "| the same, no batching | 400 req/s; recommended x 12.50 |" in text
        assert "`dynbatch profile --engine cudagraph`" in text
        assert "not measured" in text  # the cold start that is not known
        assert "- bench: not run" in text

    def test_says_where_a_capacity_is_only_a_lower_bound(self, folder):
        arms = {
            "recommended": arm(5000.0, missed=False),
            "window 32/10 ms": arm(2500.0),
            "no batching": {**arm(1.0), "rate_rps": None},
        }
        folder.write("capacity", arms)
        text = summary.write(folder)
        assert "2,500 req/s; recommended at least x 2.00" in text
        assert "recommended setting | at least 5,000 req/s |" in text
        assert "| no batching | cudagraph | timeout 64 / 0 ms, in flight 2 | none |" in text

    def test_names_parts_that_failed_or_were_cut_with_their_reason(self, folder):
        folder.note(
            plan_for("cpu").steps()[1], FAILED, took_s=3.0, reason="exit code 1: out of memory"
        )
        text = summary.write(folder)
        assert "- profile eager: failed, exit code 1: out of memory" in text

    def test_gives_errors_against_the_median_of_the_replays_with_their_spread(self, folder):
        folder.write("bench", {"bursty 0.7": replayed(0.010), "poisson 0.7": replayed(0.020)})
        folder.write("fidelity", {"bursty 0.7": replayed(0.012)})
        table = errors.errors(folder.read("bench"), folder.read("fidelity"))
        twice = table["bursty 0.7"]["latency_s.p99"]
        assert twice["error"] == pytest.approx(0.0)
        assert twice["spread"] == pytest.approx(2 / 11)
        assert table["poisson 0.7"]["latency_s.p99"]["spread"] is None
        text = summary.write(folder)
        assert "+0.0 % (18.2 %)" in text
        assert "| poisson 0.7 | +0.0 % | +0.0 % | -45.0 % | +0.0 % |" in text

    def test_leaves_out_of_the_errors_what_was_not_predicted(self):
        unpredicted = {**replayed(0.01), "predicted": None}
        assert errors.errors({"a": unpredicted}, {}) == {"a": {}}
        assert errors.medians({"a": {}}) == {}

    def test_has_the_share_of_the_device_alone_as_its_headline_and_that_of_a_bare_loop_beside(
        self, folder
    ):
        folder.write(
            "saturation",
            {
                "engine": "cudagraph",
                "model": "resnet50",
                "dtype": "fp16",
                "sizes": {"32": saturated(0.95), "64": saturated(0.98)},
            },
        )
        text = summary.write(folder)
        wanted = "through the batcher, of what the device alone could do | 95 % at 32, 98 % at 64"
        assert wanted in text
        assert "| 64 | 102 req/s | 90 % | 98 % | 90.0 req/s | 100 % | 112 % |" in text

    def test_shows_what_the_device_did_in_a_steady_second(self, folder):
        found = summarise([kernel(0, 900), kernel(1000, 100, "relu")])
        content = {"engine": "cudagraph", "on_device": True, "batch_size": 32, "summary": found}
        folder.write("trace", content)
        assert "| `gemm` | `relu` | 1 |" in summary.write(folder)
        folder.write("trace", {**content, "summary": None})
        assert "idle time is not measured" in summary.write(folder)
        folder.write("trace", {**content, "on_device": False})
        assert "idle time" not in summary.write(folder)

    def test_says_how_fast_it_copies_and_how_far_the_engine_is_off(self, folder):
        copies = {"within": 4.3e12, "to_device": 5.2e10, "back": None}
        found = {"engine": "cudagraph", "error": 1.5e-3, "rows": 25, "allowed": 0.03}
        folder.write("sanity", {"copies": copies, "agreement": found})
        text = summary.write(folder)
        assert "from page-locked memory to the device: 52.0 GB/s" in text
        assert "results of cudagraph against eager's, one by one: 0.0015 off" in text
        assert "- back" not in text

    def test_shows_energy_clock_and_share_of_the_peak_of_each_replay(self, folder):
        found = replayed(0.010)
        found["metrics"]["device"] |= {
            "busy_fraction": 0.7,
            "mfu": 0.21,
            "energy_j_per_request": 0.052,
            "sm_clock_mhz": 1980.0,
        }
        folder.write("bench", {"bursty 0.7": found})
        text = summary.write(folder)
        assert "| 70 % | 21 % | 0.0520 J | 1,980 MHz | yes |" in text

    def test_counts_the_gpu_tests_and_names_one_that_hung(self, folder):
        folder.write(
            "tests",
            {
                "passed": 3, "failed": 0, "skipped": 1, "hung": 1, "seconds": 71.0,
                "failures": {"test_gpu.py::test_a": "no end after 60 s"},
            },
        )  # fmt: skip
        text = summary.write(folder)
        assert "3 passed, 0 failed, 1 skipped, 1 hung" in text
        assert "- `test_gpu.py::test_a`: no end after 60 s" in text
