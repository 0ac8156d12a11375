"""`dynbatch trace convert`, and recordings in `dynbatch bench`."""

import io
import json
import sys

import pytest

from bench.settings import load_settings
from tests.workloads.examples import AZURE_FUNCTIONS, AZURE_LLM, with_bad_line
from workloads import load


@pytest.fixture
def dynbatch(dynbatch, tmp_path):
    """Run a command line beside two recordings; returns (exit code, stdout, stderr)."""
    (tmp_path / "day.csv").write_bytes(AZURE_LLM)
    (tmp_path / "spoilt.csv").write_bytes(with_bad_line(AZURE_LLM, 3, b"x,1,2"))
    return dynbatch


def test_it_says_what_it_read_and_what_it_wrote(dynbatch):
    code, out, err = dynbatch("trace", "convert", "day.csv", "day.parquet")
    assert (code, err.count("\n")) == (0, 1)
    assert err.startswith("day.csv: 3 rows, each taken as one request at its TIMESTAMP, tokens")
    assert out.splitlines() == [
        "read day.csv as azure-llm: 3 requests in 4.54188 s, 0.661 req/s",
        "tokens: 549.7 in a request, 69.33 out a request",
        "written to day.parquet",
    ]
    assert load("day.parquet").trace.fingerprint() == load("day.csv").trace.fingerprint()


def test_json_is_one_object_and_what_was_skipped_is_in_it(dynbatch):
    code, out, err = dynbatch(
        "trace", "convert", "spoilt.csv", "day.json.gz", "--skip-bad", 1, "--json"
    )
    said = json.loads(out)
    trace = load("day.json.gz").trace
    taken = (
        "3 rows, each taken as one request at its TIMESTAMP, tokens ContextTokens in and "
        "GeneratedTokens out"
    )
    note = (
        '1 bad line of 4 skipped; the first: line 3: TIMESTAMP must be a date and time, but got "x"'
    )
    assert code == 0
    assert err == f"spoilt.csv: {taken}\nspoilt.csv: {note}\n"
    assert said == {
        "source": "spoilt.csv",
        "target": "day.json.gz",
        "format": "azure-llm",
        "notes": [taken, note],
        "name": "spoilt",
        "requests": 3,
        "duration_s": 4.541877,
        "rate_rps": pytest.approx(3 / 4.541877),
        "input_tokens": 1649,
        "output_tokens": 208,
        "sha256": trace.fingerprint(),
    }
    assert load("day.json.gz").notes == (taken, note)


def test_quiet_prints_nothing(dynbatch):
    assert dynbatch("trace", "convert", "day.csv", "day.csv.zst", "--quiet") == (0, "", "")
    assert len(load("day.csv.zst").trace) == 3


