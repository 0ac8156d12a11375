"""`dynbatch trace show` and `trace fit`, from the command line to the files."""

import json
from functools import partial

import pytest

from bench.traces.describe import burstiness
from bench.traces.describe_fit import shortcomings
from workloads import DescribedTrace, Mmpp, Trace, load, resolve
from workloads.fitting import fit
from workloads.statistics import Scale, scales

BURSTY = ["bursty", "--rate", "200", "--duration", "100"]


@pytest.fixture
def dynbatch(dynbatch):
    """Run `dynbatch trace` in a folder of its own; returns (exit code, stdout, stderr)."""
    return partial(dynbatch, "trace")


@pytest.fixture
def listed(tmp_path):
    def write(**content):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(content))
        return path

    return write


def test_show_says_what_the_trace_is_like_and_writes_picture_and_page(dynbatch, tmp_path):
    code, out, err = dynbatch("show", *BURSTY)
    assert (code, err) == (0, "")
    for text in ("bursty", "drawn with seed 7", "burstier than Poisson", "peak / mean", "CV"):
        assert text in out
    folder = tmp_path / "traces" / "bursty"
    assert sorted(path.name for path in folder.iterdir()) == ["arrivals.png", "trace.html"]
    assert "traces/bursty/trace.html" in out
    assert "burstier than Poisson" in (folder / "trace.html").read_text(encoding="utf-8")


def test_a_recording_in_another_format_is_read_by_the_options_given(dynbatch, tmp_path):
    lines = [f"{i * 250},a,{i}" for i in range(400)]
    (tmp_path / "log.csv").write_text("\n".join(["at,who,n", *lines[:9], "x,y,z", *lines[9:]]))
    how = ["--time-column", "at", "--time-unit", "ms", "--skip-bad", "1"]
    code, out, err = dynbatch("show", "log.csv", *how, "--json")
    assert code == 0
    assert json.loads(out)["duration_s"] == pytest.approx(99.75)
    assert err.count("1 bad line of 401 skipped") == 1
    page = (tmp_path / "traces" / "log" / "trace.html").read_text(encoding="utf-8")
    assert "1 bad line of 401 skipped; the first: line 11" in page
    code, _, err = dynbatch("fit", "log.csv", "--time-unit", "ms", "--time-column", "n0")
    assert code == 2
    assert "n0" in err


def test_show_prints_one_json_object_with_json_and_nothing_when_quiet(dynbatch, tmp_path):
    code, out, err = dynbatch("show", *BURSTY, "--json", "--out", tmp_path / "here")
    values = json.loads(out)
    assert (code, err) == (0, "")
    assert values["requests"] == pytest.approx(20_000, rel=0.1)
    assert values["source"]["seed"] == 7
    assert values["page"] == str(tmp_path / "here" / "trace.html")
    assert dynbatch("show", *BURSTY, "--quiet") == (0, "", "")


def test_show_draws_a_described_trace_with_the_seed_asked_for(dynbatch):
    said = json.loads(dynbatch("show", *BURSTY, "--json", "--seed", 3)[1])
    drawn = resolve(load("bursty"), rate_rps=200.0, duration_s=100.0, seed=3)
    assert (said["source"]["seed"], said["sha256"]) == (3, drawn.trace.fingerprint())


@pytest.mark.parametrize("command", ["show", "fit"])
def test_an_interrupt_while_it_draws_leaves_no_picture(dynbatch, tmp_path, monkeypatch, command):
    def interrupted(_, path, **options):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", interrupted)
    assert dynbatch(command, *BURSTY)[0] == 130
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ([] if command == "show" else ["fitted.json"])
    assert (tmp_path / "traces").exists() == (command == "fit")


def test_fit_writes_a_trace_that_any_command_takes(dynbatch, tmp_path):
    code, out, err = dynbatch("fit", *BURSTY, "--out", tmp_path / "fitted.json")
    assert (code, err) == (0, "")
    spec = load(tmp_path / "fitted.json")
    assert isinstance(spec, DescribedTrace)
    assert isinstance(spec.process, Mmpp)
    assert spec.rate_rps == pytest.approx(200, rel=0.05)
    assert (spec.duration_s, spec.seed) == (100.0, 7)
    assert (tmp_path / "fitted.png").stat().st_size > 10_000
    assert "mmpp at" in out
    assert "ratio" in out
    code, out, _ = dynbatch("show", "fitted.json", "--json")
    assert (code, json.loads(out)["name"]) == (0, "bursty fitted")


