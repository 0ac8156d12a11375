import json
import math

import numpy as np
import pytest

from workloads import (
    Constant,
    DescribedTrace,
    Hawkes,
    ListedTrace,
    Mmpp,
    OnOff,
    Piecewise,
    Poisson,
    Ramp,
    Trace,
    TraceError,
    WorkloadError,
    load,
    resolve,
    resolve_draws,
    save,
    windows_note,
)


def described(process=None, **fields):
    fields = {"duration_s": 10.0, "seed": 7} | fields
    if "utilization" not in fields:
        fields.setdefault("rate_rps", 100.0)
    return DescribedTrace(process=process or Poisson(), **fields)


def listed(*arrival_s, duration_s=None, **fields):
    fields = {"name": "recording", "source": {"kind": "recording", "path": None}} | fields
    duration_s = float(arrival_s[-1]) if duration_s is None else duration_s
    return ListedTrace(Trace(arrival_s, duration_s, **fields))


class Peak:
    """A measurement of the peak rate that counts how often it is taken."""

    def __init__(self, rps=200.0):
        self.rps = rps
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.rps


def test_without_options_a_described_trace_plays_as_its_file_says():
    spec = described()
    resolved = resolve(spec)
    assert resolved.trace.fingerprint() == spec.draw(100.0, 10.0, 7).fingerprint()
    assert (resolved.window_s, resolved.tail_s, resolved.trace.duration_s) == (10.0, 0.0, 10.0)
    assert (resolved.rate_rps, resolved.offered_rps) == (100.0, 100.0)
    assert (resolved.utilization, resolved.peak_rps) == (None, None)
    assert (resolved.seed, resolved.time_scale) == (7, 1.0)


def test_without_options_a_listed_trace_plays_as_it_is():
    spec = listed(0, 1, 4, duration_s=6.0, input_tokens=[1, 2, 3])
    resolved = resolve(spec, seed=3)
    assert resolved.trace.arrival_s.tolist() == [0.0, 1.0, 4.0]
    assert resolved.trace.input_tokens.tolist() == [1, 2, 3]
    assert (resolved.window_s, resolved.rate_rps, resolved.seed) == (6.0, 0.5, None)


def test_the_last_arrival_of_a_whole_recording_counts():
    # Its span ends with its last arrival, and a window is half-open.
    resolved = resolve(listed(0, 1, 2))
    assert resolved.requests == 3
    assert resolved.window_s == pytest.approx(2.0)
    assert resolve(listed(0, 1, 2), duration_s=2.0).requests == 3


@pytest.mark.parametrize(
    ("file", "options", "rate_rps", "utilization", "calls"),
    [
        # the file's rate, and nothing measured
        ({"rate_rps": 100.0}, {}, 100.0, None, 0),
        # the file's share of the peak
        ({"utilization": 0.7}, {}, 140.0, 0.7, 1),
        # the caller's rate goes before either
        ({"rate_rps": 100.0}, {"rate_rps": 30.0}, 30.0, None, 0),
        ({"utilization": 0.7}, {"rate_rps": 30.0}, 30.0, None, 0),
        # and so does the caller's share
        ({"rate_rps": 100.0}, {"utilization": 0.5}, 100.0, 0.5, 1),
        ({"utilization": 0.7}, {"utilization": 1.5}, 300.0, 1.5, 1),
    ],
)
def test_the_callers_load_goes_before_the_files(file, options, rate_rps, utilization, calls):
    peak = Peak()
    resolved = resolve(described(**file), peak_rps=peak, **options)
    assert resolved.rate_rps == pytest.approx(rate_rps)
    assert resolved.utilization == utilization
    assert resolved.peak_rps == (200.0 if calls else None)
    assert peak.calls == calls
    assert resolved.trace.rate_rps == pytest.approx(rate_rps, rel=0.2)


def test_a_listed_trace_takes_a_load_by_stretching_its_time():
    spec = listed(0, 1, 4, duration_s=6.0)
    assert resolve(spec, rate_rps=5.0).trace.arrival_s.tolist() == pytest.approx([0, 0.1, 0.4])
    half = resolve(spec, utilization=0.5, peak_rps=lambda: 10.0)
    assert (half.rate_rps, half.window_s) == (5.0, pytest.approx(0.6))


