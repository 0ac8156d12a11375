"""Traces made of traces: what is kept, what changes, and by which law."""

import json
import math
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import (
    Mmpp,
    Trace,
    TraceError,
    concatenated,
    merged,
    rate_method,
    superposed,
    to_rate,
    without_tokens,
)
from workloads.statistics import at_span, scales


def trace(*arrival_s, duration_s=10.0, **columns):
    return Trace(np.array(arrival_s, dtype=float), duration_s, **columns)


def bursty(seed, rate_rps=200.0, duration_s=200.0):
    """Bursts of 0.5 s on average at 4 x the mean rate."""
    rng = np.random.default_rng(seed)
    return Trace(Mmpp(4.0, 0.5, 2.0).arrivals(rate_rps, duration_s, rng), duration_s)


@st.composite
def traces(draw, most=30):
    duration_s = draw(st.floats(0.1, 1e6))
    shares = draw(st.lists(st.floats(0, 1), min_size=1, max_size=most))
    arrival_s = np.sort(np.minimum(np.array(shares) * duration_s, duration_s))
    return Trace(arrival_s, duration_s, input_tokens=np.arange(len(arrival_s)))


def requests(made):
    """The requests by the token counts that stand for their identity."""
    return sorted(made.input_tokens.tolist())


class TestPieces:
    def test_a_trace_is_repeated_where_it_ends(self):
        twice = trace(0.5, 3.0, duration_s=4.0, output_tokens=[7, 8]).repeated(2)
        assert twice.arrival_s.tolist() == [0.5, 3.0, 4.5, 7.0]
        assert twice.output_tokens.tolist() == [7, 8, 7, 8]
        assert twice.duration_s == 8.0

    def test_an_arrival_at_the_very_end_meets_the_first_of_the_next_pass(self):
        assert trace(0, 1, 4, duration_s=4.0).repeated(2).arrival_s.tolist() == [0, 1, 4, 4, 5, 8]

    def test_rotating_moves_what_comes_before_the_offset_behind_the_end(self):
        turned = trace(0, 1, 4, duration_s=5.0, input_tokens=[1, 2, 3]).rotated(1.0)
        assert turned.arrival_s.tolist() == [0.0, 3.0, 4.0]
        assert turned.input_tokens.tolist() == [2, 3, 1]
        assert turned.duration_s == 5.0

    def test_a_delay_is_silence_before_the_first_arrival(self):
        late = trace(0, 1, duration_s=2.0).delayed(3.0)
        assert (late.arrival_s.tolist(), late.duration_s) == ([3.0, 4.0], 5.0)

    @settings(deadline=None)
    @given(made=traces(), share=st.floats(0, 1, exclude_max=True))
    def test_rotating_keeps_every_request_and_the_length(self, made, share):
        offset_s = min(share * made.duration_s, math.nextafter(made.duration_s, 0))
        turned = made.rotated(offset_s)
        assert requests(turned) == requests(made)
        assert turned.duration_s == made.duration_s

    @settings(deadline=None)
    @given(made=traces(), passes=st.integers(1, 5))
    def test_repeating_keeps_the_rate_and_every_request_in_every_pass(self, made, passes):
        again = made.repeated(passes)
        assert requests(again) == sorted(requests(made) * passes)
        assert again.rate_rps == pytest.approx(made.rate_rps)
        for i in range(passes):
            part = again.arrival_s[i * len(made) : (i + 1) * len(made)]
            assert part == pytest.approx(made.arrival_s + i * made.duration_s)

    @settings(deadline=None)
    @given(made=traces(), cuts=st.lists(st.floats(0, 1), max_size=5))
    def test_pieces_that_cover_the_trace_put_it_together_again(self, made, cuts):
        edges = np.unique([0.0, *cuts, 1.0]) * made.duration_s
        edges = np.unique(edges)
        whole = made.spliced(edges[:-1], edges[1:], made.duration_s, {"kind": "test"})
        assert whole.input_tokens.tolist() == made.input_tokens.tolist()
        assert whole.arrival_s == pytest.approx(made.arrival_s)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda t: t.spliced([8.0], [11.0], 3.0, {}), "between 0 and 10 s and not be "
                                                          "empty, but got 8 to 11 s"),
            (lambda t: t.spliced([1.0], [1.0], 0.0, {}), "but got 1 to 1 s"),
            (lambda t: t.repeated(0), "passes must be >= 1, but got 0"),
            (lambda t: t.repeated(10**9), "at most 50,000,000 requests, but there would be"),
            (lambda t: t.rotated(10.0), "offset_s must be >= 0 and below the trace's 10 s"),
            (lambda t: t.delayed(-1.0), "offset_s must be >= 0"),
            (lambda t: t.thinned(1.5, 0), "share must be between 0 and 1, but got 1.5"),
            (lambda t: t.thinned(0.5, -1), "seed must be >= 0, but got -1"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_made_is_refused(self, make, message):
        with pytest.raises(TraceError, match=message):
            make(trace(0.0, 1.0))


class TestSource:
    def test_says_what_was_done_first_to_last_in_plain_json(self):
        made = Trace([0.0, 1.0, 2.0], 4.0, source={"kind": "recording", "path": "a.json"})
        chained = made.scaled(2.0).thinned(0.5, 3).window(1.0, 5.0)
        assert json.loads(json.dumps(chained.source)) == {
            "kind": "recording",
            "path": "a.json",
            "operations": [
                {"operation": "scale_time", "factor": 2.0},
                {"operation": "thin", "share": 0.5, "seed": 3},
                {"operation": "window", "start_s": 1.0, "length_s": 4.0},
            ],
        }
        assert "operations" not in made.source

    def test_of_a_merged_trace_lists_its_parts(self):
        parts = [Trace([0.0], 1.0, source={"kind": k}) for k in ("recording", "process")]
        assert merged(parts).source["parts"] == [{"kind": "recording"}, {"kind": "process"}]

    def test_of_a_superposed_trace_is_one_operation(self):
        (done,) = superposed(bursty(1), 2.5, seed=4).source["operations"]
        assert done == {"operation": "superpose", "copies": 2.5, "seed": 4}


class TestMerging:
    def test_arrivals_interleave_with_their_tokens_the_first_trace_first_at_ties(self):
        left = trace(0, 2, duration_s=3.0, input_tokens=[1, 2])
        right = trace(1, 2, duration_s=5.0, input_tokens=[3, 4])
        both = merged([left, right])
        assert both.arrival_s.tolist() == [0, 1, 2, 2]
        assert both.input_tokens.tolist() == [1, 3, 2, 4]
        assert both.duration_s == 5.0

    def test_concatenated_traces_begin_where_the_one_before_them_ends(self):
        both = concatenated([trace(1, duration_s=3.0), trace(0, 2, duration_s=2.0)])
        assert both.arrival_s.tolist() == [1, 3, 5]
        assert both.duration_s == 5.0

    @settings(deadline=None)
    @given(parts=st.lists(traces(), min_size=1, max_size=4))
    @pytest.mark.parametrize("merge", [merged, concatenated])
    def test_no_request_is_lost_or_made_up(self, merge, parts):
        whole = merge(parts)
        assert requests(whole) == sorted(chain.from_iterable(map(requests, parts)))
        assert whole.arrival_s[-1] <= whole.duration_s

    def test_token_counts_that_only_some_traces_have_are_refused_and_can_be_left_out(self):
        left = trace(0, input_tokens=[1], name="left")
        right = trace(1, name="right")
        for merge in (merged, concatenated):
            with pytest.raises(TraceError) as caught:
                merge([left, right])
            assert str(caught.value) == (
                "input_tokens must be in all traces or in none, but left has them and right does "
                "not: --drop-tokens leaves them out"
            )
        assert merged([without_tokens(left), right]).input_tokens is None

    def test_nothing_cannot_be_merged(self):
        with pytest.raises(TraceError, match="at least one trace to merge"):
            merged([])


class TestRate:
    def test_by_time_is_exact_and_keeps_every_request(self):
        made = to_rate(trace(0, 1, 4, duration_s=6.0), 5.0)
        assert made.arrival_s.tolist() == pytest.approx([0.0, 0.1, 0.4])

    def test_thinning_keeps_some_requests_where_they_are(self):
        made = bursty(1)
        thin = to_rate(made, made.rate_rps / 4, "thin", seed=2)
        assert np.isin(thin.arrival_s, made.arrival_s).all()
        assert thin.duration_s == made.duration_s
        # binomial: five standard deviations
        assert len(thin) == pytest.approx(len(made) / 4, abs=5 * math.sqrt(len(made) * 3 / 16))

    def test_superposing_keeps_the_trace_and_adds_rotated_copies_of_it(self):
        made = bursty(1)
        more = to_rate(made, 2.5 * made.rate_rps, "superpose", seed=2)
        assert np.isin(made.arrival_s, more.arrival_s).all()
        assert more.duration_s == made.duration_s
        assert len(more) == pytest.approx(2.5 * len(made), abs=5 * math.sqrt(len(made) / 4))

    def test_a_whole_number_of_copies_is_exact(self):
        made = bursty(1)
        assert len(superposed(made, 3.0, 0)) == 3 * len(made)
        assert superposed(made, 1.0, 0).fingerprint() == made.fingerprint()

    @settings(deadline=None, max_examples=50)
    @given(made=traces(), copies=st.integers(1, 4), share=st.floats(0, 1), seed=st.integers(0, 9))
    def test_whatever_is_left_of_copies_are_requests_of_the_trace(self, made, copies, share, seed):
        thin = superposed(made, float(copies), seed).thinned(share, seed)
        kept, counts = np.unique(thin.input_tokens, return_counts=True)
        assert set(kept) <= set(made.input_tokens.tolist())
        assert counts.max(initial=0) <= copies

    @pytest.mark.parametrize("method", ["thin", "superpose"])
    def test_seeds_decide_what_is_random(self, method):
        made = bursty(1)
        rate_rps = made.rate_rps * {"thin": 0.5, "superpose": 1.5}[method]
        prints = [to_rate(made, rate_rps, method, seed).fingerprint() for seed in (1, 1, 2)]
        assert prints[0] == prints[1] != prints[2]

    @pytest.mark.parametrize(
        ("rate_rps", "rate_by", "method"),
        [
            (0.5, "auto", "thin"),
            (2.0, "auto", "superpose"),
            (1.0, "auto", "time"),
            (0.5, "time", "time"),
            (2.0, "time", "time"),
        ],
    )
    def test_auto_thins_to_a_lower_rate_and_superposes_to_a_higher(self, rate_rps, rate_by, method):
        made = trace(*range(10))
        assert rate_method(made, rate_rps, rate_by) == method
        if rate_rps == 1.0:
            assert to_rate(made, rate_rps, rate_by).fingerprint() == made.fingerprint()

    @pytest.mark.parametrize(
        ("rate_rps", "rate_by", "message"),
        [
            (2.0, "thin", "thinning must be to a rate below the 1 req/s of trace, but got 2"),
            (0.5, "superpose", "superposing must be to a rate above the 1 req/s of trace, but "
                               "got 0.5"),
            (2.0, "stretch", "rate_by must be one of time, thin, superpose, auto, but got"),
            (0.0, "thin", "rate_rps must be > 0"),
            (math.nan, "auto", "rate_rps must be > 0"),
            (1e9, "superpose", "at most 50,000,000 requests"),
        ],
    )  # fmt: skip
    def test_a_rate_out_of_reach_is_refused(self, rate_rps, rate_by, message):
        with pytest.raises(TraceError, match=message):
            to_rate(trace(*range(10)), rate_rps, rate_by)

    @pytest.mark.parametrize("empty", [trace(), trace(0.0, duration_s=0.0)])
    def test_a_trace_without_a_rate_gets_none(self, empty):
        with pytest.raises(TraceError, match="only a trace with requests and a duration"):
            to_rate(empty, 1.0, "auto")


def index_of(made, span_s):
    """The index of dispersion for counts at that scale."""
    return at_span(made, span_s).dispersion


def averaged(differences):
    """Mean over replicates in units of its standard error; 4 is next to impossible by chance."""
    differences = np.asarray(differences)
    return differences.mean() / (differences.std(ddof=1) / math.sqrt(len(differences)))


class TestLaws:
    """What each way to a rate does to the index of dispersion, over 20 bursty traces."""

    SCALES_S = (0.05, 0.5, 2.0)
    BURSTY = tuple(bursty(seed) for seed in range(20))

    @pytest.mark.parametrize("scale_s", SCALES_S)
    def test_thinning_shrinks_what_is_above_one_to_the_share_that_is_kept(self, scale_s):
        share = 0.3
        off = [
            (index_of(made.thinned(share, seed), scale_s) - 1)
            - share * (index_of(made, scale_s) - 1)
            for seed, made in enumerate(self.BURSTY)
        ]
        assert abs(averaged(off)) < 4

    @pytest.mark.parametrize("scale_s", SCALES_S)
    @pytest.mark.parametrize(("copies", "kept"), [(3.0, 1.0), (2.4, 2.16 / 2.4)])
    def test_superposing_keeps_what_is_above_one(self, scale_s, copies, kept):
        # Of n - 1 copies and a share q of one more: n - 1 + q^2, over n - 1 + q.
        off = [
            (index_of(superposed(made, copies, seed), scale_s) - 1)
            - kept * (index_of(made, scale_s) - 1)
            for seed, made in enumerate(self.BURSTY)
        ]
        assert abs(averaged(off)) < 4

    @pytest.mark.parametrize("scale_s", SCALES_S)
    def test_superposing_lowers_the_relative_swing_of_the_rate(self, scale_s):
        swing, original = (
            np.mean([index_of(t, scale_s) / t.rate_rps for t in each])
            for each in ([superposed(t, 4.0, i) for i, t in enumerate(self.BURSTY)], self.BURSTY)
        )
        assert swing < 0.5 * original

    @pytest.mark.parametrize("scale_s", SCALES_S)
    @pytest.mark.parametrize("factor", [0.5, 4.0])
    def test_scaling_time_moves_the_whole_curve_along_the_scales(self, scale_s, factor):
        # powers of two, so that no arrival changes its interval by rounding
        made = self.BURSTY[0]
        scaled = made.scaled(factor)
        assert index_of(scaled, factor * scale_s) == index_of(made, scale_s)


def test_the_index_at_one_span_is_that_of_all_spans_and_none_where_too_few_fit():
    made = bursty(1)
    for scale in scales(made):
        alone = at_span(made, scale.span_s)
        assert (alone.windows, alone.dispersion) == (scale.windows, pytest.approx(scale.dispersion))
    assert at_span(made, made.duration_s / 29) is None
