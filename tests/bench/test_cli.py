"""The command line: one line and exit code 2 for bad input, everything kept for good runs."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from bench import cli

ROOT = Path(__file__).resolve().parents[2]
# A model that computes nothing and a load that is small: what is tested is the way through.
QUICK = ["--model", "affine:1,0.05", "--trace", "poisson.json", "--rate", "300"]


def listing(tmp_path, text):
    path = tmp_path / "trace.json"
    path.write_text(text)
    return path


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--trace", "none.json"], "none.json"),
            (["--rate", "0"], "rate must be greater than 0, but got 0"),
            (["--rate", "nan"], "rate must be"),
            (["--rate", "10", "--utilization", "0.5"], "but got both"),
            (["--utilization", "-1"], "utilization must be greater than 0"),
            (["--duration", "0"], "duration must be greater than 0"),
            (["--time-scale", "0"], "time_scale must be greater than 0"),
            (["--seed", "-1"], "seed must be greater than or equal to 0"),
            (["--model", "resnet51"], "model must be one of mlp, resnet50"),
            (["--policy", "fifo"], "policy must be"),
            (["--device", "tpu"], "device must be auto, cpu, cuda or cuda:<index>, but got 'tpu'"),
            (["--device", "cuda:97"], "device must exist on this machine, but got 'cuda:97'"),
            (["--dtype", "int4"], "dtype must be one of fp32, fp16, bf16, but got 'int4'"),
            (
                ["--engine", "fast"],
                "engine must be one of eager, cudagraph, compile, but got 'fast'",
            ),
            (
                ["--device", "cpu", "--engine", "cudagraph"],
                "engine cudagraph must have a CUDA device, but got 'cpu'",
            ),
            (
                ["--model", "affine:1,1", "--engine", "compile"],
                "engine compile must have a torch model, but got affine",
            ),
            (
                ["--captured-batch-sizes", "4,8"],
                "captured_batch_sizes go with engine cudagraph, but got engine eager",
            ),
            (["--captured-batch-sizes", "4,x"], "must be whole numbers with commas between"),
            (["--max-batch-size", "0"], "max_batch_size must be greater than or equal to 1"),
            (["--max-batch-size", "x"], "'--max-batch-size'"),
            (["--batch-timeout-ms", "-3"], "batch_timeout_ms must be greater than or equal to 0"),
            (["--preferred-batch-sizes", "8,x"], "must be whole numbers with commas between"),
            (["--preferred-batch-sizes", "16,8"], "must be strictly increasing"),
            (["--length-buckets", "64"], "length_buckets go with a model of bert-base"),
            (["--execute-timeout-ms", "0"], "execute_timeout_ms must be greater than 0"),
            (["--slo", "p99<=50"], "the unit of p99 must be one of ns, us, µs, ms, s"),
            (["--slo", "latency<5ms"], "the metric of an SLO must be one of mean, p50"),
            (["--until-decided"], "until_decided must have an SLO to decide"),
            (["--client", "http"], "client must be 'thread' or 'loop', but got 'http'"),
            (["--weights", "none.pt", "--model", "mlp"], "weights must be a local file or folder"),
            (["--config", "none.toml"], "config none.toml: cannot be read"),
            (["--no-such-option"], "No such option: --no-such-option"),
            (["stray"], "unexpected extra argument"),
        ],
    )
    def test_is_one_line_exit_code_2_and_nothing_written(
        self, dynbatch, tmp_path, arguments, message
    ):
        code, out, err = dynbatch("bench", *arguments)
        assert code == 2
        assert out == ""
        last = err.splitlines()[-1]
        assert last.startswith("dynbatch: ")
        assert message in last
        assert "Traceback" not in err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "text",
        [
            "{",
            "",
            "[]",
            '{"arrival_s": []}',
            '{"arrival_s": [1, 0.5]}',
            '{"arrival_s": [-1, 2]}',
            '{"arrival_s": [0, NaN]}',
            '{"arrival_s": [0, 1], "process": "poisson"}',
            '{"process": "poisson", "rate_rps": 0, "duration_s": 1, "seed": 1}',
            '{"process": "fractal", "rate_rps": 5, "duration_s": 1, "seed": 1}',
        ],
    )
    def test_in_a_trace_file_names_the_file(self, dynbatch, tmp_path, text):
        path = listing(tmp_path, text)
        code, _, err = dynbatch("bench", "--trace", path, "--model", "affine:1,1")
        assert code == 2
        assert len([line for line in err.splitlines() if line.startswith("dynbatch:")]) == 1
        assert "trace.json" in err
        assert [p.name for p in tmp_path.iterdir()] == ["trace.json"]

    def test_a_recording_shorter_than_the_run_names_the_ways_out(self, dynbatch, tmp_path):
        path = listing(tmp_path, '{"arrival_s": [0, 0.5, 1.0]}')
        code, _, err = dynbatch(
            "bench", "--trace", path, "--model", "affine:1,1", "--duration", "60"
        )
        assert code == 2
        assert "lower --rate" in err
        assert "shorter --duration" in err

    def test_an_output_folder_that_cannot_be_written_is_found_before_the_run(
        self, dynbatch, tmp_path
    ):
        (tmp_path / "file").write_text("")
        code, _, err = dynbatch("bench", *QUICK, "--out", tmp_path / "file" / "run")
        assert code == 2
        assert "out must be a folder to write to" in err
        assert "loading" not in err

    def test_a_folder_that_holds_a_run_is_never_overwritten(self, dynbatch, tmp_path):
        run = tmp_path / "run"
        run.mkdir()
        (run / "run.json").write_text("{}")
        code, _, err = dynbatch("bench", *QUICK, "--out", run)
        assert code == 2
        assert "holds a run already" in err
        assert (run / "run.json").read_text() == "{}"

    def test_a_report_of_no_run_says_so(self, dynbatch):
        code, _, err = dynbatch("report", "nowhere")
        assert code == 2
        assert (
            "nowhere must be a folder with a run.json, tune.json or comparison.json, but does not"
            in err
        )


class TestARun:
    def test_leaves_logs_record_figures_and_report(self, dynbatch, tmp_path):
        code, out, err = dynbatch("bench", *QUICK, "--duration", "1.5")
        assert code == 0, err
        assert "report: runs" in out
        [run] = [p for p in (tmp_path / "runs").iterdir() if not p.is_symlink()]
        names = {p.name for p in run.iterdir()}
        logs = {f"{name}.parquet" for name in ("requests", "batches", "telemetry", "stalls")}
        assert names == {*logs, "run.json", "report.html", "figures"}
        assert (tmp_path / "runs" / "latest").resolve() == run
        record = json.loads((run / "run.json").read_text())
        assert record["config"]["command"].startswith("dynbatch bench --model")
        assert record["config"]["device"] == "synthetic"
        assert record["trace"]["window_s"] == 1.5
        assert record["environment"]["cold_start_s"]["warm_up"] > 0
        counts = record["metrics"]["counts"]
        assert counts["submitted"] == counts["ok"] == record["trace"]["requests"]
        assert "<script" not in (run / "report.html").read_text()

    def test_a_window_that_outlasts_its_arrivals_is_whole_not_partial(self, dynbatch, tmp_path):
        path = listing(tmp_path, '{"arrival_s": [0, 0.2, 0.4], "duration_s": 1.5}')
        code, _, err = dynbatch("bench", "--trace", path, "--model", "affine:1,1", "--out", "r")
        assert code == 0, err
        record = json.loads(Path("r/run.json").read_text())
        assert record["partial"] is False
        assert record["window_s"] == 1.5
        assert record["metrics"]["offered_rps"] == pytest.approx(2.0)

    @pytest.mark.parametrize("client", ["thread", "loop"])
    def test_the_last_requests_wait_as_long_as_all_others(self, dynbatch, tmp_path, client):
        path = listing(tmp_path, '{"arrival_s": [0, 0.01], "duration_s": 0.1}')
        dynbatch(
            "bench", "--trace", path, "--model", "affine:1,0", "--client", client,
            "--batch-timeout-ms", "700", "--quiet", "--out", "r",
        )  # fmt: skip
        latency_s = json.loads(Path("r/run.json").read_text())["metrics"]["latency_s"]
        assert latency_s["max"] > 0.69

    def test_runs_started_in_the_same_second_have_folders_of_their_own(self, dynbatch, tmp_path):
        from bench.folders import _unused

        (tmp_path / "x").mkdir()
        (tmp_path / "x-2").mkdir()
        assert _unused(tmp_path / "x").name == "x-3"

    @pytest.mark.parametrize("where", ["factory", "prepare", "input", "run"])
    def test_sys_exit_in_a_model_is_a_failure_not_an_exit(self, dynbatch, tmp_path, where):
        (tmp_path / "bad.py").write_text(
            "import sys\n"
            "import batching.models.synthetic as s\n"
            "from batching import RealClock\n"
            f"WHERE = {where!r}\n"
            "class Bad(s.AffineModel):\n"
            "    def prepare(self, placement):\n"
            "        WHERE == 'prepare' and sys.exit(0)\n"
            "    def make_input(self, rng):\n"
            "        WHERE == 'input' and sys.exit(0)\n"
            "    def run(self, inputs):\n"
            "        WHERE == 'run' and sys.exit(0)\n"
            "def make():\n"
            "    WHERE == 'factory' and sys.exit(0)\n"
            "    return Bad(0.001, 0.0, RealClock())\n"
        )
        code, out, err = dynbatch("bench", "--model", "bad.py:make", "--rate", "10")
        assert code == (2 if where == "factory" else 1)
        assert out == ""
        assert "SystemExit" in err.splitlines()[-1]

    def test_json_alone_is_on_stdout_the_metrics_and_what_they_are_of(self, dynbatch):
        code, out, err = dynbatch("bench", *QUICK, "--duration", "1", "--json", "--out", "r")
        assert code == 0
        told, record = json.loads(out), json.loads(Path("r/run.json").read_text())
        assert set(told["latency_s"]) == {"mean", "p50", "p90", "p95", "p99", "p99_9", "max"}
        assert told["device"]["nvml_utilization"] is None
        of_the_run = {key: record[key] for key in ("valid", "partial", "findings", "config")}
        assert told == {"run": "r", "simulated": False, **of_the_run, **record["metrics"]}
        assert "loading" in err

    def test_strict_exits_with_3_when_the_run_is_not_valid(self, dynbatch):
        # 100 requests are too few for a p99.
        run = [*QUICK, "--rate", "100", "--duration", "1", "--quiet"]
        assert dynbatch("bench", *run) == (0, "", "")
        code, out, err = dynbatch("bench", *run, "--strict", "--out", "strict")
        assert (code, out, err) == (3, "", "")
        record = json.loads(Path("strict/run.json").read_text())
        assert record["valid"] is False
        assert "too_few_requests" in [finding["code"] for finding in record["findings"]]

    def test_a_missed_slo_is_exit_code_3_and_the_first_line(self, dynbatch):
        slos = ["--slo", "p50<=1us", "--slo", "throughput>=1"]
        code, out, err = dynbatch("bench", *QUICK, "--duration", "1.5", *slos, "--out", "r")
        assert code == 3, err
        assert out.startswith("p50<=1us missed: 100 % of ")
        assert "\nthroughput>=1 met: " in out
        record = json.loads(Path("r/run.json").read_text())
        assert [v["decision"] for v in record["verdicts"]] == ["missed", "met"]
        assert record["config"]["slo"] == ["p50<=1us", "throughput>=1"]
        assert record["metrics"]["goodput_rps"] == 0
        assert "p50&lt;=1us missed" in Path("r/report.html").read_text()

    def test_an_undecided_slo_is_exit_code_3_only_when_asked_to_be_strict(self, dynbatch):
        run = [*QUICK, "--duration", "1.5", "--slo", "p99.9<=9s", "--json"]
        code, out, _ = dynbatch("bench", *run)
        assert code == 0
        [verdict] = json.loads(out)["verdicts"]
        assert verdict["decision"] == "undecided"
        assert verdict["more_requests"] > 0
        assert dynbatch("bench", *run, "--strict", "--out", "s")[0] == 3

    def test_a_run_until_decided_ends_with_the_look_that_decides(self, dynbatch):
        code, _, err = dynbatch(
            "bench", *QUICK, "--duration", "0.5", "--slo", "p50<=1us", "--slo", "throughput>=1",
            "--until-decided", "--max-duration", "60", "--out", "r",
        )  # fmt: skip
        assert code == 3, err
        record = json.loads(Path("r/run.json").read_text())
        assert record["partial"] is False
        assert record["window_s"] in {0.5, 1.0, 2.0, 4.0, 8.0}
        assert record["config"]["duration"] == record["trace"]["window_s"] == record["window_s"]
        assert record["config"]["looks"] == 8
        assert record["config"]["max_duration"] == 60
        decisions = {v["slo"]: v["decision"] for v in record["verdicts"]}
        assert decisions == {"p50<=1us": "missed", "throughput>=1": "met"}
        counts = record["metrics"]["counts"]
        assert counts["submitted"] == counts["ok"] == record["trace"]["requests"]

    def test_a_recording_with_nothing_left_cannot_be_gone_on_with(self, dynbatch, tmp_path):
        path = listing(tmp_path, '{"arrival_s": [0, 0.2, 0.4], "duration_s": 1.5}')
        asked = ["--slo", "p99<=1s", "--until-decided", "--model", "affine:1,1"]
        code, _, err = dynbatch("bench", "--trace", path, *asked)
        assert code == 2
        assert "must have a --duration to start with" in err
        code, _, err = dynbatch("bench", "--trace", path, *asked, "--duration", "1.5")
        assert code == 2
        assert "must have more than the duration of 1.5 s to go on to, but has 1.5 s" in err

    def test_a_config_file_decides_what_the_command_line_leaves_open(self, dynbatch, tmp_path):
        (tmp_path / "c.toml").write_text(
            '[model]\nmodel = "affine:1,0.05"\n[batcher]\nmax_batch_size = 4\npolicy = "window"\n'
            '[replay]\ntrace = "poisson.json"\nrate = 200\nduration = 1\nclient = "loop"\n'
        )
        code, _, err = dynbatch(
            "bench", "--config", "c.toml", "--batch-timeout-ms", "3", "--out", "r"
        )
        assert code == 0, err
        config = json.loads(Path("r/run.json").read_text())["config"]
        assert config["max_batch_size"] == 4
        assert config["policy"] == "window"
        assert config["batch_timeout_ms"] == 3
        assert config["client"] == "loop"

    def test_the_report_can_be_drawn_again_from_the_logs(self, dynbatch):
        dynbatch("bench", *QUICK, "--duration", "1", "--quiet", "--out", "r")
        before = json.loads(Path("r/run.json").read_text())
        Path("r/report.html").unlink()
        code, out, _ = dynbatch("report", "r")
        assert code == 0
        assert "report: r" in out
        assert Path("r/report.html").exists()
        assert json.loads(Path("r/run.json").read_text()) == before

    def test_a_model_that_always_raises_fails_the_run_and_keeps_its_logs(self, dynbatch, tmp_path):
        (tmp_path / "bad.py").write_text(
            "import torch\n"
            "from batching.models.torch_model import TorchModel\n"
            "class Late(torch.nn.Module):\n"
            "    calls = 0\n"
            "    def forward(self, x):\n"
            "        Late.calls += 1\n"
            "        if Late.calls > 38:  # every batch size once, powers of two twice: warmed up\n"
            "            raise RuntimeError('out of order')\n"
            "        return x\n"
            "def make():\n"
            "    return TorchModel(Late, lambda rng: torch.zeros(2), name='late')\n"
        )
        code, _, err = dynbatch(
            "bench", "--model", "bad.py:make", "--trace", "poisson", "--rate", "100",
            "--duration", "1", "--out", "r",
        )  # fmt: skip
        assert code == 1
        assert "first error: the model raised: RuntimeError" in err
        assert "out of order" in err
        record = json.loads(Path("r/run.json").read_text())
        assert record["metrics"]["counts"]["ok"] == 0
        assert record["metrics"]["latency_s"]["p99"] is None

    def test_a_model_that_cannot_be_warmed_up_leaves_nothing_behind(self, dynbatch, tmp_path):
        (tmp_path / "bad.py").write_text(
            "import torch\n"
            "from batching.models.torch_model import TorchModel\n"
            "def make():\n"
            "    return TorchModel(lambda: torch.nn.Linear(3, 1), lambda rng: torch.zeros(2),"
            " name='wrong')\n"
        )
        code, _, err = dynbatch("bench", "--model", "bad.py:make", "--rate", "10")
        assert code == 1
        assert "raised while it was warmed up" in err
        assert [p.name for p in tmp_path.iterdir() if p.name not in ("bad.py", "__pycache__")] == []

    def test_the_documented_example_of_ones_own_model_runs(self, dynbatch):
        spec = f"{ROOT / 'docs' / 'examples' / 'my_model.py'}:make"
        code, _, err = dynbatch(
            "bench", "--model", spec, "--rate", "300", "--duration", "1", "--out", "r"
        )
        assert code == 0, err
        assert json.loads(Path("r/run.json").read_text())["config"]["model"] == "classifier"


def test_ctrl_c_keeps_what_was_measured_and_says_partial(tmp_path):
    options = [*QUICK, "--duration", "120", "--out", str(tmp_path / "r")]
    process = subprocess.Popen(
        [sys.executable, "-c", "from bench.cli import main; main()", "bench", *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    for line in process.stderr:
        if line.startswith("replaying"):
            break
    time.sleep(2)  # some of the run must have happened
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "PARTIAL" in out.upper()
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert record["partial"] is True
    assert 0.5 < record["window_s"] < 60
    assert record["metrics"]["counts"]["ok"] > 0
    assert (tmp_path / "r" / "report.html").exists()


def test_version_is_that_of_the_package(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dynbatch", "--version"])
    assert cli.run() == 0
    assert capsys.readouterr().out == f"dynbatch {version('dynbatch')}\n"


def test_models_lists_every_way_to_name_one(dynbatch):
    code, out, _ = dynbatch("models")
    assert code == 0
    for name in ("mlp", "resnet50", "vit-b16", "bert-base", "affine", "roofline", "your own"):
        assert name in out


def test_preferred_sizes_and_the_resolved_load_are_in_the_record(dynbatch, tmp_path):
    code, _, _ = dynbatch(
        "bench", *QUICK, "--duration", 0.3, "--preferred-batch-sizes", "2,4", "--out", "r"
    )
    assert code == 0
    config = json.loads((tmp_path / "r" / "run.json").read_text())["config"]
    assert config["preferred_batch_sizes"] == [2, 4]
    assert (config["rate"], config["duration"], config["seed"]) == (300.0, 0.3, 7)


def test_a_hanging_model_is_given_up_after_the_execute_timeout(dynbatch, tmp_path):
    code, out, err = dynbatch(
        "bench", "--model", "affine:60,0", "--trace", "poisson.json", "--rate", 50,
        "--duration", 0.3, "--max-batch-size", 2, "--execute-timeout-ms", 20, "--out", "r",
    )  # fmt: skip
    assert code == 1
    assert "first error: the model did not return within 0.02 s" in err
    assert "failed" in out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_stdout_that_takes_nothing_is_one_line_not_a_traceback():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from bench.cli import main; main()", "models"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "dynbatch: stdout: No space left on device\n"


def test_a_terminal_that_knows_ascii_only_is_no_error():
    done = subprocess.run(
        [sys.executable, "-c", "from bench.cli import main; main()", "bench", "--help"],
        capture_output=True, cwd=ROOT, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.isascii()


@pytest.mark.parametrize(
    ("command", "drawn_again"),
    [
        (("simulate",), "report: runs/latest"),
        (("simulate", "--sweep", "max_batch_size=1,2"), "holds a sweep: see sweep.png"),
        (("capacity", "--slo", "p99<=50ms"), "holds a capacity: see capacity.png"),
        (("compare", "once", "once"), "report: runs/latest"),
    ],
    ids=["a simulation", "a sweep", "a capacity search", "a comparison of recorded runs"],
)
def test_the_folder_that_a_command_made_in_runs_is_the_latest_and_report_knows_it(
    dynbatch, tmp_path, command, drawn_again
):
    options = ("--model", "affine:1,0.1", "--trace", "poisson.json", "--duration", "1", "--quiet")
    latest = tmp_path / "runs" / "latest"
    assert dynbatch("simulate", *options, "--out", "once")[0] == 0
    assert not latest.is_symlink()
    given = () if "compare" in command else options
    code, _, err = dynbatch(*command, *given)
    assert code in {0, 3}, err
    [made] = [path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]
    assert latest.resolve() == made
    _, out, err = dynbatch("report")
    assert drawn_again in out + err


WHILE_TORCH_IS_IMPORTED = """
import os, signal, sys, time, types
from bench.interrupts import interrupt
signal.signal(signal.SIGINT, interrupt)
torch = sys.modules["torch"] = types.ModuleType("torch")
torch.__spec__ = types.SimpleNamespace(_initializing=True)
os.kill(os.getpid(), signal.SIGINT)
print("imported")
torch.__spec__._initializing = False
try:
    while True:
        time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_waits_until_torch_is_imported_which_would_abort():
    command = [sys.executable, "-c", WHILE_TORCH_IS_IMPORTED]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.split() == ["imported", "interrupted"]


IN_A_FINALISER = """
import gc, signal, time
from bench.interrupts import catch_interrupts
catch_interrupts()
class Slow:
    def __del__(self):
        signal.raise_signal(getattr(signal, {name!r}))
Slow()
print("discarded")
try:
    while True:
        time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_comes_where_nothing_can_be_raised_is_not_lost(name):
    command = [sys.executable, "-c", IN_A_FINALISER.format(name=name)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.split() == ["discarded", "interrupted"]
    assert done.stderr == ""