def test_a_load_changes_how_many_requests_a_burst_holds_and_not_when_it_comes():
    spec = described(OnOff(0.1, 0.3))
    light, heavy = (resolve(spec, rate_rps=r).trace.arrival_s for r in (2000.0, 8000.0))
    edges_s = np.arange(0, 10.01, 0.05)
    profiles = [np.histogram(arrival_s, edges_s)[0] for arrival_s in (light, heavy)]
    assert np.corrcoef(profiles)[0, 1] > 0.98


def test_time_scale_stretches_bursts_and_lowers_the_rate_and_keeps_the_window():
    spec = described(Constant())
    resolved = resolve(spec, time_scale=4.0, tail_s=2.0)
    assert (resolved.rate_rps, resolved.offered_rps, resolved.time_scale) == (100.0, 25.0, 4.0)
    assert (resolved.window_s, resolved.trace.duration_s) == (10.0, 12.0)
    assert resolved.requests == 250
    assert len(resolved.trace) == 300

    bursts = described(OnOff(0.1, 0.3))
    gaps_s = np.diff(resolve(bursts, rate_rps=4000.0, time_scale=10.0).trace.arrival_s)
    assert gaps_s.max() == pytest.approx(3.0, abs=0.1)


def test_time_scale_stretches_a_recording_after_its_load():
    resolved = resolve(listed(0, 1, 4, duration_s=6.0), rate_rps=1.0, time_scale=2.0)
    assert resolved.trace.arrival_s.tolist() == pytest.approx([0.0, 1.0, 4.0])
    assert (resolved.rate_rps, resolved.offered_rps) == (1.0, 0.5)
    assert resolved.window_s == pytest.approx(6.0)


def test_the_tail_follows_the_window_and_never_changes_it():
    for process in (Poisson(), Mmpp(2.5, 0.1, 0.3), OnOff(0.1, 0.3)):
        plain = resolve(described(process))
        tailed = resolve(described(process), tail_s=5.0)
        assert np.array_equal(tailed.trace.arrival_s[: plain.requests], plain.trace.arrival_s)
        assert tailed.requests == plain.requests
        assert len(tailed.trace) > tailed.requests
        assert (tailed.tail_s, tailed.trace.duration_s) == (5.0, 15.0)


@pytest.mark.parametrize(
    ("duration_s", "tail_s", "arrivals", "requests", "tail_got_s"),
    [
        # a window and a tail well inside the recording
        (2.0, 1.0, 3, 2, 1.0),
        # a tail that reaches past its end gets what there is, the last arrival included
        (2.0, 9.0, 5, 2, 2.0),
        (2.0, 2.0, 5, 2, 2.0),
        # all of it is the window
        (4.0, 9.0, 5, 5, 0.0),
        (None, 9.0, 5, 5, 0.0),
    ],
)
def test_a_recording_has_the_tail_that_is_left(duration_s, tail_s, arrivals, requests, tail_got_s):
    resolved = resolve(listed(0, 1, 2, 3, 4), duration_s=duration_s, tail_s=tail_s)
    assert (len(resolved.trace), resolved.requests) == (arrivals, requests)
    assert resolved.tail_s == tail_got_s


def test_a_recording_shorter_than_the_run_is_refused_with_what_would_work():
    spec = listed(*range(60), duration_s=60.0, name="lunch")
    with pytest.raises(TraceError) as caught:
        resolve(spec, rate_rps=2.0, duration_s=100.0)
    assert str(caught.value) == (
        "lunch must last 100 s, but its 60 requests last 30 s at 2 req/s: "
        "give a lower --rate (at most 0.6), a shorter --duration (at most 30) or --loop to play it "
        "again from its start, or fit a process, which can be drawn at any length "
        "(dynbatch trace fit)"
    )
    assert resolve(spec, rate_rps=0.6, duration_s=100.0).requests == 60
    assert resolve(spec, rate_rps=2.0, duration_s=30.0).requests == 60


def test_where_a_lower_rate_would_not_make_it_last_longer_none_is_advised():
    spec = listed(*range(60), duration_s=60.0, name="lunch")
    with pytest.raises(TraceError) as caught:
        resolve(spec, rate_rps=2.0, duration_s=100.0, rate_by="superpose")
    assert "last 60 s at 2 req/s: give a shorter --duration (at most 60)" in str(caught.value)


