"""`dynbatch compare` from its command line to its folder, on a model that computes nothing."""

import json
from pathlib import Path

import pytest

from bench.live.arms import LiveArms

pytestmark = pytest.mark.long

QUICK = ["--model", "affine:1,0.05", "--trace", "poisson.json", "--rate", "300"]
SHORT = [*QUICK, "--duration", "0.4", "--draws", "2"]
ARMS = ["--a", "max_batch_size=4", "--b", "max_batch_size=4,batch_timeout_ms=60"]
FILES = {"comparison.json", "report.html", "figures", "draw-01", "draw-02"}


@pytest.fixture
def interrupted_after(monkeypatch):
    """Let so many runs come to their end, and press Ctrl-C in the next."""

    def arrange(runs):
        call, made = LiveArms.__call__, []

        def run(self, arm, arrivals, folder):
            if len(made) == runs:
                raise KeyboardInterrupt
            made.append(folder)
            return call(self, arm, arrivals, folder)

        monkeypatch.setattr(LiveArms, "__call__", run)
        return lambda: monkeypatch.setattr(LiveArms, "__call__", call)

    return arrange


def record_of(folder):
    return json.loads((Path(folder) / "comparison.json").read_text())


@pytest.fixture
def undrawn(monkeypatch):
    """Draw no report, which takes longer than all else here and is tested elsewhere."""
    monkeypatch.setattr("results.comparison.report.write_report", lambda comparison: None)


def test_it_runs_both_arms_on_the_same_arrivals_and_keeps_every_run(dynbatch, tmp_path):
    code, out, err = dynbatch("compare", *ARMS, *SHORT, "--out", "c")
    assert code == 0, err
    assert {path.name for path in (tmp_path / "c").iterdir()} == FILES
    record = record_of("c")
    assert (record["state"], record["outcome"]["draws"]) == ("finished", 2)
    for number, order in ((1, "ab"), (2, "ba")):
        runs = {
            arm: json.loads((tmp_path / f"c/draw-0{number}/{arm}/run.json").read_text())
            for arm in order
        }
        assert len({run["trace"]["sha256"] for run in runs.values()}) == 1
        assert runs["a"]["config"]["batch_timeout_ms"] == 10
        assert runs["b"]["config"]["batch_timeout_ms"] == 60
        assert f"draw {number}, {order[0].upper()}:" in err
    assert record["draws"][0]["sha256"] != record["draws"][1]["sha256"]
    assert err.index("smallest difference in p99 latency that 2 draws find") < err.index("draw 1")
    assert record["sentences"][0].split("; ")[0] in " ".join(out.split())
    assert "report: c/report.html" in out
    assert dynbatch("report", "c/draw-01/b")[0] == 0


def test_a_long_recording_says_how_long_it_takes_and_what_parts_of_it_are_replayed(
    dynbatch, interrupted_after
):
    half_s = [i / 5 for i in range(1500)]
    arrivals = [*half_s, *(300 + i / 15 for i in range(4500))]
    Path("day.json").write_text(json.dumps({"arrival_s": arrivals, "duration_s": 600}))
    interrupted_after(0)
    how = ["--model", "affine:1,0.05", "--trace", "day.json", "--draws", "4"]
    _, _, err = dynbatch("compare", *ARMS, *how, "--out", "whole")
    said = " ".join(err.split())
    assert "at most 4,802 s of replay (80 min); --duration shortens it" in said
    _, _, err = dynbatch("compare", *ARMS, *how, "--duration", "20", "--out", "parts")
    said = " ".join(err.split())
    assert "at most 176 s of replay " in said
    assert "--duration shortens it" not in said
    assert "day: the 4 draws of 20 s are parts of the recording with 5 req/s to 15 req/s" in said
    assert "all of it has 10 req/s" in said


def test_json_is_the_record_alone_on_stdout_and_worse_is_exit_code_3(dynbatch, undrawn):
    code, out, err = dynbatch(
        "compare", *ARMS, *SHORT, "--metric", "p50", "--json", "--fail-if", "worse", "--out", "c"
    )
    record = json.loads(out)
    assert record == record_of("c")
    assert record["metric"] == "p50"
    worse = record["outcome"]["challengers"][0]["judged"]["verdict"] == "worse"
    assert code == (3 if worse else 0), err


