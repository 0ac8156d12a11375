"""`dynbatch simulate` and `bench --predict`: what they print, leave behind, and refuse."""

import json
from pathlib import Path

import numpy as np
import pytest

from batching import VirtualClock, load_model
from batching.profiles import BatchSample, ServiceProfile, Subject, save_profile
from results.run.figures.catalogue import FigureSpec
from results.run.record import Run

QUICK = ["--model", "affine:1,0.05", "--trace", "poisson.json", "--rate", "300"]


@pytest.fixture
def affine(tmp_path):
    """The profile of affine:1,0.05, up to batches of 32, as a file."""
    path = tmp_path / "affine.json"
    model = load_model("affine:1,0.05", clock=VirtualClock())
    save_profile(ServiceProfile.of_model(model, 32), path)
    return path


@pytest.fixture
def gpu(tmp_path):
    """A profile of a model on a device that is not here."""
    rng = np.random.default_rng(0)
    samples = tuple(
        BatchSample(i * 0.01, n, None, 0.0, 1e-4, float(rng.gamma(50.0, 4e-5)), 5e-5)
        for i, n in enumerate([1, 2, 4, 8, 16] * 20)
    )
    path = tmp_path / "gpu.json"
    subject = Subject("resnet50", "cuda:0", "a GPU", "fp16", "eager", None, {"python": "3.11"})
    save_profile(ServiceProfile(subject, samples), path)
    return path


@pytest.fixture(autouse=True)
def drawn_quickly(monkeypatch, request):
    """Reports without the work of drawing, but where drawing is what is tested."""
    if "figures" not in request.node.name:
        monkeypatch.setattr(FigureSpec, "save", lambda self, run, path: path.write_bytes(b""))


def only_run():
    [run] = [p for p in Path("runs").iterdir() if not p.is_symlink()]
    return run


