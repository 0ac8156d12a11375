"""`dynbatch trace make`: arrivals or a description from any process, in one line of input."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from workloads import PROCESSES, Constant, DescribedTrace, Hawkes, Poisson, load

HAWKES = ["hawkes", "--param", "branching=0.8", "--param", "decay_s=.05"]
PARTS = '[{"process": "poisson", "share": 0.5}, {"process": "gamma", "cv": 2, "share": 0.5}]'


@pytest.fixture
def make(dynbatch):
    """Run the command in a folder of its own; returns (exit code, stdout, stderr)."""

    def run(*arguments, command=("trace", "make")):
        return dynbatch(*command, *arguments)

    return run


def test_it_writes_the_arrivals_that_the_process_draws(make):
    code, out, err = make(*HAWKES, "--rate", 50, "--duration", 20, "--seed", 3, "--out", "h.json")
    assert (code, err) == (0, "")
    expected = Hawkes(0.8, 0.05).arrivals(50.0, 20.0, np.random.default_rng(3))
    trace = load("h.json").trace
    assert np.array_equal(trace.arrival_s, expected)
    assert (trace.duration_s, trace.name) == (20.0, "hawkes")
    assert f"{len(expected):,} requests in 20 s, seed 3" in out
    assert "by the formula" in out
    assert "written to h.json" in out


def test_without_a_file_it_tells_what_it_drew_and_writes_nothing(make, tmp_path):
    code, out, _ = make(*HAWKES, "--rate", 50)
    assert code == 0
    assert "requests in 30 s, seed 7" in out
    assert "give --out FILE" in out
    assert list(tmp_path.iterdir()) == []
    assert make(*HAWKES, "--rate", 50, "--quiet") == (0, "", "")


def test_a_matched_load_is_exact_and_the_factor_is_told(make):
    code, out, _ = make(*HAWKES, "--rate", 50, "--match-load", "--out", "h.json")
    assert code == 0
    assert "1,500 requests" in out
    assert "+0.00%" in out
    assert "matched: all times multiplied by " in out
    assert len(load("h.json").trace) == 1500


def test_json_is_one_object_with_what_was_asked_and_what_came(make):
    code, out, err = make(*HAWKES, "--rate", 50, "--match-load", "--json", "--out", "h.json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["process"] == {"process": "hawkes", "branching": 0.8, "decay_s": 0.05}
    assert (said["requests"], said["seed"], said["out"]) == (1500, 7, "h.json")
    assert said["gap_cv"] == pytest.approx(Hawkes(0.8, 0.05).gap_cv(50.0))
    assert said["match_factor"] == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize("param", ["alpha=1.5", "alpha=1.5e0"])
def test_a_cv_that_no_number_can_say_is_null(make, param):
    said = json.loads(make("pareto", "--param", param, "--rate", 50, "--json")[1])
    assert said["gap_cv"] is None
    parts = ("superposition", "--param", f"parts={PARTS}", "--rate", 50)
    assert json.loads(make(*parts, "--json")[1])["gap_cv"] is None
    assert "the process has no formula" in make(*parts)[1]


def test_a_description_is_the_file_that_bench_takes(make):
    options = ("--rate", 50, "--seed", 3, "--match-load", "--describe")
    code, out, _ = make(*HAWKES, *options)
    assert code == 0
    make(*HAWKES, *options, "--out", "h.json")
    spec = load("h.json")
    assert spec == DescribedTrace(
        process=Hawkes(0.8, 0.05), rate_rps=50.0, duration_s=30.0, seed=3, match_load=True, name="h"
    )
    assert json.loads(out) == json.loads(Path("h.json").read_text())


def test_a_description_may_leave_the_rate_to_the_model_it_meets(make):
    make("poisson", "--utilization", 0.6, "--describe", "--out", "p.json")
    spec = load("p.json")
    assert (spec.process, spec.utilization, spec.rate_rps) == (Poisson(), 0.6, None)


def test_rows_and_parts_are_parameters_like_any_other(make):
    steps = ("piecewise", "--param", "lengths_s=1,.5", "--param", "levels=[3, 1]")
    said = json.loads(make(*steps, "--rate", 50, "--json")[1])["process"]
    assert said == {"process": "piecewise", "lengths_s": [1.0, 0.5], "levels": [3.0, 1.0]}
    said = json.loads(make("superposition", "--param", f"parts={PARTS}", "--rate", 5, "--json")[1])
    assert [part["process"] for part in said["process"]["parts"]] == ["poisson", "gamma"]


def test_a_described_trace_is_drawn_with_what_the_command_line_replaces(make):
    said = json.loads(make("bursty", "--param", "calm_s=0.4", "--rate", 50, "--json")[1])
    assert said["process"] == {"process": "mmpp", "burst_factor": 2.5, "burst_s": 0.1,
                               "calm_s": 0.4}  # fmt: skip
    assert (said["name"], said["seed"], said["rate_rps"]) == ("bursty", 7, 50.0)
    described = json.loads(make("bursty.json", "--describe")[1])
    assert described["utilization"] == 0.7


def test_a_profile_that_ends_in_the_middle_says_what_it_has_until_then(make):
    ramp = ("ramp", "--param", "start_factor=0", "--param", "over_s=20", "--rate", 100)
    code, out, _ = make(*ramp, "--duration", 10)
    assert code == 0
    assert "10 s are no whole periods of the profile: it has 50 req/s there, 100 over" in out
    assert "no whole periods" not in make(*ramp, "--duration", 40)[1]


def test_the_list_names_every_process_and_says_what_each_parameter_is(make):
    code, out, _ = make("--list")
    assert code == 0
    listed = json.loads(make("--list", "--json")[1])
    assert listed.keys() == PROCESSES.keys()
    for kind, said in listed.items():
        assert kind in out
        assert said["about"].endswith(".")
        assert list(said["parameters"]) == [field.name for field in fields(PROCESSES[kind])]
        assert all(meaning.endswith(".") for meaning in said["parameters"].values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a process must be named (see --list), but got none"),
        (["hakes", "--rate", "5"], "process must be one of poisson, gamma, weibull, pareto"),
        (["none.json", "--rate", "5"], "none.json does not exist"),
        (["listed.json", "--rate", "5"], "listed.json must describe a process to be drawn, but"),
        (["gamma", "--rate", "5"], "cv is required"),
        (["gamma", "--rate", "5", "--param", "cv=x"], 'cv must be a valid number, but got "x"'),
        (["gamma", "--rate", "5", "--param", "cv=0"], "cv must be between 0.01 and 100, but got 0"),
        (["gamma", "--rate", "5", "--param", "cv=NaN"], "cv must be between 0.01 and 100, but"),
        (["gamma", "--rate", "5", "--param", "cv"], "param must be NAME=VALUE, but got 'cv'"),
        (["gamma", "--rate", "5", "--param", "=2"], "param must be NAME=VALUE, but got '=2'"),
        (
            ["gamma", "--rate", "5", "--param", "cv=2", "--param", "cv=3"],
            "param must name each parameter once, but got 'cv' twice",
        ),
        (
            [*HAWKES, "--param", "cv=2", "--rate", "5"],
            'hawkes must have parameters among branching, decay_s, but got "cv"',
        ),
        (["poisson", "--param", "rate_rps=2"], 'poisson must have no parameters, but got "rate_'),
        (["poisson", "--param", "process=1"], 'poisson must have no parameters, but got "process"'),
        (["poisson"], "a load must be given as --rate"),
        (["bursty"], "a draw must have a --rate, but got a utilization"),
        (["poisson", "--rate", "5", "--utilization", "1"], "exactly one of rate_rps and utiliz"),
        (["poisson", "--rate", "-5"], "rate_rps must be > 0 and finite, but got -5"),
        (["poisson", "--rate", "5", "--duration", "0"], "duration_s must be > 0 and finite, but"),
        (["poisson", "--rate", "5", "--seed", "-1"], "seed must be >= 0, but got -1"),
        (["poisson", "--rate", "1e9"], "must stay at 50,000,000 arrivals or fewer"),
        (["poisson", "--rate", "5", "--out", "no/p.json"], "no/p.json cannot be written"),
        (["poisson", "--rate", "5", "--describe", "--out", "no/p.json"], "no/p.json cannot be wri"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(make, tmp_path, arguments, message):
    listed = tmp_path / "listed.json"
    listed.write_text('{"arrival_s": [1, 2]}')
    code, out, err = make(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("dynbatch: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [listed]


def test_bench_matches_the_load_too_and_keeps_the_factor(make, tmp_path):
    run = ("--model", "affine:0.1,0.01", "--trace", "poisson.json", "--rate", 200, "--duration", 1)
    code, _, _ = make(*run, "--match-load", "--out", "run", "--quiet", command=["bench"])
    assert code == 0
    trace = json.loads((tmp_path / "run" / "run.json").read_text())["trace"]
    assert trace["requests"] == 200
    assert trace["match_factor"] == pytest.approx(1.0, abs=0.4)


def test_constant_arrivals_come_out_as_they_were_put_in(make):
    make("constant", "--rate", 4, "--duration", 1, "--out", "c.json")
    expected = Constant().arrivals(4.0, 1.0, np.random.default_rng(0))
    assert load("c.json").trace.arrival_s.tolist() == expected.tolist() == [0.0, 0.25, 0.5, 0.75]