def test_a_loop_plays_a_short_recording_again_from_where_it_ends():
    spec = listed(0.5, 1, 3, duration_s=4.0, input_tokens=[1, 2, 3])
    resolved = resolve(spec, duration_s=6.0, tail_s=3.0, loop=True)
    assert resolved.trace.arrival_s.tolist() == [0.5, 1, 3, 4.5, 5, 7, 8.5]
    assert resolved.trace.input_tokens.tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert (resolved.window_s, resolved.tail_s, resolved.trace.duration_s) == (6.0, 3.0, 9.0)
    assert (resolved.requests, resolved.loops, resolved.pass_s) == (5, 2, 4.0)


def test_a_loop_comes_after_load_and_time_scale():
    spec = listed(0.5, 1, 3, duration_s=4.0)
    resolved = resolve(spec, rate_rps=1.5, time_scale=4.0, duration_s=10.0, tail_s=20.0, loop=True)
    # 0.75 req/s to 1.5 halves all times, the time scale makes them 4 x as long: a pass of 8 s.
    one_pass = np.array([1.0, 2.0, 6.0])
    assert resolved.trace.arrival_s == pytest.approx(
        np.concatenate([one_pass, one_pass + 8, one_pass + 16, one_pass + 24])[:-1]
    )
    assert (resolved.offered_rps, resolved.loops, resolved.pass_s) == (0.375, 2, 8.0)
    assert (resolved.requests, resolved.tail_s) == (4, 20.0)


@pytest.mark.parametrize(
    ("duration_s", "loops", "pass_s", "requests"),
    [
        # what fits is played once, and repeats nothing
        (None, 1, None, 3),
        (4.0, 1, None, 3),
        (2.0, 1, None, 2),
        # whole passes, and one that is cut; 1e-12 is rounding
        (8.0, 2, 4.0, 6),
        (8.0 + 1e-12, 2, 4.0, 6),
        (8.9, 3, 4.0, 7),
        (40.0, 10, 4.0, 30),
    ],
)
def test_a_loop_is_as_many_passes_as_the_window_needs(duration_s, loops, pass_s, requests):
    spec = listed(0.5, 1, 3, duration_s=4.0)
    resolved = resolve(spec, duration_s=duration_s, loop=True)
    assert (resolved.loops, resolved.pass_s, resolved.requests) == (loops, pass_s, requests)
    said = resolved.describe()
    assert (said["loops"], said["pass_s"]) == (loops, pass_s)


def test_under_a_loop_the_tail_goes_on_into_the_next_pass():
    spec = listed(0.5, 1, 3, duration_s=4.0)
    resolved = resolve(spec, duration_s=3.5, tail_s=2.0, loop=True)
    assert resolved.trace.arrival_s.tolist() == [0.5, 1, 3, 4.5, 5]
    assert (resolved.tail_s, resolved.loops, resolved.pass_s) == (2.0, 1, None)


def test_a_loop_changes_nothing_for_a_described_trace():
    assert resolve(described(), loop=True).describe() == resolve(described()).describe()


@pytest.mark.parametrize(
    ("rate_rps", "rate_by", "method", "seed"),
    [
        (None, None, "time", None),
        (0.5, "time", "time", None),
        (0.5, "auto", "thin", 5),
        (0.5, "thin", "thin", 5),
        (3.0, "auto", "superpose", 5),
    ],
)
def test_a_listed_trace_gets_its_rate_as_asked_and_says_how(rate_rps, rate_by, method, seed):
    spec = listed(*np.arange(0, 1000), duration_s=1000.0)
    resolved = resolve(spec, rate_rps=rate_rps, rate_by=rate_by, seed=5)
    said = resolved.describe()
    assert (said["rate_by"], said["seed"]) == (method, seed)
    assert said["rate_rps"] == (rate_rps or 1.0)
    # five standard deviations of the 1000 requests that may be left out
    assert said["window_rate_rps"] == pytest.approx(rate_rps or 1.0, abs=5 * math.sqrt(0.25 / 1000))
    assert (resolved.window_s > 999.0) is (method != "time" or rate_rps in (None, 0.5))