def test_fit_prints_one_json_object_with_json_and_nothing_when_quiet(dynbatch):
    code, out, err = dynbatch("fit", *BURSTY, "--json", "--process", "gamma")
    values = json.loads(out)
    assert (code, err) == (0, "")
    assert values["process"]["process"] == "gamma"
    assert values["reason"] == "asked for"
    assert any("vary less" in sentence for sentence in values["not_reproduced"])
    assert dynbatch("fit", *BURSTY, "--quiet") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "none.json"], "none.json does not exist"),
        (["show", "bursty"], "give a --rate instead"),
        (["show", "bursty", "--rate", "0"], "rate_rps must be > 0 and finite, but got 0"),
        (["show", *BURSTY, "--out", "file/x"], "out must be a place to write to, but file/x"),
        (["show"], "Missing argument 'TRACE'"),
        (["fit", *BURSTY, "--process", "hawkes"], "process must be one of auto, poisson"),
        (["fit", *BURSTY, "--out", "x.txt"], "out must be a file ending in .json"),
        (["fit", "poisson", "--rate", "10", "--duration", "0.5", "--process", "mmpp"],
         "an MMPP needs counts in 30 windows or more"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(dynbatch, tmp_path, arguments, message):
    (tmp_path / "file").write_text("")
    code, out, err = dynbatch(*arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("dynbatch: ")
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("**/*.png"))


@pytest.mark.parametrize(
    "arrival_s", [[1.0], [0, 0.5, 2], [1, 1, 1, 1], [i / 10 for i in range(400)]], ids=len
)
def test_odd_recordings_are_shown_and_fitted(dynbatch, listed, arrival_s):
    path = listed(arrival_s=arrival_s, input_tokens=[3] * len(arrival_s))
    for command in ("show", "fit"):
        code, out, err = dynbatch(command, path)
        assert (code, err) == (0, "")
        assert "nan" not in out


def test_a_name_that_is_no_file_name_does_not_leave_the_folder(dynbatch, listed, tmp_path):
    path = listed(arrival_s=[1.0, 2.0], name="../../[red]x$y$")
    code, out, _ = dynbatch("show", path)
    assert code == 0
    assert "../../[red]x$y$" in out
    assert [folder.name for folder in (tmp_path / "traces").iterdir()] == ["-..--red-x-y-"]


def scale(span_s, dispersion, error=0.01):
    return Scale(span_s, 100, 5.0, 9, dispersion, error, 0.0)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], None),
        ([scale(0.1, None)], None),
        ([scale(0.1, 1.0), scale(1.0, 1.05)], "like Poisson from 100 ms to 1 s"),
        ([scale(0.1, 1.0), scale(1.0, 3.0)],
         "like Poisson up to 100 ms, burstier than Poisson at 1 s and above"),
        ([scale(0.1, 3.0)], "burstier than Poisson at 100 ms"),
        ([scale(0.1, 0.5), scale(1.0, 1.0), scale(10.0, 3.0)],
         "smoother than Poisson up to 100 ms, like Poisson at 1 s, "
         "burstier than Poisson at 10 s and above"),
        # far from 1 but uncertain: as at the length before
        ([scale(0.1, 3.0), scale(1.0, 3.0, error=2.0)],
         "burstier than Poisson from 100 ms to 1 s"),
        ([scale(0.1, 1.0), scale(1.0, 0.6, error=0.3)], "like Poisson from 100 ms to 1 s"),
    ],
)  # fmt: skip
def test_burstiness_is_told_by_length(found, words):
    assert burstiness(tuple(found)) == words


def test_what_a_fit_does_not_reproduce_is_told(dynbatch):
    seconds = [i * 0.5 for i in range(2000) for _ in range(3)]
    trace = Trace(seconds, 1000.0, input_tokens=[1] * len(seconds))
    told = " ".join(shortcomings(trace, fit(trace, "poisson")))
    for text in ("66.7 % of the requests arrive at the very instant", "CV of 1.41", "Token counts",
                 "more slowly than 20 s", "vary less"):  # fmt: skip
        assert text in told
    assert scales(trace)[0].dispersion == pytest.approx(3.0, rel=0.1)