def test_an_interrupted_comparison_goes_on_with_resume_and_makes_no_run_twice(
    dynbatch, tmp_path, interrupted_after, undrawn
):
    go_on = interrupted_after(3)
    code, out, err = dynbatch("compare", *ARMS, *SHORT, "--out", "c")
    assert code == 130
    assert "to go on: dynbatch compare --resume c" in err
    assert "interrupted after 1 draw" in out
    before = record_of("c")
    assert before["state"] == "interrupted"
    made = sorted(path.parent for path in (tmp_path / "c").glob("draw-*/*/run.json"))
    stamps = [(path / "requests.parquet").stat().st_mtime_ns for path in made]
    cut_off = tmp_path / "c/draw-02/a"
    cut_off.mkdir()
    (cut_off / "requests.parquet").write_text("half of a log")
    go_on()

    code, _, err = dynbatch("compare", "--resume", "c", "--quiet")
    assert code == 0, err
    after = record_of("c")
    assert (after["state"], after["outcome"]["draws"]) == ("finished", 2)
    assert after["draws"][0] == before["draws"][0]
    assert stamps == [(path / "requests.parquet").stat().st_mtime_ns for path in made]


def test_a_comparison_that_has_no_draw_yet_says_so_and_can_go_on(dynbatch, interrupted_after):
    interrupted_after(1)
    code, out, err = dynbatch("compare", *ARMS, *SHORT, "--out", "c")
    assert (code, out) == (130, "")
    assert "interrupted; the first draw was not finished" in err
    assert "to go on: dynbatch compare --resume c" in err


class TestResume:
    @pytest.fixture
    def begun(self, dynbatch, interrupted_after):
        interrupted_after(1)
        dynbatch("compare", *ARMS, *SHORT, "--out", "c")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--draws", "4"], "but draws was 2 and is 4"),
            (["--metric", "p50"], "but metric was 'p99' and is 'p50'"),
            (["--rate", "400"], "a: rate was 300.0 and is 400.0"),
            (["--a", "max_batch_size=4", "--b", "max_batch_size=8"], "b: max_batch_size was 4"),
            (["--out", "d"], "out must not be given with --resume, but got 'd'"),
        ],
    )
    def test_goes_on_with_what_was_begun_and_nothing_else(
        self, dynbatch, begun, arguments, message
    ):
        code, _, err = dynbatch("compare", "--resume", "c", *arguments)
        assert code == 2
        assert message in err.splitlines()[-1]

    def test_takes_the_same_options_again(self, dynbatch, begun):
        # The one run more is interrupted again: what is tested is that it begins.
        code, _, err = dynbatch("compare", "--resume", "c", *ARMS, *SHORT, "--metric", "p99")
        assert code in (0, 130), err


def test_recorded_runs_are_compared_by_their_folders(
    dynbatch, tmp_path, interrupted_after, monkeypatch
):
    interrupted_after(2)
    with monkeypatch.context() as patch:
        patch.setattr("results.comparison.report.write_report", lambda comparison: None)
        short = [*QUICK, "--duration", "1", "--draws", "2"]
        dynbatch("compare", *ARMS, *short, "--out", "c")
    code, out, err = dynbatch(
        "compare", "c/draw-01/a", "c/draw-01/b", "--out", "z", "--fail-if", "worse"
    )
    assert code == 0, err
    assert "less than 30 s get no verdict" in " ".join(out.split())
    assert "paired by blocks of time" in " ".join(out.split())
    assert record_of("z")["outcome"]["design"] == "blocks"
    assert (tmp_path / "z" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arms must be at least two"),
        ([*ARMS, "--draws", "1"], "draws must be >= 2, since one says nothing of chance"),
        ([*ARMS, "--metric", "p42"], "metric must be one of p50"),
        ([*ARMS, "--margin", "five"], "must be a share such as 5% or 0.05, but got 'five'"),
        ([*ARMS, "--fail-if", "better"], "fail_if must be worse, but got 'better'"),
        ([*ARMS, "--metric", "goodput"], "goodput must have a latency limit"),
        ([*ARMS, "--rate", "0"], "rate must be greater than 0"),
        (["--a", "policy=fifo", "--b", "in_flight=1", *QUICK], "policy must be one of"),
        (["--a", "in_flight=1", "--b", "policy=deadline", *QUICK], "deadline needs slo_ms"),
        (["folder", "other", "--draws", "4"], "draws must not be given when recorded runs are"),
        (["folder", "folder"], "folder holds no run: it has no run.json"),
        (["--resume", "folder"], "folder holds no comparison"),
        ([*ARMS, "--out", "taken"], "taken holds a comparison already"),
        ([*ARMS, "--trace", "list.json", "--duration", "60"], "list must last 60 s, but its"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(
    dynbatch, tmp_path, arguments, message
):
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "comparison.json").write_text("{}")
    (tmp_path / "list.json").write_text('{"arrival_s": [0, 1, 2]}')
    code, out, err = dynbatch("compare", *arguments)
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("dynbatch: ")
    assert message in last
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "taken", "list.json"}


def test_the_latest_comparison_is_what_report_draws_again(dynbatch, undrawn):
    code, out, err = dynbatch("compare", *ARMS, *SHORT)
    assert code == 0, err
    code, again, err = dynbatch("report")
    assert code == 0, err
    assert again.splitlines()[:3] == out.splitlines()[:3]