def test_a_thinned_recording_is_looped_as_it_was_thinned():
    spec = listed(*np.arange(0.5, 100), duration_s=100.0)
    resolved = resolve(spec, rate_rps=0.5, rate_by="thin", duration_s=200.0, loop=True)
    arrival_s = resolved.trace.arrival_s
    first = arrival_s[arrival_s < 100.0]
    assert arrival_s == pytest.approx(np.concatenate([first, first + 100.0]))


def test_how_to_get_to_a_rate_is_no_question_for_a_described_trace():
    with pytest.raises(TraceError, match="rate_by must be for a trace that lists its arrivals"):
        resolve(described(utilization=0.5), rate_by="time", peak_rps=Peak())


@pytest.mark.parametrize("rate_rps", [1 / 3, 0.7, 123.456, 98765.4321])
@pytest.mark.parametrize("time_scale", [1.0, 0.3, 7.0])
def test_following_the_advice_on_a_short_recording_works(rate_rps, time_scale):
    spec = listed(0.1, 0.7, 3.3, 7.7)
    with pytest.raises(TraceError) as caught:
        resolve(spec, rate_rps=rate_rps, time_scale=time_scale, duration_s=1234.5)
    lower, shorter = (
        float(part.split(")")[0]) for part in str(caught.value).split("(at most ")[1:]
    )
    assert resolve(spec, rate_rps=lower, time_scale=time_scale, duration_s=1234.5).requests >= 1
    assert resolve(spec, rate_rps=rate_rps, time_scale=time_scale, duration_s=shorter).requests


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_rps": 5.0, "utilization": 0.5}, "one of --rate and --utilization must be given"),
        ({"rate_rps": 0.0}, "rate_rps must be > 0"),
        ({"utilization": math.nan, "peak_rps": Peak()}, "utilization must be > 0"),
        ({"utilization": 0.5}, "utilization 0.5 must come with the highest rate"),
        ({"utilization": 0.5, "peak_rps": Peak(0.0)}, "peak_rps must be > 0"),
        ({"time_scale": 0.0}, "time_scale must be > 0"),
        ({"duration_s": -1.0}, "duration_s must be > 0"),
        ({"tail_s": -1.0}, "tail_s must be >= 0"),
        ({"seed": -1}, "seed must be >= 0"),
        ({"rate_by": "stretch"}, "rate_by must be one of time, thin, superpose, auto"),
    ],
)
@pytest.mark.parametrize("spec", [described(), listed(0, 1)], ids=["described", "listed"])
def test_an_option_out_of_range_is_refused(spec, options, message):
    with pytest.raises(WorkloadError, match=message):
        resolve(spec, **options)


def test_nothing_is_measured_for_options_that_are_refused():
    peak = Peak()
    for spec, options in [
        (described(utilization=0.5), {"seed": -1}),
        (described(utilization=0.5), {"time_scale": -1.0}),
        (listed(0, 0), {"utilization": 0.5}),
    ]:
        with pytest.raises(WorkloadError):
            resolve(spec, peak_rps=peak, **options)
    assert peak.calls == 0


def test_a_window_without_arrivals_is_refused():
    with pytest.raises(TraceError, match=r"got none in 0\.001 s at 1 req/s: give a higher --rate"):
        resolve(described(), rate_rps=1.0, duration_s=0.001, tail_s=100.0)
    with pytest.raises(TraceError, match="recording must have arrivals in its window"):
        resolve(listed(5, 6), duration_s=1.0)


def test_a_recording_that_spans_no_time_is_refused():
    with pytest.raises(TraceError, match="must span some time to have a rate"):
        resolve(listed(0, 0, 0))
    assert resolve(listed(0, 0, 0, duration_s=3.0)).rate_rps == 1.0


def test_a_seed_of_the_callers_gives_another_draw_of_the_same_workload():
    first, second = resolve(described()), resolve(described(), seed=8)
    assert second.seed == 8
    assert first.trace.fingerprint() != second.trace.fingerprint()


