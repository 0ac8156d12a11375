"""`dynbatch profile`: what it prints and leaves behind, and what it refuses."""

import io
import json
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from batching import VirtualClock
from batching.profiles import load_profile
from bench.errors import InputError
from bench.live.plan import plan_run
from bench.live.session import Session
from bench.profiling.load import Loaded
from bench.profiling.service_times import ProfileSource
from bench.profiling.summary import remarks
from bench.settings import load_settings, parse_duration_s
from tests.batching.profiled import affine, from_times, measured
from workloads import load

QUICK = ["--model", "affine:0.5,0.05", "--max-batch-size", "8", "--budget", "0.3s"]
NAME = "affine-0.5-0.05-synthetic"


@pytest.fixture
def profile(dynbatch):
    """Run `dynbatch profile` in a folder of its own; returns (exit code, stdout, stderr)."""
    return partial(dynbatch, "profile")


class TestAProfile:
    def test_is_printed_saved_and_drawn(self, profile, tmp_path):
        code, out, err = profile(*QUICK)
        assert code == 0, err
        assert sorted(p.name for p in (tmp_path / "profiles").iterdir()) == [
            f"{NAME}.json",
            f"{NAME}.png",
        ]
        saved = load_profile(tmp_path / "profiles" / f"{NAME}.json")
        assert saved.subject.model == "affine:0.5,0.05"
        assert {1, 2, 3, 4, 6, 8} <= set(saved.sizes)
        assert saved.total_s(8) >= 0.0009
        for word in ("capacity", "knee", "batching gain", "cold start", f"profiles/{NAME}.json"):
            assert word in out
        assert err.startswith("profiling affine:0.5,0.05: batches of up to 8, 0.3 s at most")

    def test_in_json_is_one_object_on_stdout_that_agrees_with_the_file(self, profile):
        code, out, err = profile(*QUICK, "--json", "--out", "p.json")
        assert code == 0, err
        told, saved = json.loads(out), load_profile(Path("p.json"))
        assert told["profile"] == "p.json"
        assert told["peak_rps"] == saved.peak_rps
        assert [size["batch_size"] for size in told["sizes"]] == list(saved.sizes)
        assert sum(size["samples"] for size in told["sizes"]) == len(saved.samples)
        for size in told["sizes"]:
            assert sum(size["parts_s"].values()) == pytest.approx(size["total_s"])
        assert told["sizes"][0]["memory_bytes"] is None

    def test_of_a_torch_model_says_how_much_it_computed(self, profile):
        arguments = ("--model", "mlp", "--device", "cpu", "--max-batch-size", "2")
        code, out, err = profile(*arguments, "--budget", "300ms", "--json")
        assert code == 0, err
        told = json.loads(out)
        assert told["flops_per_request"] == 4 * 2 * 1024 * 1024
        assert told["peak_flops_per_s"] is None
        largest = told["sizes"][-1]  # on a busy machine the budget may hold batches of one only
        expected = largest["batch_size"] * told["flops_per_request"]
        expected /= largest["parts_s"]["execute"]
        assert largest["flops_per_s"] == pytest.approx(expected)
        assert largest["mfu"] is None

    def test_quietly_prints_nothing_and_replaces_an_older_one(self, profile):
        assert profile(*QUICK, "--quiet", "--out", "p.json") == (0, "", "")
        before = load_profile(Path("p.json"))
        assert profile(*QUICK, "--quiet", "--out", "p.json") == (0, "", "")
        assert load_profile(Path("p.json")) != before

    def test_takes_its_model_from_a_config_file(self, profile, tmp_path):
        (tmp_path / "c.toml").write_text('[model]\nmodel = "affine:0.5,0.05"\n')
        code, _, err = profile("--config", "c.toml", *QUICK[2:], "--quiet")
        assert code == 0, err
        assert (tmp_path / "profiles" / f"{NAME}.json").exists()

    def test_of_a_model_that_fails_leaves_nothing_behind(self, profile, tmp_path):
        (tmp_path / "bad.py").write_text(
            "from batching import RealClock\n"
            "from batching.models import AffineModel\n"
            "class Bad(AffineModel):\n"
            "    def run(self, inputs):\n"
            "        raise OSError('no disk')\n"
            "make = lambda: Bad(0.001, 0.0, RealClock())\n"
        )
        code, out, err = profile("--model", "bad.py:make", "--budget", "1")
        assert (code, out) == (1, "")
        assert err.splitlines()[-1] == "dynbatch: the model raised: OSError: no disk"
        assert not (tmp_path / "profiles").exists()


