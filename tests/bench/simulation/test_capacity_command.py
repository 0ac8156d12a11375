"""`dynbatch capacity`: the highest load that meets an SLO, and what it refuses."""

import json
from functools import partial
from pathlib import Path

import pytest

from bench.settings import ReplaySettings
from bench.traces import arrivals
from workloads import load

QUICK = ["--model", "affine:2,0.1", "--trace", "poisson.json", "--duration", "2"]


@pytest.fixture
def capacity(dynbatch):
    """Run `dynbatch capacity` in a folder of its own; returns (exit code, stdout, stderr)."""
    return partial(dynbatch, "capacity")


def told(capacity, *options):
    code, out, err = capacity(*QUICK, "--json", *options)
    assert code == 0, err
    return json.loads(out)


class TestACapacity:
    def test_is_said_drawn_and_kept(self, capacity):
        code, out, err = capacity(*QUICK, "--slo", "p99<=20ms", "--out", "c")
        assert code == 0, err
        assert out.startswith("SIMULATED\n")
        for word in ("capacity", "of the peak", "bracket", "limit", "that no setting can exceed"):
            assert word in out
        found = json.loads(Path("c/capacity.json").read_text())
        assert found["simulated"] is True
        assert found["check"] is None
        assert Path("c/capacity.png").read_bytes().startswith(b"\x89PNG")

    def test_lies_between_a_load_that_meets_it_and_one_that_does_not(self, capacity):
        found = told(capacity, "--slo", "p99<=20ms")
        assert found["rate_rps"] < found["missed_rps"] <= 1.01 * found["rate_rps"]
        assert found["missed_rps"] < found["limit_rps"] <= found["bound_rps"]
        assert found["at_capacity"]["value_s"] <= 0.020
        assert found["utilization"] == pytest.approx(found["rate_rps"] / found["peak_rps"])
        rates = [trial["rate_rps"] for trial in found["trials"]]
        assert rates == sorted(rates)
        assert all(t["value_s"] > 0.020 for t in found["trials"] if not t["met"])

    def test_grows_with_the_limit_and_with_replicas(self, capacity):
        tight, loose = (told(capacity, "--slo", f"p99<={ms}ms")["rate_rps"] for ms in (16, 30))
        assert tight < loose
        assert told(capacity, "--slo", "p99<=16ms", "--replicas", "2")["rate_rps"] > 1.5 * tight

    def test_is_of_as_many_draws_as_asked_for(self, capacity):
        found = told(capacity, "--slo", "mean<=10ms", "--draws", "5")
        assert found["metric"] == "mean"
        assert len(found["at_capacity"]["of_each_draw_s"]) == 5
        assert len(set(found["at_capacity"]["of_each_draw_s"])) == 5

    def test_that_does_not_exist_is_exit_code_3(self, capacity):
        code, out, _ = capacity(*QUICK, "--slo", "p99<=1ms")
        assert code == 3
        assert "none: p99<=1ms is missed even at" in out

    def test_does_not_exist_where_the_policy_gives_everything_up(self, capacity):
        Path("shed.py").write_text(
            "from batching.policies import Shed\n"
            "class Shedder:\n"
            "    def __init__(self, options): pass\n"
            "    def observe(self, batch): pass\n"
            "    def decide(self, now_s, waiting): return Shed(0, waiting.lanes[0].count)\n"
        )
        code, out, _ = capacity(*QUICK, "--slo", "p99<=9ms", "--policy", "shed.py:Shedder")
        assert code == 3
        assert "none: this policy gives up every request" in out

    def test_cannot_be_bought_by_turning_requests_away(self, capacity):
        kept = told(capacity, "--slo", "p99<=20ms")
        turned_away = told(capacity, "--slo", "p99<=20ms", "--max-queue-size", "40")
        assert turned_away["rate_rps"] <= kept["rate_rps"] * 1.02

    def test_of_a_recording_is_compared_with_its_own_load(self, capacity, tmp_path):
        trace = tmp_path / "t.csv"
        trace.write_text("timestamp\n" + "".join(f"{i * 0.01:.2f}\n" for i in range(3000)))
        code, out, err = capacity(
            "--model", "affine:2,0.1", "--trace", trace, "--slo", "p99<=20ms", "--json"
        )
        assert code == 0, err
        found = json.loads(out)
        assert found["own_rps"] == pytest.approx(100.0, rel=0.01)
        assert found["multiple"] == pytest.approx(found["rate_rps"] / found["own_rps"])

    def test_is_checked_by_a_replay_that_is_kept(self, capacity):
        code, out, err = capacity(
            "--model", "affine:4,0.5", "--trace", "steady.json", "--duration", "1", "--slo",
            "p99<=60ms", "--max-batch-size", "4", "--check", "--out", "c", "--json",
        )  # fmt: skip
        checked = json.loads(out)["check"]
        assert code == (0 if checked["met"] else 3), err
        assert checked["met"] == (checked["value_s"] is not None and checked["value_s"] <= 0.060)
        assert checked["decision"] in {"met", "missed", "undecided"}
        assert checked["prediction_error"].keys() >= {"latency_s.p99", "throughput_rps"}
        assert Path("c/check/report.html").exists()
        assert json.loads(Path("c/capacity.json").read_text())["check"] == checked

    def test_whose_check_misses_says_so(self, capacity, monkeypatch):
        from bench.simulation.capacity import LatencyObjective

        late = {"value_s": 0.081, "met": False, "decision": "missed", "low_s": 0.07, "high_s": 0.1}
        monkeypatch.setattr(LatencyObjective, "judged", lambda self, run: late)
        code, out, _ = capacity(
            "--model", "affine:4,0.5", "--trace", "steady.json", "--duration", "0.5", "--slo",
            "p99<=60ms", "--max-batch-size", "4", "--check",
        )  # fmt: skip
        assert code == 3
        assert "measured 81.0 ms, p99<=60ms MISSED" in out


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--slo", "p99"], "slo: an SLO must be 'metric op value[unit]'"),
            (["--slo", "p42<=5ms"], "slo: the metric of an SLO must be one of"),
            (["--slo", "p99>=5ms"], "p99 must be limited by <= or <"),
            (["--slo", "p99<=5"], "the unit of p99 must be one of"),
            (
                ["--slo", "throughput>=100"],
                "p99, p99.9, but got 'throughput'",
            ),
            ([], "Missing option '--slo'"),
            (["--slo", "p99<=5ms", "--draws", "0"], "--draws"),
            (["--slo", "p99<=5ms", "--max-batch-size", "9999"], "max_batch_size must be at most"),
            (["--slo", "p99<=5ms", "--trace", "none.json"], "none.json"),
        ],
    )
    def test_is_one_line_exit_code_2_and_nothing_written(
        self, capacity, tmp_path, arguments, message
    ):
        code, out, err = capacity("--model", "affine:1,1", "--quiet", *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []


class TestDraws:
    def test_of_a_process_are_independent_and_the_same_at_every_load(self):
        spec = load("poisson")
        draws = arrivals.Draws(spec, ReplaySettings(trace="poisson", duration=2.0), 3)
        first, again = draws(500.0), draws(1000.0)
        assert [one.seed for one in first] == [one.seed for one in again]
        assert len({one.seed for one in first}) == 3
        assert all(one.offered_rps == 500.0 for one in first)

    def test_of_a_recording_are_disjoint_parts_of_a_minute_at_most(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("timestamp\n" + "".join(f"{i * 0.1:.1f}\n" for i in range(6000)))
        draws = arrivals.Draws(load(str(path)), ReplaySettings(trace=str(path)), 3)
        assert [round(one.window_s) for one in draws(10.0)] == [60, 60, 60]
        short = draws(100.0)
        assert sum(one.window_s for one in short) == pytest.approx(60.0, rel=0.01)
        assert sum(one.requests for one in short) == pytest.approx(6000, rel=0.01)