class TestASimulation:
    def test_says_in_json_whether_and_why_not_it_can_be_believed(self, dynbatch):
        code, out, err = dynbatch("simulate", *QUICK, "--duration", "1", "--json", "--out", "r")
        assert code == 0, err
        told = json.loads(out)
        assert (told["simulated"], told["valid"], told["run"]) == (True, False, "r")
        [finding] = told["findings"]
        assert finding["code"] == "too_few_requests"
        assert "--duration" in finding["remedy"]
        assert told["config"]["max_batch_size"] == 32
        assert told["latency_s"]["p99"] > 0

    def test_of_several_loads_is_one_row_each(self, dynbatch):
        loads = ["--utilization", "0.3,0.6", "--duration", "2"]
        _, out, _ = dynbatch("simulate", *QUICK[:4], *loads)
        assert out.count("30 %") == out.count("60 %") == 1
        assert "fastest" not in out

    def test_is_a_run_that_says_simulated_everywhere(self, dynbatch):
        code, out, err = dynbatch("simulate", *QUICK, "--duration", "5")
        assert code == 0, err
        assert out.startswith("SIMULATED, valid")
        assert "5.00 s simulated" in out
        assert "headroom" in out
        run = Run.load(only_run())
        assert run.record.kind == "simulation"
        assert run.path.name.endswith("-simulated")
        html = (run.path / "report.html").read_text()
        assert "5.00 s simulated" in html
        assert "SIMULATED, valid" in html
        assert "would have answered" in html
        assert "measured</p>" not in html
        assert len(run.requests) == run.record.trace["requests"] + run.record.trace["tail_requests"]

    def test_its_figures_are_marked_as_well(self, dynbatch, monkeypatch):
        from matplotlib.figure import Figure

        said = []
        monkeypatch.setattr(Figure, "text", lambda self, x, y, text, **_: said.append(text))
        assert dynbatch("simulate", *QUICK, "--duration", "2", "--quiet")[0] == 0
        figures = list((only_run() / "figures").iterdir())
        assert said == ["simulated"] * len(figures)

    def test_in_json_is_one_object_with_its_bounds(self, dynbatch):
        code, out, err = dynbatch("simulate", *QUICK, "--duration", "5", "--json")
        assert code == 0, err
        told = json.loads(out)
        assert told["simulated"] is True
        assert told["bounds"]["mean_s"] <= told["latency_s"]["mean"]
        assert told["bounds"]["p99_s"] <= told["latency_s"]["p99"]
        assert "loading" not in out

    @pytest.mark.parametrize(
        ("slo", "decision", "code"), [("p99<=40ms", "met", 0), ("p99<=2ms", "missed", 3)]
    )
    def test_is_judged_by_an_slo(self, dynbatch, slo, decision, code):
        asked = [*QUICK, "--duration", "120", "--slo", slo, "--out", "judged"]
        assert dynbatch("simulate", *asked)[0] == code
        [verdict] = Run.load(Path("judged")).record.verdicts
        assert verdict.decision == decision

    def test_of_equal_seeds_is_equal(self, dynbatch, gpu):
        options = ["simulate", "--profile", gpu, "--max-batch-size", "16", "--rate", "500"]
        options += ["--duration", "4", "--json"]
        first, again, other = (
            json.loads(dynbatch(*options, "--seed", seed)[1])["latency_s"] for seed in (1, 1, 2)
        )
        assert first == again
        assert first != other

    def test_claims_no_headroom_where_requests_were_turned_away(self, dynbatch):
        code, out, _ = dynbatch(
            "simulate", "--model", "affine:5,1", "--rate", "900", "--max-queue-size", "4",
            "--duration", "3", "--trace", "poisson.json",
        )  # fmt: skip
        assert code == 0
        assert "rejected" in out
        assert "headroom" not in out

    def test_takes_replicas_and_two_batches_in_flight(self, dynbatch):
        def p99(*options):
            command = ["simulate", "--model", "affine:5,1", "--rate", "1000", "--duration", "5"]
            command += ["--trace", "poisson.json", "--max-batch-size", "16", "--json", *options]
            return json.loads(dynbatch(*command)[1])["latency_s"]["p99"]

        assert p99("--replicas", "3") < p99("--replicas", "2") < p99()
        assert p99("--in-flight", "2") <= p99() * 1.1

    def test_plays_a_recording_again_and_says_so(self, dynbatch, tmp_path):
        trace = tmp_path / "short.csv"
        trace.write_text("timestamp\n" + "".join(f"{i * 0.01:.2f}\n" for i in range(200)))
        options = ["simulate", "--model", "affine:1,0.1", "--trace", trace, "--duration", "4"]
        code, _, err = dynbatch(*options)
        assert code == 2
        assert "--loop" in err
        code, out, err = dynbatch(*options, "--loop")
        assert code == 0, err
        assert "was played" in out
        code, out, err = dynbatch(
            *options[:-2], "--rate", "400", "--rate-by", "superpose", "--json", "--out", "r"
        )
        assert code == 0, err
        assert Run.load("r").record.trace["rate_by"] == "superpose"

    def test_is_reported_again_without_model_or_profile(self, dynbatch):
        assert dynbatch("simulate", *QUICK, "--duration", "2", "--out", "r")[0] == 0
        code, out, err = dynbatch("report", "r")
        assert code == 0, err
        assert out.startswith("SIMULATED")

    def test_interrupted_leaves_nothing(self, dynbatch, monkeypatch, tmp_path):
        def interrupt(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr("bench.simulation.setup.simulate", interrupt)
        assert dynbatch("simulate", *QUICK)[0] == 130
        assert dynbatch("simulate", *QUICK, "--sweep", "max_batch_size=1,2")[0] == 130
        assert list(tmp_path.iterdir()) == []


class TestASweep:
    def test_draws_its_surface_and_keeps_its_cells(self, dynbatch):
        code, out, err = dynbatch(
            "simulate", *QUICK[:4], "--duration", "2", "--utilization", "0.5,0.9",
            "--sweep", "max_batch_size=1,8,32:batch_timeout_ms=0:4:2", "--slo-ms", "20",
        )  # fmt: skip
        assert code == 0, err
        run = only_run()
        assert sorted(p.name for p in run.iterdir()) == ["sweep.json", "sweep.png"]
        swept = json.loads((run / "sweep.json").read_text())
        assert swept["simulated"] is True
        assert swept["axes"] == {"max_batch_size": [1, 8, 32], "batch_timeout_ms": [0, 2, 4]}
        assert len(swept["cells"]) == 18
        assert {cell["utilization"] for cell in swept["cells"]} == {0.5, 0.9}
        alone = [c for c in swept["cells"] if c["max_batch_size"] == 1]
        assert not any(cell["able"] for cell in alone)
        assert (run / "sweep.png").read_bytes().startswith(b"\x89PNG")
        assert "simulated at" in out
        assert "fastest" in out

    def test_of_one_knob_is_drawn_as_curves_and_of_three_not_at_all(self, dynbatch):
        sweeps = {
            "one": "max_batch_size=8,16",
            "three": "max_batch_size=8,16:batch_timeout_ms=0,1:policy=timeout,window",
        }
        for name, sweep in sweeps.items():
            options = ["--duration", "1", "--sweep", sweep, "--out", name, "--quiet"]
            assert dynbatch("simulate", *QUICK, *options) == (0, "", "")
        assert Path("one/sweep.png").exists()
        assert not Path("three/sweep.png").exists()

    def test_of_several_loads_alone_needs_no_knob(self, dynbatch):
        code, out, err = dynbatch(
            "simulate", *QUICK[:4], "--duration", "2", "--utilization", "0.3,0.6", "--json"
        )
        assert code == 0, err
        cells = json.loads(out)["cells"]
        assert [cell["utilization"] for cell in cells] == [0.3, 0.6]
        assert cells[0]["busy_fraction"] < cells[1]["busy_fraction"]

    def test_agrees_with_simulating_a_cell_by_itself(self, dynbatch):
        common = [*QUICK, "--duration", "3", "--json"]
        _, out, _ = dynbatch("simulate", *common, "--sweep", "max_batch_size=4,8")
        cell = json.loads(out)["cells"][1]
        _, out, _ = dynbatch("simulate", *common, "--max-batch-size", "8")
        alone = json.loads(out)
        assert cell["p99_s"] == alone["latency_s"]["p99"]
        assert cell["mean_batch_size"] == pytest.approx(alone["batch"]["mean_size"])

    @pytest.mark.parametrize(
        ("sweep", "message"),
        [
            ("max_batch=1,2", "sweep must be KNOB=VALUES with a knob of policy, max_batch_size"),
            ("max_batch_size", "sweep must be KNOB=VALUES"),
            ("max_batch_size=", "sweep of max_batch_size must have values, but got ''"),
            ("max_batch_size=1:2", "must be first:last:step, but got '1:2'"),
            ("max_batch_size=8:1:1", "with last >= first and step > 0, but got '8:1:1'"),
            ("max_batch_size=1:8:0", "with last >= first and step > 0"),
            ("max_batch_size=1:inf:1", "must be of finite numbers, but got 'inf'"),
            ("max_batch_size=1:1e12:1", "must be 20,000 values at most"),
            ("max_batch_size=1:200:1:batch_timeout_ms=0:200:1", "20,000 combinations at most"),
            ("max_batch_size=1:max-batch-size=2", "max_batch_size is there twice"),
            ("max_batch_size=1.5", "sweep of max_batch_size"),
            ("max_batch_size=0", "greater than or equal to 1, but got 0"),
            ("batch_timeout_ms=-1", "greater than or equal to 0, but got -1"),
            ("policy=fifo", "policy must be"),
            ("max_batch_size=64,8192", "max_batch_size must be at most 4096, the largest batch"),
        ],
    )
    def test_that_makes_no_sense_is_refused_in_one_line(self, dynbatch, tmp_path, sweep, message):
        code, out, err = dynbatch("simulate", *QUICK, "--sweep", sweep, "--quiet")
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("loads", ["0.5,x", "", "0", "0.5,-1", "nan", "0.5,0.5"])
    def test_of_loads_that_are_none_is_refused(self, dynbatch, loads):
        code, _, err = dynbatch("simulate", *QUICK[:4], "--utilization", loads, "--quiet")
        assert code == 2
        assert err.startswith("dynbatch: utilization must")


class TestAProfile:
    def test_names_the_model_and_the_device_that_are_simulated(self, dynbatch, gpu):
        code, out, err = dynbatch(
            "simulate", "--profile", gpu, "--max-batch-size", "16", "--duration", "2"
        )
        assert code == 0, err
        assert "resnet50 on cuda:0" in out
        assert "profile of resnet50 on a GPU" in err

    def test_does_not_go_beyond_its_largest_batch(self, dynbatch, gpu):
        code, out, err = dynbatch("simulate", "--profile", gpu, "--max-batch-size", "17")
        assert (code, out) == (2, "")
        assert "max_batch_size must be at most 16" in err
        assert not Path("runs").exists()

    def test_of_another_model_is_refused_with_the_difference(self, dynbatch, gpu):
        code, _, err = dynbatch("simulate", "--profile", gpu, "--model", "affine:1,1")
        assert code == 2
        assert "its model is resnet50, not affine:1,1" in err

    def test_that_is_forced_makes_the_run_not_valid(self, dynbatch, gpu):
        options = ["--profile", gpu, "--model", "affine:1,1", "--max-batch-size", "16", "--force"]
        code, out, err = dynbatch("simulate", *options, "--duration", "2", "--strict")
        assert code == 3, err
        assert out.startswith("SIMULATED, NOT VALID: profile mismatch")
        [finding] = Run.load(only_run()).record.findings
        assert finding.code == "profile_mismatch"
        assert "its model is resnet50, not affine:1,1" in finding.message

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "must be a service profile in JSON"),
            ("{}", "must be a service profile: kind"),
            ('{"kind": "run"}', "kind must be 'service profile', but got 'run'"),
        ],
    )
    def test_that_is_none_is_one_line(self, dynbatch, tmp_path, text, message):
        (tmp_path / "p.json").write_text(text)
        code, out, err = dynbatch("simulate", "--profile", "p.json", "--quiet")
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1

    def test_that_is_not_there_is_one_line(self, dynbatch):
        code, _, err = dynbatch("simulate", "--profile", "none.json", "--quiet")
        assert code == 2
        assert err == "dynbatch: profile none.json: cannot be read: No such file or directory\n"

    def test_of_another_engine_is_refused_and_of_this_one_needs_no_such_device(self, dynbatch, gpu):
        load = ["--rate", "300", "--duration", "2", "--max-batch-size", "16"]
        code, _, err = dynbatch("simulate", "--profile", gpu, "--engine", "cudagraph", *load)
        assert code == 2
        assert (
            err.strip()
            .splitlines()[-1]
            .endswith("its engine is eager, not cudagraph; --force uses it all the same")
        )
        code, _, err = dynbatch("simulate", "--profile", gpu, "--engine", "eager", *load)
        assert code == 0, err
        graphs = json.loads(gpu.read_text())
        graphs["subject"]["engine"] = "cudagraph"
        gpu.write_text(json.dumps(graphs))
        arguments = ["--profile", gpu, "--model", "resnet50", "--engine", "cudagraph", *load]
        code, _, err = dynbatch("simulate", *arguments)
        assert code == 0, err