def test_describe_identifies_a_draw_in_plain_json():
    spec = described(Mmpp(2.5, 0.1, 0.3), utilization=0.7, name="peak hour")
    resolved = resolve(spec, tail_s=1.0, peak_rps=Peak(), time_scale=2.0)
    said = resolved.describe()
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    window = resolved.trace.window(0.0, 10.0)
    assert said == {
        "name": "peak hour",
        "kind": "process",
        "path": None,
        "format": None,
        "notes": [],
        "process": {"process": "mmpp", "burst_factor": 2.5, "burst_s": 0.1, "calm_s": 0.3},
        "seed": 7,
        "sha256": resolved.trace.fingerprint(),
        "requests": len(window),
        "tail_requests": len(resolved.trace) - len(window),
        "rate_rps": pytest.approx(140.0),
        "offered_rps": pytest.approx(70.0),
        "window_rate_rps": pytest.approx(window.rate_rps),
        "window_cv": pytest.approx(window.cv),
        "window_s": 10.0,
        "tail_s": 1.0,
        "time_scale": 2.0,
        "match_factor": None,
        "utilization": 0.7,
        "peak_rps": 200.0,
        "rate_by": None,
        "loops": 1,
        "pass_s": None,
        "operations": [{"operation": "scale_time", "factor": 2.0}],
    }


@pytest.mark.parametrize("process", [Poisson(), Constant(), Hawkes(0.9, 0.1), OnOff(0.1, 2.0)])
@pytest.mark.parametrize("time_scale", [1.0, 0.3, 7.0])
def test_a_matched_load_has_exactly_the_requests_asked_for_in_its_window(process, time_scale):
    for seed in range(20):
        options = {"time_scale": time_scale, "seed": seed, "rate_rps": 33.3, "match_load": True}
        resolved = resolve(described(process), tail_s=2.0, **options)
        assert resolved.requests == round(33.3 * 10 / time_scale)
        assert resolved.describe()["window_rate_rps"] == pytest.approx(
            resolved.offered_rps, rel=0.5 / resolved.requests
        )
        # and the first request after them comes as the window ends
        assert resolved.trace.arrival_s[resolved.requests] == pytest.approx(10.0)
        assert resolved.trace.duration_s == 12.0


def test_matching_multiplies_all_times_by_one_factor_and_says_which():
    plain = described(Mmpp(2.5, 0.1, 0.3), duration_s=20.0).draw(100.0, 20.0, 7)
    resolved = resolve(described(Mmpp(2.5, 0.1, 0.3), match_load=True))
    factor = resolved.describe()["match_factor"]
    count = min(len(plain), len(resolved.trace))
    assert factor == pytest.approx(10.0 / plain.arrival_s[1000])
    assert resolved.trace.arrival_s[:count] == pytest.approx(plain.arrival_s[:count] * factor)


def test_matching_leaves_constant_arrivals_where_they_were():
    plain, matched = (resolve(described(Constant(), match_load=on)) for on in (False, True))
    assert matched.trace.arrival_s == pytest.approx(plain.trace.arrival_s, rel=1e-12)
    assert matched.describe()["match_factor"] == pytest.approx(1.0)


def test_the_tail_of_a_matched_load_never_changes_its_window():
    for process in (Poisson(), Mmpp(2.5, 0.1, 0.3), Hawkes(0.9, 0.1), Ramp(0.0, 10.0)):
        spec = described(process, match_load=True)
        plain, *tailed = (resolve(spec, tail_s=tail_s) for tail_s in (0.0, 0.5, 30.0))
        for longer in tailed:
            assert np.array_equal(longer.trace.arrival_s[: plain.requests], plain.trace.arrival_s)
            assert longer.trace.arrival_s[-1] > 10.0


def test_the_caller_may_ask_to_match_what_the_file_does_not_and_the_other_way_round():
    assert resolve(described(), match_load=True).requests == 1000
    assert resolve(described(match_load=True)).requests == 1000
    assert (
        resolve(described(match_load=True), match_load=False).requests
        == resolve(described()).requests
    )