def test_a_recording_may_come_through_a_pipe(dynbatch, monkeypatch):
    pipe = io.TextIOWrapper(io.BytesIO(AZURE_FUNCTIONS))
    monkeypatch.setattr(sys, "stdin", pipe)
    code, out, _ = dynbatch("trace", "convert", "-", "calls.json")
    assert code == 0
    assert out.startswith("read - as azure-functions: 3 requests")
    assert load("calls.json").trace.name == "stdin"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["spoilt.csv", "o.json"], "spoilt.csv: line 3: TIMESTAMP must be a date and time, but go"),
        (["day.csv", "o.txt"], "o.txt: a trace's name must end in .json, .csv or .parquet"),
        (["day.csv", "o.parquet.gz"], "but got .parquet.gz"),
        (["day.csv", "no/o.json"], "no/o.json cannot be written: there is no folder no"),
        (["none.csv", "o.json"], "none.csv does not exist"),
        (["bursty.json", "o.json"], "bursty.json must list its arrivals, but describes a process"),
        (["day.csv", "o.json", "--time-unit", "h"], "time_unit must be one of s, ms, us, ns"),
        (["day.csv", "o.json", "--trace-format", "x"], "trace_format must be one of dynbatch-json"),
        (["day.csv", "o.json", "--time-column", "x"], "time_column must go with one of"),
        (["day.csv", "o.json", "--stamp", "mid"], "stamp must be one of start, end, but got mid"),
        (["day.csv", "o.json", "--max-unpacked-gb", "0"], "max_unpacked_gb must be > 0, but got 0"),
        (["day.csv", "o.json", "--where", "a=b"], "where must go with one of the formats parquet"),
        (["day.csv", "o.json", "--skip-bad", "-1"], "skip_bad must be >= 0, but got -1"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_nothing_is_written(dynbatch, tmp_path, arguments, message):
    before = sorted(tmp_path.iterdir())
    code, out, err = dynbatch("trace", "convert", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("content", "options", "duration_s"),
    [
        ("0.5,x\n2,y\n", ["--columns", "start, name"], 1.5),
        ("end,took\n1.5,500\n2,100\n", ["--time-column", "end", "--duration-column", "took",
                                         "--duration-unit", "ms"], 0.9),
        ("ts,latency_ms\n1.5,500\n2,100\n", ["--stamp", "end"], 0.9),
        ("ts,latency_ms\n1.5,500\n2,100\n", ["--stamp", "start"], 0.5),
        ("time,n\n0,3\n10,2\n", ["--count-column", "n"], 20.0),
        ("ts,metric,value\n1,a,1\n2,b,1\n4,a,1\n", ["--where", "metric=a"], 3.0),
        ("ts,metric,ok\n1,a,1\n2,a,0\n4,b,1\n6,a,1\n",
         ["--where", "metric=a", "--where", "ok=1"], 5.0),
    ],
)  # fmt: skip
def test_what_the_content_does_not_say_the_options_do(
    dynbatch, tmp_path, content, options, duration_s
):
    (tmp_path / "log.csv").write_text(content)
    assert dynbatch("trace", "convert", "log.csv", "o.json", *options)[0] == 0
    assert load("o.json").trace.duration_s == duration_s


def test_the_options_of_a_trace_may_stand_in_a_config_file(dynbatch, tmp_path):
    (tmp_path / "log.csv").write_text("0,x\n500,y\n5000,y\n")
    (tmp_path / "a.toml").write_text(
        '[replay]\ntrace = "log.csv"\ncolumns = "start,name"\ntime_unit = "ms"\n'
        "max_unpacked_gb = 0.5\n"
    )
    code, _, err = dynbatch(
        "simulate",
        "--config",
        "a.toml",
        "--model",
        "affine:1,0.05",
        "--out",
        "run",
        "--duration",
        4,
    )
    assert (code, "each taken as one request at its start" in err) == (0, True)


@pytest.mark.parametrize(
    ("of_file", "options", "requests"),
    [
        ('where = "ok=1"', [], 3),
        ('where = ["ok=1", "metric=a"]', [], 2),
        ('where = ["ok=1", "metric=a"]', ["--where", "metric=b"], 1),
    ],
    ids=["one in the file", "two in the file", "the command line wins"],
)
def test_conditions_may_stand_in_a_config_file(dynbatch, tmp_path, of_file, options, requests):
    (tmp_path / "log.csv").write_text("ts,metric,ok\n0,a,1\n2,a,0\n4,b,1\n6,a,1\n")
    (tmp_path / "a.toml").write_text(f'[replay]\ntrace = "log.csv"\n{of_file}\n')
    _, _, err = dynbatch("simulate", "--config", "a.toml", "--model", "affine:1,0", *options)
    assert f"{requests} row{'s' if requests > 1 else ''} of 4, those with" in err


def test_a_failed_conversion_keeps_what_was_there(dynbatch, tmp_path):
    dynbatch("trace", "convert", "day.csv", "o.parquet")
    kept = (tmp_path / "o.parquet").read_bytes()
    assert dynbatch("trace", "convert", "spoilt.csv", "o.parquet")[0] == 2
    assert (tmp_path / "o.parquet").read_bytes() == kept


def test_an_interrupt_while_it_writes_leaves_what_was_there(dynbatch, tmp_path, monkeypatch):
    def interrupted(_, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    dynbatch("trace", "convert", "day.csv", "o.parquet")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("workloads.files._write_parquet", interrupted)
    assert dynbatch("trace", "convert", "day.csv", "o.parquet")[0] == 130
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_recording_is_benched_as_it_is_and_the_run_says_how_it_was_read(dynbatch, tmp_path):
    code, _, err = dynbatch(
        "bench", "--trace", "spoilt.csv", "--skip-bad", 1, "--model", "affine:1,0.05",
        "--time-scale", "0.05", "--out", "run",
    )  # fmt: skip
    trace = json.loads((tmp_path / "run" / "run.json").read_text())["trace"]
    assert code == 0
    assert (trace["format"], trace["requests"]) == ("azure-llm", 3)
    assert err.count("spoilt.csv: 1 bad line of 4 skipped") == 1
    assert trace["notes"][1].startswith("1 bad line of 4 skipped")


def test_another_trace_on_the_command_line_is_not_read_by_the_rules_of_the_file(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text('[replay]\ntrace = "a.csv"\ntime_unit = "ms"\nskip_bad = 3\n')
    assert load_settings(config, {}).replay.time_unit == "ms"
    other = load_settings(config, {"trace": "b.json"}).replay
    assert (other.time_unit, other.skip_bad) == (None, 0)
    assert load_settings(config, {"trace": "b.csv", "time_unit": "us"}).replay.time_unit == "us"