class TestPredicting:
    def test_prints_predicted_measured_and_error(self, dynbatch, affine):
        code, out, err = dynbatch("bench", *QUICK, "--profile", affine, "--duration", "1.5")
        assert code == 0, err
        assert not out.startswith("SIMULATED")
        [header] = [line for line in out.splitlines() if line.split()[:1] == ["predicted"]]
        assert header.split() == ["predicted", "measured", "error"]
        for name in ("throughput", "latency, p50", "latency, p99", "batch size, mean"):
            assert name in out
        assert "headroom" in out
        run = Run.load(only_run())
        assert run.record.kind == "replay"
        assert run.record.prediction.keys() == run.metrics.prediction_error.keys()
        html = (run.path / "report.html").read_text()
        assert "<h2>Predicted and measured</h2>" in html
        assert "<h2>Headroom</h2>" in html

    def test_in_json_has_the_prediction_and_its_error(self, dynbatch, affine):
        options = [*QUICK, "--profile", affine, "--duration", "1.5", "--json"]
        code, out, err = dynbatch("bench", *options)
        assert code == 0, err
        told = json.loads(out)
        predicted, off = told["prediction"], told["prediction_error"]
        measured_s = told["latency_s"]["p50"]
        assert off["latency_s.p50"] == pytest.approx(predicted["latency_s.p50"] / measured_s - 1)
        assert off["throughput_rps"] == pytest.approx(0.0, abs=0.2)
        assert told["bounds"]["capacity_rps"] > 300

    def test_with_a_profile_of_something_else_is_refused(self, dynbatch, gpu):
        options = [*QUICK, "--profile", gpu, "--max-batch-size", "16"]
        code, _, err = dynbatch("bench", *options)
        assert code == 2
        assert "its model is resnet50, not affine:1,0.05, its device is cuda, not synthetic" in err
        code, out, _ = dynbatch("bench", *options, "--force", "--duration", "1.5")
        assert code == 0
        assert out.startswith("NOT VALID")
        assert "profile mismatch" in out.splitlines()[0]

    def test_beyond_the_profile_is_refused(self, dynbatch, affine):
        code, _, err = dynbatch("bench", *QUICK, "--profile", affine, "--max-batch-size", "33")
        assert code == 2
        assert "max_batch_size must be at most 32, the largest batch that was profiled" in err
        assert not Path("runs").exists()


@pytest.mark.parametrize("sweep", [[], ["--sweep", "max_batch_size=1:4:3"]])
def test_a_part_of_a_recording_at_another_rate_is_said_to_be_one(dynbatch, sweep):
    arrivals = [*(i / 5 for i in range(500)), *(100 + i / 15 for i in range(1500))]
    Path("day.json").write_text(json.dumps({"arrival_s": arrivals, "duration_s": 200}))
    how = ["--model", "affine:1,0.05", "--trace", "day.json", "--duration", "40"]
    said = "day: the window is 40 s of the recording, from its start, with 5 req/s; all of it has "
    code, _, err = dynbatch("simulate", *how, *sweep, "--out", "r")
    assert code == 0, err
    assert err.count(f"{said}10 req/s") == 1
    if not sweep:
        run = json.loads(Path("r/run.json").read_text())
        assert [f"day: {note}" for note in run["trace"]["notes"]] == [f"{said}10 req/s"]