def test_a_load_that_cannot_be_matched_is_refused():
    with pytest.raises(TraceError, match="rate x duration rounds to 0: give a higher --rate"):
        resolve(described(), rate_rps=0.01, match_load=True)
    # a burst that is over long before the window, and the next long after it
    rare = described(OnOff(0.01, 10_000.0))
    message = "within a factor of 10 of that time, but this draw has 0 in 100 s: give a longer"
    with pytest.raises(TraceError, match=message):
        resolve(rare, match_load=True)
    with pytest.raises(TraceError, match="--match-load must go with a described trace, but rec"):
        resolve(listed(0, 1, 2), match_load=True)
    assert resolve(listed(0, 1, 2), match_load=False).requests == 3


def test_a_draw_too_dense_to_be_matched_is_refused():
    spec = described(Piecewise((1.0, 999.0), (999.0, 1.0)), match_load=True)
    with pytest.raises(TraceError, match=r"this draw has that many in 0\.01\d+ s: give a longer"):
        resolve(spec, duration_s=5.0)


def test_describe_says_null_for_a_cv_that_two_requests_do_not_have():
    said = resolve(listed(0, 1)).describe()
    assert (said["window_cv"], said["process"], said["kind"]) == (None, None, "recording")


def test_a_drawn_trace_that_was_saved_plays_again_as_it_was(tmp_path):
    drawn = resolve(load("bursty"), rate_rps=200.0)
    save(drawn.trace, tmp_path / "drawn.json")
    again = resolve(load(tmp_path / "drawn.json"))
    assert again.trace.fingerprint() == drawn.trace.fingerprint()
    assert (again.window_s, again.requests) == (drawn.window_s, drawn.requests)
    assert isinstance(again.trace, Trace)


def two_halves(slow_rps=5.0, fast_rps=15.0, half_s=100.0):
    """A recording whose first half is slow."""
    slow = np.arange(0.0, half_s, 1 / slow_rps)
    fast = np.arange(half_s, 2 * half_s, 1 / fast_rps)
    return listed(*slow, *fast, duration_s=2 * half_s)


def notes(resolved):
    return resolved.describe()["notes"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        # the window, the rate there, and that of the whole
        ({"duration_s": 40.0}, ["40 s of the recording, from its start, with 5 req/s; all of it "
                                "has 10 req/s"]),
        ({"duration_s": 4.0, "rate_rps": 100.0}, ["4 s of the recording, from its start, with 50 "
                                                  "req/s; all of it has 100 req/s"]),
        ({"duration_s": 20.0, "time_scale": 0.5}, ["20 s of the recording, from its start, with 10 "
                                                   "req/s; all of it has 20 req/s"]),
        # all of it, as good as all of it, or so short that chance may have done it
        ({}, []),
        ({"duration_s": 195.0}, []),
        ({"duration_s": 1.0}, []),
        ({"rate_rps": 100.0}, []),
        ({"duration_s": 400.0, "loop": True}, []),
    ],
)  # fmt: skip
def test_a_part_of_a_recording_whose_rate_is_another_is_noted(options, said):
    found = notes(resolve(two_halves(), **options))
    assert found == [f"the window is {text}" for text in said]


def test_the_realised_load_of_a_drawn_trace_is_no_part_of_anything():
    assert notes(resolve(described(OnOff(0.1, 0.9)), duration_s=5.0)) == []


def test_parts_of_a_recording_that_are_drawn_are_noted_together():
    parts = resolve_draws(two_halves(), 4, duration_s=40.0, seed=1)
    (note,) = windows_note(parts)
    rates = [part.requests / 40.0 for part in parts]
    assert note == (
        f"the 4 draws of 40 s are parts of the recording with {min(rates):.3g} req/s to "
        f"{max(rates):.3g} req/s, {sum(rates) / 4:.3g} req/s on average; all of it has 10 req/s: a "
        "longer --duration is more like it"
    )
    (blocks,) = windows_note(resolve_draws(two_halves(), 3, duration_s=100.0, seed=2))
    assert "are put together from blocks of the recording, with " in blocks
    assert "--duration" not in blocks


def test_a_part_that_does_not_begin_at_the_start_says_where_it_does():
    parts = resolve_draws(two_halves(), 4, duration_s=40.0, seed=1)
    for part in parts:
        start_s = part.trace.source["operations"][-1]["start_s"]
        if part.is_unlike_whole and start_s:
            assert f"40 s of the recording, from {start_s:.6g} s on, with" in notes(part)[0]
