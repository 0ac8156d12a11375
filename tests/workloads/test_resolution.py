"""Arrivals that are known only to steps which hold several: what is said of them, and what not."""

import json

import numpy as np
import pytest

from bench.traces import describe as words
from tests.workloads.examples import lines, samples
from workloads import Reading, Trace, concatenated, fitting, load, merged, save, superposed
from workloads.errors import TraceError
from workloads.statistics import at_span, describe

# Requests at 20 a second, of which a log in whole seconds keeps the second.
RATE, SECONDS = 20, 120
EXACT_S = np.sort(np.random.default_rng(4).uniform(0, SECONDS, RATE * SECONDS))


def log(end=lambda _: ""):
    return lines(*(
        f"a - - [01/Mar/2026:09:{int(t) // 60:02d}:{int(t) % 60:02d} +0000] "
        f'"GET / HTTP/1.1" 200 12 "-" "curl"{end(t)}'
        for t in EXACT_S
    ))  # fmt: skip


def counted():
    counts = np.bincount(EXACT_S.astype(int) // 5, minlength=SECONDS // 5)
    return lines("time_s,requests", *(f"{5 * i},{n}" for i, n in enumerate(counts)))


@pytest.fixture
def coarse(read):
    return read(log()).trace


def test_of_whole_seconds_the_step_is_known_and_goes_with_the_note(read):
    spec = read(log())
    assert spec.trace.resolution_s == 1.0
    assert spec.notes[-1].endswith("so nothing is known of bursts shorter than 1 s")


def test_stamps_less_their_durations_are_no_finer_than_the_stamps(read):
    spec = read(log(lambda t: f" rt={(t % 0.7):.3f}"))
    assert len(np.unique(spec.trace.arrival_s)) > SECONDS  # they do lie apart
    assert spec.trace.resolution_s == 1.0
    assert "less their durations they lie apart, but not as they came" in spec.notes[-1]


@pytest.mark.parametrize(
    ("content", "reading", "step_s"),
    [
        (counted(), {}, 5.0),
        (samples(*((1700000000 + 15 * i, str(90 * i)) for i in range(20))), {}, 15.0),
    ],
    ids=["counts", "a counter"],
)
def test_what_was_counted_is_known_to_the_steps_of_the_counts(read, content, reading, step_s):
    assert read(content, **reading).trace.resolution_s == step_s


@pytest.mark.parametrize(
    "times",
    [
        [f"{t:.6f}" for t in EXACT_S],
        [str(60 * i) for i in range(50)],  # whole minutes, one request each
    ],
    ids=["microseconds", "a request a minute"],
)
def test_a_clock_that_tells_requests_apart_has_no_such_step(read, times):
    assert (
        read(lines("time_s,x", *(f"{t},1" for t in times)), count_column="none").trace.resolution_s
        is None
    )


def test_counts_are_described_from_the_step_on_as_those_of_the_exact_times_are(coarse):
    exact = Trace(EXACT_S, float(SECONDS))
    assert [scale.span_s for scale in describe(exact).scales][:3] == [0.01, 0.02, 0.05]
    assert [scale.span_s for scale in describe(coarse).scales] == [1.0, 2.0]
    assert at_span(coarse, 0.5) is None
    assert at_span(coarse, 1.5) is None  # holds one second or two
    whole = Trace(np.floor(EXACT_S), float(SECONDS))
    for span_s in (1.0, 2.0):
        assert at_span(coarse, span_s).mean == pytest.approx(RATE * span_s, rel=0.05)
        assert at_span(whole, span_s).dispersion == at_span(exact, span_s).dispersion


def test_gaps_that_a_coarse_clock_has_lost_are_not_described(coarse):
    said = describe(coarse)
    assert (said.gaps, said.resolution_s) == (None, 1.0)
    assert np.isnan(coarse.cv)
    rows = dict(words.rows(said))
    assert "gaps" not in rows
    assert rows["resolution"] == "times are in steps of 1.00 s: what lies within one is not known"
    assert "in 1 ms" not in rows["dispersion"]
    assert json.dumps(said.as_json())


def test_a_coarse_trace_too_short_for_any_window_says_why_nothing_is_said(read):
    few = log().split(b"\n")[:400]  # 20 s, less than 30 windows of a second
    assert words.headline(describe(read(b"\n".join(few)).trace)).endswith(
        "; too short, in steps of 1.00 s, to say how bursty"
    )


def test_rare_ties_leave_the_gaps_as_they_are(read):
    times_ms = np.sort(np.random.default_rng(1).integers(0, 60_000, 3000))  # 5 % in the same ms
    trace = read(lines("time_ms,x", *(f"{t},1" for t in times_ms))).trace
    assert trace.resolution_s == 0.001
    assert describe(trace).gaps.cv == pytest.approx(1.0, abs=0.1)
    assert min(scale.span_s for scale in describe(trace).scales) >= 0.001


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.parquet", "a.csv"])
def test_the_step_is_kept_in_a_file(coarse, tmp_path, name):
    save(coarse, tmp_path / name)
    assert load(tmp_path / name, Reading()).trace.resolution_s == 1.0


@pytest.mark.parametrize("step", [0, -1.0, float("1e999")])
def test_a_step_in_a_file_that_is_none_is_refused(refused, step):
    refused(json.dumps({"arrival_s": [0.0, 1.0], "resolution_s": step}).encode())


def test_the_step_goes_with_what_is_made_of_the_trace(coarse):
    assert coarse.scaled(0.5).resolution_s == 0.5
    assert coarse.at_rate(10 * coarse.rate_rps).resolution_s == pytest.approx(0.1)
    assert coarse.window(0.0, 60.0).resolution_s == 1.0
    assert coarse.thinned(0.5, 1).resolution_s == 1.0
    assert superposed(coarse, 2.0, 1).resolution_s == 1.0
    exact = Trace(EXACT_S, float(SECONDS))
    assert merged([exact, coarse.scaled(2.0), coarse]).resolution_s == 2.0
    assert concatenated([exact, coarse]).resolution_s == 1.0
    assert merged([exact, exact]).resolution_s is None


def test_a_process_is_fitted_to_the_counts_and_not_to_gaps_that_are_not_known(read):
    long_s = np.sort(np.random.default_rng(2).uniform(0, 600, 6000))
    trace = read(lines("time_s,x", *(f"{int(t)},1" for t in long_s)), count_column="none").trace
    found = fitting.fit(trace)
    assert found.process.kind == "poisson"
    assert {candidate.process.kind for candidate in found.candidates} == {"poisson", "mmpp"}
    with pytest.raises(TraceError, match="times in steps of 1 s, which hold several"):
        fitting.fit(trace, "gamma")
