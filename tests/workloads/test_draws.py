"""Several draws of one workload: repeatable, nested, and as independent as is claimed."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import (
    DescribedTrace,
    ListedTrace,
    Mmpp,
    Poisson,
    Trace,
    TraceError,
    WorkloadError,
    resolve,
    resolve_draws,
)
from workloads.draws import circular_blocks, default_block_s, draw_seed, draws_of
from workloads.statistics import at_span

SPEC = DescribedTrace(process=Mmpp(2.5, 0.1, 0.3), rate_rps=100.0, duration_s=10.0, seed=7)


def recording(requests=1000, span_s=100.0, seed=1):
    arrival_s = np.sort(np.random.default_rng(seed).random(requests)) * span_s
    return Trace(arrival_s, span_s, input_tokens=np.arange(requests), name="lunch")


def prints(draws):
    return [draw.trace.fingerprint() for draw in draws]


def ways(draws):
    return {draw.source["operations"][-1]["by"] for draw in draws}


@pytest.mark.parametrize(
    ("spec", "duration_s"),
    [
        pytest.param(SPEC, 5.0, id="of a process"),
        pytest.param(ListedTrace(recording()), 8.0, id="stretches of a recording"),
        pytest.param(ListedTrace(recording()), 60.0, id="a recording's bootstrap"),
    ],
)
def test_draws_from_a_number_on_are_those_of_all_that_have_that_number(spec, duration_s):
    options = {"seed": 3, "duration_s": duration_s, "tail_s": 1.0}
    every = resolve_draws(spec, 9, **options)
    some = resolve_draws(spec, 4, first=5, **options)
    assert [draw.describe() for draw in some] == [draw.describe() for draw in every[5:]]
    assert prints(some) == prints(every)[5:]


class TestDescribed:
    def test_more_draws_begin_with_the_same_ones(self):
        few, many = resolve_draws(SPEC, 3), resolve_draws(SPEC, 8)
        assert prints(many)[:3] == prints(few)
        assert len(set(prints(many))) == 8

    def test_the_seed_of_a_draw_draws_it_again(self):
        options = {"rate_rps": 50.0, "time_scale": 2.0, "tail_s": 1.0, "duration_s": 5.0}
        for draw in resolve_draws(SPEC, 3, seed=11, **options):
            again = resolve(SPEC, seed=draw.seed, **options)
            assert again.trace.fingerprint() == draw.trace.fingerprint()
            assert again.describe() == draw.describe()

    def test_every_draw_has_its_window_and_tail_at_one_load(self):
        calls = []

        def peak():
            calls.append(1)
            return 200.0

        draws = resolve_draws(SPEC, 4, utilization=0.5, peak_rps=peak, tail_s=2.0)
        assert len(calls) == 1
        assert {(d.window_s, d.tail_s, d.rate_rps, d.peak_rps) for d in draws} == {
            (10.0, 2.0, 100.0, 200.0)
        }

    def test_a_matched_load_is_matched_in_every_draw(self):
        draws = resolve_draws(SPEC, 5, match_load=True, tail_s=1.0)
        assert {d.requests for d in draws} == {1000}
        assert {d.requests for d in resolve_draws(SPEC, 5)} != {1000}

    def test_the_seed_is_the_files_where_none_is_given(self):
        assert prints(resolve_draws(SPEC, 2)) == prints(resolve_draws(SPEC, 2, seed=7))
        assert prints(resolve_draws(SPEC, 2)) != prints(resolve_draws(SPEC, 2, seed=8))

    def test_derived_seeds_differ_and_any_reader_of_json_keeps_them(self):
        seeds = [draw_seed(seed, draw) for seed in range(30) for draw in range(30)]
        assert len(set(seeds)) == 900
        assert all(0 <= seed < 2**53 for seed in seeds)
        assert json.loads(json.dumps(seeds)) == seeds


class TestDisjointWindows:
    def test_a_long_recording_gives_stretches_that_share_no_request(self):
        draws = draws_of(recording(), 9, seed=3, length_s=11.0)
        assert ways(draws) == {"disjoint windows"}
        tokens = np.concatenate([draw.input_tokens for draw in draws])
        assert len(set(tokens)) == len(tokens)
        assert {draw.duration_s for draw in draws} == {11.0}

    def test_they_say_where_they_were(self):
        whole = recording()
        for draw in draws_of(whole, 5, seed=3, length_s=11.0):
            done = draw.source["operations"][-1]
            stretch = whole.window(done["start_s"], done["start_s"] + 11.0)
            assert stretch.input_tokens.tolist() == draw.input_tokens.tolist()

    def test_as_many_as_fit_cover_the_recording(self):
        draws = draws_of(recording(), 10, seed=3, length_s=10.0)
        assert sorted(np.concatenate([d.input_tokens for d in draws])) == list(range(1000))

    def test_more_draws_begin_with_the_same_ones(self):
        few, many = (draws_of(recording(), k, seed=3, length_s=10.0) for k in (3, 10))
        assert [d.fingerprint() for d in few] == [d.fingerprint() for d in many[:3]]

    def test_tails_give_way_so_that_windows_can_be_disjoint(self):
        spec = ListedTrace(recording())
        draws = resolve_draws(spec, 4, duration_s=24.0, tail_s=2.0, seed=1)
        assert ways([d.trace for d in draws]) == {"disjoint windows"}
        assert {d.tail_s for d in draws} == {1.0}
        assert {d.trace.duration_s for d in draws} == {25.0}
        assert {d.tail_s for d in resolve_draws(spec, 3, duration_s=24.0, tail_s=2.0)} == {2.0}


class TestBootstrap:
    def test_a_short_recording_is_resampled_in_blocks(self):
        draws = draws_of(recording(), 3, seed=3, length_s=60.0)
        assert ways(draws) == {"circular block bootstrap"}
        assert draws[0].source["operations"][-1]["block_s"] == 6.0
        assert len({draw.fingerprint() for draw in draws}) == 3
        assert {draw.duration_s for draw in draws} == {60.0}

    def test_more_draws_begin_with_the_same_ones(self):
        few, many = (draws_of(recording(), k, seed=3, length_s=60.0) for k in (3, 6))
        assert [d.fingerprint() for d in few] == [d.fingerprint() for d in many[:3]]

    @settings(deadline=None)
    @given(
        span_s=st.floats(1, 1e4),
        ratio=st.floats(0.01, 5),
        block=st.floats(0.05, 1),
        seed=st.integers(0, 99),
    )
    def test_pieces_lie_in_the_recording_and_make_up_the_length(self, span_s, ratio, block, seed):
        length_s, block_s = ratio * span_s, block * span_s
        starts_s, ends_s = circular_blocks(span_s, length_s, block_s, np.random.default_rng(seed))
        assert (starts_s >= 0).all()
        assert (starts_s < ends_s).all()
        assert (ends_s <= span_s).all()
        assert (ends_s - starts_s).sum() == pytest.approx(length_s)
        # Only what is left of a block that passed the end is a piece of its own.
        assert len(starts_s) - (starts_s == 0).sum() <= math.ceil(length_s / block_s)

    def test_within_a_block_gaps_are_those_of_the_recording(self):
        whole = recording()
        (draw,) = draws_of(whole, 1, seed=3, length_s=150.0, block_s=50.0)
        jumps = np.diff(draw.input_tokens) != 1
        assert jumps.sum() <= 5  # two seams between three blocks, and each may pass the end
        gaps_s = np.diff(draw.arrival_s)[~jumps]
        assert gaps_s == pytest.approx(np.diff(whole.arrival_s)[draw.input_tokens[:-1][~jumps]])

    def test_rate_and_dispersion_of_the_recording_are_kept_on_average(self):
        rng = np.random.default_rng(2)
        whole = Trace(Mmpp(4.0, 0.1, 0.4).arrivals(200.0, 120.0, rng), 120.0)
        draws = draws_of(whole, 40, seed=1, length_s=100.0, block_s=5.0)
        assert ways(draws) == {"circular block bootstrap"}
        for value in (lambda t: t.rate_rps, lambda t: at_span(t, 0.5).dispersion):
            drawn = np.array([value(draw) for draw in draws])
            error = drawn.std(ddof=1) / math.sqrt(len(drawn))
            # seams cut what a block of ten intervals holds together by a few per cent
            assert abs(drawn.mean() - value(whole)) < 4 * error + 0.03 * value(whole)

    def test_blocks_are_a_tenth_of_the_draw_but_not_below_a_second(self):
        assert default_block_s(60.0, 100.0) == 6.0
        assert default_block_s(5.0, 100.0) == 1.0
        assert default_block_s(0.5, 100.0) == 0.5
        assert default_block_s(5.0, 0.2) == 0.2


class TestResolved:
    def test_draws_of_a_recording_are_at_the_asked_load_and_scale(self):
        draws = resolve_draws(
            ListedTrace(recording()), 4, rate_rps=20.0, time_scale=0.5, duration_s=5.0, tail_s=0.5
        )
        assert {d.offered_rps for d in draws} == {40.0}
        assert {(d.window_s, d.tail_s, d.seed, d.rate_by) for d in draws} == {(5.0, 0.5, 0, "time")}
        assert np.mean([d.describe()["window_rate_rps"] for d in draws]) == pytest.approx(
            40, rel=0.2
        )
        for draw in draws:
            assert json.loads(json.dumps(draw.describe(), allow_nan=False)) == draw.describe()

    def test_a_rate_by_superposing_is_drawn_from_too(self):
        draws = resolve_draws(
            ListedTrace(recording()), 5, rate_rps=25.0, rate_by="auto", duration_s=18.0, seed=2
        )
        assert {d.rate_by for d in draws} == {"superpose"}
        operations = [o["operation"] for o in draws[0].describe()["operations"]]
        assert operations == ["superpose", "draw"]

    def test_longer_than_the_recording_is_an_error_without_loop_and_counts_as_one_pass_with(self):
        spec = ListedTrace(recording())
        with pytest.raises(TraceError, match="lunch must last 250 s"):
            resolve_draws(spec, 2, duration_s=250.0)
        draws = resolve_draws(spec, 2, duration_s=250.0, loop=True)
        assert {(d.window_s, d.loops, d.pass_s) for d in draws} == {(250.0, 3, 100.0)}

    def test_one_draw_of_all_of_it_is_the_recording(self):
        (draw,) = resolve_draws(ListedTrace(recording()), 1)
        assert draw.trace.fingerprint() == recording().fingerprint()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"draws": 0}, "draws must be >= 1, but got 0"),
            ({"seed": -1}, "seed must be >= 0"),
            ({"block_s": 0.0, "duration_s": 90.0}, "block_s must be > 0 and at most the 100 s of "
                                                   "lunch, but got 0"),
            ({"block_s": 101.0, "duration_s": 90.0}, "but got 101"),
            ({"block_s": 1e-9, "duration_s": 90.0}, "at most 50,000,000 blocks"),
            ({"duration_s": 1e-9, "rate_rps": 10.0}, "at most 50,000,000 windows"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_drawn_is_refused(self, options, message):
        with pytest.raises(WorkloadError, match=message):
            resolve_draws(ListedTrace(recording()), **{"draws": 2, **options})

    def test_a_draw_without_arrivals_is_refused(self):
        half_silent = ListedTrace(Trace([0.0, 1.0], 100.0, name="lull"))
        with pytest.raises(TraceError, match="lull must have arrivals in its window"):
            resolve_draws(half_silent, 4, duration_s=10.0)

    def test_a_process_is_drawn_whatever_its_kind(self):
        spec = DescribedTrace(process=Poisson(), rate_rps=5.0, duration_s=10.0, seed=0)
        counts = [d.requests for d in resolve_draws(spec, 200)]
        # Poisson(50): the mean within five standard errors
        assert np.mean(counts) == pytest.approx(50, abs=5 * math.sqrt(50 / 200))