class TestInterrupts:
    @staticmethod
    def patch(monkeypatch, outcome):
        def measure(*_, **__):
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr("bench.profiling.measure.measure_profile", measure)

    def test_with_every_size_seen_keep_the_profile_and_say_so(self, profile, monkeypatch):
        def interrupt(step):
            if step.batches > 20:
                raise KeyboardInterrupt

        self.patch(monkeypatch, measured(affine, max_batch_size=4, on_step=interrupt))
        code, out, _ = profile(*QUICK, "--out", "p.json")
        assert code == 130
        assert "Interrupted: what was measured until then." in out
        assert load_profile(Path("p.json")).interrupted

    def test_before_that_keep_nothing_and_say_so(self, profile, monkeypatch, tmp_path):
        self.patch(monkeypatch, KeyboardInterrupt())
        code, out, err = profile(*QUICK)
        assert (code, out) == (130, "")
        assert "nothing is kept" in err
        assert list(tmp_path.iterdir()) == []


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--budget", "0"], "budget must be a time above 0, as 45, 45s or 5m, but got '0'"),
            (["--lengths", "8,x"], "lengths must be whole numbers with commas between"),
            (["--lengths", "8"], "lengths go with a model of sequences"),
            (["--max-batch-size", "0"], "max_batch_size must be from 1 to 65536, but got 0"),
            (["--seed", "-1"], "seed must be >= 0, but got -1"),
            (["--out", "p.txt"], "out must be a file named *.json, but got 'p.txt'"),
            (["--out", "file/p.json"], "out must be a place to write to, but file"),
            (["--out", "other.json"], "out must be a new file or a profile to replace, but"),
            (["--model", "none"], "model must be one of"),
            (["--model", "mlp", "--device", "cuda:97"], "device must exist on this machine"),
        ],
    )
    def test_is_one_line_exit_code_2_and_nothing_written(
        self, profile, tmp_path, arguments, message
    ):
        (tmp_path / "file").touch()
        (tmp_path / "other.json").write_text("{}")
        code, out, err = profile("--model", "affine:1,1", "--quiet", *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
        assert {p.name for p in tmp_path.iterdir()} == {"file", "other.json"}
        assert (tmp_path / "other.json").read_text() == "{}"


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "seconds"), [("45", 45), ("45s", 45), ("1.5m", 90), ("500ms", 0.5), ("1h", 3600)]
    )
    def test_are_read_as_seconds(self, text, seconds):
        assert parse_duration_s("budget", text) == seconds

    @pytest.mark.parametrize("text", ["", "s", "-1", "1d", "1.2.3", "inf", "5m5", "0s", "9" * 400])
    def test_that_are_none_are_refused(self, text):
        with pytest.raises(InputError, match="budget must be a time above 0"):
            parse_duration_s("budget", text)


class TestRemarks:
    def test_a_certain_and_complete_profile_has_none(self):
        assert remarks(measured(affine, max_batch_size=4)) == []

    def test_say_what_stopped_it_and_what_is_not_certain(self):
        short = from_times(
            {1: [1.0, 2.0] * 10, 2: [3.0]}, budget_s=5.0, stopped="budget", stopped_at=4
        )
        budget, uncertain = remarks(short)
        assert budget.startswith("batches of 4 and more would not have fitted the budget of 5 s")
        assert uncertain.startswith("the medians of 2 of 2 sizes are not certain to 1 %")
        assert uncertain.endswith("1 with fewer than 8 samples")
        memory = from_times({1: [1.0]}, stopped="memory", stopped_at=64)
        assert remarks(memory) == ["a batch of 64 ran out of memory"]


@pytest.mark.parametrize(
    ("model", "peak_rps"),
    [
        pytest.param("affine:0,0.1", 10_000, id="slower behind the batcher than by the profile"),
        pytest.param("affine:0,0.0001", 1_000_000, id="as fast as by the profile"),
    ],
)
def test_a_live_run_takes_its_share_of_a_profiles_peak_as_far_as_the_batcher_reaches_it(
    model, peak_rps
):
    profile = from_times({1: [1e-5] * 9, 32: [3.2e-5] * 9})
    loaded = Loaded(ProfileSource(profile), "m", "cpu", profile)
    options = {"model": model, "utilization": 0.3, "duration": 0.01, "seed": 1}
    console = Console(file=io.StringIO(), width=200)
    clock = VirtualClock()
    settings = load_settings(None, options)
    session = Session(settings.model, [settings.batcher], clock, console)
    planned = plan_run(session, settings, load(settings.replay.trace), loaded)
    assert planned.arrivals.peak_rps == pytest.approx(peak_rps)
    assert planned.arrivals.rate_rps == pytest.approx(0.3 * peak_rps)
    limited = "peak 10,000 req/s as the batcher serves them, 1,000,000 by the profile"
    assert (limited in console.file.getvalue()) == (peak_rps < 1_000_000)
