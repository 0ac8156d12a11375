"""Verdicts: what they decide, what they say, and how often they are wrong on queues."""

import math

import numpy as np
import pytest

from results.errors import InvalidInputError
from results.run.judge import judge_run
from results.run.metrics import compute_metrics
from results.run.slo import Slo
from results.run.verdict import (
    Decision,
    judge,
    judge_all,
    judge_means,
    judge_share,
    overall,
)
from results.run.wording import rulings
from results.statistics.tail import worth_of
from tests.calibration.queues import Queue
from tests.results.made import answered, made_logs, served_logs, written_run

P99 = Slo.parse("p99<=50ms")


def independent(number, share_over, seed=0):
    """Latencies of which a share is over 50 ms and none within a factor of two below it."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(number) < share_over, 0.06, 0.01 * rng.random(number))


class TestPercentiles:
    def test_a_long_run_with_few_over_the_limit_meets_it(self):
        verdict = judge(independent(100_000, 0.002), P99, window_s=600.0)
        assert verdict.decision is Decision.MET
        assert verdict.estimate < 0.05
        assert verdict.more_requests is None

    def test_a_run_with_too_many_over_the_limit_misses_it(self):
        verdict = judge(independent(100_000, 0.02), P99, window_s=600.0)
        assert verdict.decision is Decision.MISSED
        assert verdict.low > 0.05

    def test_a_short_run_meets_a_limit_only_with_a_factor_of_two_to_spare(self):
        calm = independent(20_000, 0.0)
        assert judge(calm, P99, window_s=30.0).decision is Decision.MET
        near = Slo.parse("p99<=15ms")
        assert judge(calm, near, window_s=30.0).decision is Decision.UNDECIDED
        assert judge(calm, near, window_s=300.0).decision is Decision.MET

    def test_requests_without_an_answer_are_over_every_limit(self):
        calm = independent(20_000, 0.0)
        calm[::40] = math.inf
        verdict = judge(calm, Slo.parse("p99<=1000s"), window_s=600.0)
        assert verdict.decision is Decision.MISSED
        assert verdict.estimate is None
        assert verdict.past_limit == 500

    def test_one_burst_is_less_evidence_than_as_many_over_the_limit_one_by_one(self):
        scattered = independent(100_000, 0.02)
        burst = np.sort(scattered)
        assert judge(scattered, P99, window_s=600.0).decision is Decision.MISSED
        verdict = judge(burst, P99, window_s=600.0)
        assert verdict.decision is Decision.UNDECIDED
        assert verdict.effective_requests < 100

    def test_what_takes_just_as_long_as_a_limit_is_within_it_unless_it_is_strict(self):
        latency_s = independent(100_000, 0.0)
        latency_s[::50] = 0.05
        within = judge(latency_s, P99, window_s=600.0)
        assert (within.decision, within.past_limit) == (Decision.MET, 0)
        strict = judge(latency_s, Slo.parse("p99<50ms"), window_s=600.0)
        assert (strict.decision, strict.past_limit) == (Decision.MISSED, 2000)

    def test_a_run_of_230_s_is_long_enough_for_a_p99_and_no_shorter_one_is(self):
        calm, near = independent(20_000, 0.0), Slo.parse("p99<=15ms")
        assert judge(calm, near, window_s=229.0).decision is Decision.UNDECIDED
        assert judge(calm, near, window_s=230.0).decision is Decision.MET

    def test_of_requests_none_of_which_is_late_861_are_needed(self):
        # 0.99^N <= 1 % from N = 458.2 on; each counts for 0.5325, as dependent ones may.
        assert judge(np.full(860, 0.001), P99, window_s=600.0).decision is Decision.UNDECIDED
        assert judge(np.full(861, 0.001), P99, window_s=600.0).decision is Decision.MET

    @pytest.mark.parametrize("number", [0, 1, 19, 458])
    def test_a_handful_of_requests_decides_nothing(self, number):
        verdict = judge(np.full(number, 0.001), P99, window_s=10.0)
        assert verdict.decision is Decision.UNDECIDED

    def test_what_it_says_would_decide_does(self):
        rng = np.random.default_rng(3)
        latency_s = 0.01 * rng.random(9000)
        near = Slo.parse("p99<=15ms")
        verdict = judge(latency_s, near, window_s=90.0)
        assert verdict.decision is Decision.UNDECIDED
        longer = 0.01 * rng.random(9000 + verdict.more_requests)
        assert verdict.more_requests == pytest.approx(verdict.more_s * 100, rel=0.01)
        again = judge(longer, near, window_s=90.0 + verdict.more_s)
        assert again.decision is Decision.MET

    @pytest.mark.parametrize(
        ("number", "window_s", "more_s"),
        [
            # A run counts for two requests a second: 458.2 of them are needed.
            (20_000, 100.0, 129.1),
            (20_000, 200.0, 29.1),
            (500, 600.0, 432.6),  # 860.5 requests are needed: 1.721 times as many
        ],
    )
    def test_it_asks_for_no_longer_run_than_it_needs(self, number, window_s, more_s):
        near = Slo.parse("p99<=15ms")
        verdict = judge(np.full(number, 0.01), near, window_s=window_s)
        assert verdict.decision is Decision.UNDECIDED
        assert verdict.more_s == pytest.approx(more_s, abs=0.001 * window_s)
        assert verdict.more_requests == pytest.approx(more_s * number / window_s, rel=0.01)

    def test_a_share_at_the_limit_itself_is_not_promised_a_decision(self):
        latency_s = np.tile([0.06] + [0.03] * 99, 1000)
        assert judge(latency_s, P99, window_s=600.0).more_requests is None

    def test_bad_arguments_are_named(self):
        with pytest.raises(InvalidInputError, match="must be on latency, but got rejected<=1%"):
            judge([0.1], Slo.parse("rejected<=1%"), window_s=1.0)
        with pytest.raises(InvalidInputError, match="has NaN"):
            judge([math.nan], P99, window_s=1.0)
        with pytest.raises(InvalidInputError, match="window_s must be > 0, but got 0"):
            judge([0.1], P99, window_s=0.0)
        for confidence in (0.5, 1.0):
            with pytest.raises(InvalidInputError, match=r"confidence must be between 0\.5 and 1"):
                judge([0.1], P99, window_s=1.0, confidence=confidence)


class TestOtherMetrics:
    def test_a_mean_is_judged_by_the_spread_of_its_batches(self):
        rng = np.random.default_rng(5)
        latency_s = rng.exponential(0.01, 60_000)
        for text, decision in (
            ("mean<=10.5ms", Decision.MET),
            ("mean<=10ms", Decision.UNDECIDED),
            ("mean<=9.5ms", Decision.MISSED),
        ):
            assert judge(latency_s, Slo.parse(text), window_s=600.0).decision is decision
        short = judge(latency_s, Slo.parse("mean<=10.5ms"), window_s=60.0)
        assert short.decision is Decision.UNDECIDED
        assert judge(latency_s, Slo.parse("mean<=25ms"), window_s=60.0).decision is Decision.MET

    def test_a_mean_near_its_limit_is_believed_of_a_run_of_460_s_and_of_none_shorter(self):
        latency_s = np.random.default_rng(5).exponential(0.01, 60_000)
        slo = Slo.parse("mean<=10.5ms")
        assert judge(latency_s, slo, window_s=459.0).decision is Decision.UNDECIDED
        assert judge(latency_s, slo, window_s=460.0).decision is Decision.MET

    def test_one_request_without_an_answer_makes_the_mean_infinite(self):
        latency_s = np.append(np.full(1000, 0.01), math.inf)
        verdict = judge(latency_s, Slo.parse("mean<=1s"), window_s=600.0)
        assert verdict.decision is Decision.MISSED
        assert verdict.estimate is None

    def test_a_throughput_must_be_above_its_limit(self):
        rates = np.random.default_rng(6).normal(1000.0, 10.0, 20)
        for text, decision in (
            ("throughput>=980", Decision.MET),
            ("throughput>=1000", Decision.UNDECIDED),
            ("throughput>=1020", Decision.MISSED),
        ):
            assert judge_means(rates, Slo.parse(text), window_s=10.0).decision is decision

    def test_a_share_of_endings_is_judged_from_either_side(self):
        latency_s = np.random.default_rng(7).exponential(0.01, 60_000)
        rejected = np.random.default_rng(8).random(60_000) < 0.002

        def decision(occurred, text):
            return judge_share(occurred, latency_s, Slo.parse(text), window_s=600.0).decision

        assert decision(rejected, "rejected<=1%") is Decision.MET
        assert decision(rejected, "rejected<=0.1%") is Decision.MISSED
        assert decision(~rejected, "ok>=99%") is Decision.MET
        assert decision(~rejected, "ok>=99.9%") is Decision.MISSED

    def test_the_interval_of_a_share_is_that_of_so_many_independent_requests(self):
        from scipy.stats import binomtest

        # Spread so evenly that the run's length alone limits what it is worth: 50 s are 100.
        occurred = np.arange(4000) % 10 == 0
        latency_s = np.arange(4000) % 20 / 20.0
        verdict = judge_share(occurred, latency_s, Slo.parse("rejected<=50%"), window_s=50.0)
        exact = binomtest(10, 100).proportion_ci(0.99, "exact")
        assert (verdict.low, verdict.high) == pytest.approx((exact.low, exact.high))
        assert (verdict.estimate, verdict.past_limit, verdict.requests) == (0.1, 400, 4000)
        assert verdict.effective_requests == 100.0

    @pytest.mark.parametrize(
        ("text", "even", "burst"),
        [
            # 0.5 % are slowest, and spread evenly; those from the p95 on came all at once.
            pytest.param("rejected<=0.1%", 200, 0.045, id="over the p95 of a small share"),
            # 5 % are; those from the median on came at once.
            pytest.param("rejected<=20%", 20, 0.45, id="over the median of a large one"),
        ],
    )
    def test_bursts_are_looked_for_among_five_times_the_share_and_5_percent(
        self, text, even, burst
    ):
        number = 40_000
        latency_s = np.full(number, 0.01)
        latency_s[10_000 : 10_000 + round(number * burst)] = 0.02
        latency_s[::even] = 0.03
        rejected = np.arange(number) % 4000 == 7
        verdict = judge_share(rejected, latency_s, Slo.parse(text), window_s=1e6)
        assert verdict.past_limit == 10
        # To a tenth: with 0.53 for the error of its own estimate.
        assert verdict.effective_requests == round(worth_of(latency_s > 0.01), 1) < 100

    def test_that_something_never_happens_cannot_be_met(self):
        never = np.zeros(60_000, dtype=bool)
        verdict = judge_share(never, np.ones(60_000), Slo.parse("failed<=0%"), window_s=600.0)
        assert verdict.decision is Decision.UNDECIDED
        assert verdict.more_requests is None


class TestSeveral:
    def test_verdicts_share_one_error(self):
        slos = [Slo.parse("p99<=50ms"), Slo.parse("p50<=50ms")]
        calm = independent(20_000, 0.0)
        verdicts = judge_all(slos, lambda s, c: judge(calm, s, window_s=30.0, confidence=c))
        assert [v.decision for v in verdicts] == [Decision.MET] * 2
        assert [v.confidence for v in verdicts] == [0.995] * 2

    def test_missed_outweighs_undecided_and_undecided_met(self):
        def verdicts(*shares):
            return [judge(independent(100_000, s), P99, window_s=600.0) for s in shares]

        assert overall([]) is None
        assert overall(verdicts(0.0, 0.0)) is Decision.MET
        assert overall(verdicts(0.0, 0.01)) is Decision.UNDECIDED
        assert overall(verdicts(0.01, 0.1, 0.0)) is Decision.MISSED


class TestRuns:
    def test_every_kind_of_objective_is_judged_from_the_logs(self):
        texts = (
            "p99<=1s", "mean<=1s", "queued<=1s", "slip.p99<=1s", "throughput>=1", "goodput>=1",
            "busy_fraction<=0.99", "busy_fraction>=0.99", "retried<=50%",
        )  # fmt: skip
        slos = [Slo.parse(text) for text in texts]
        logs = served_logs()
        verdicts = judge_run(logs, slos, 4.0)
        assert [v.slo for v in verdicts] == list(texts)
        assert [v.decision for v in verdicts[:7]] == [Decision.MET] * 7
        assert verdicts[7].decision is Decision.MISSED
        busy = compute_metrics(logs, 4.0).device.busy_fraction
        assert verdicts[6].estimate == pytest.approx(busy)

    def test_what_callers_cancelled_is_left_out_and_what_the_run_gave_up_is_not(self):
        rows = answered([0.01] * 3000)
        withdrawn = {"scheduled_s": 1.0, "ended_s": 1.5, "status": "cancelled"}
        given_up = {"scheduled_s": 1.0, "ended_s": 99.0, "status": "cancelled"}
        [verdict] = judge_run(made_logs([*rows, withdrawn]), [P99], 10.0)
        assert (verdict.requests, verdict.excluded, verdict.past_limit) == (3000, 1, 0)
        [verdict] = judge_run(made_logs([*rows, given_up]), [P99], 10.0)
        assert (verdict.requests, verdict.excluded, verdict.past_limit) == (3001, 0, 1)

    def test_each_planned_look_has_its_part_of_the_error(self):
        [verdict] = judge_run(served_logs(), [P99], 4.0, looks=5)
        assert verdict.confidence == pytest.approx(0.998)

    def test_of_a_looped_recording_only_the_first_pass_is_evidence(self):
        [verdict] = judge_run(served_logs(), [P99], 4.0, pass_s=2.0)
        [whole] = judge_run(served_logs(), [P99], 4.0)
        assert verdict.requests == pytest.approx(whole.requests / 2, rel=0.1)

    def test_a_run_keeps_its_verdicts_and_says_them_in_words(self, tmp_path):
        run = written_run(
            tmp_path / "a",
            served_logs(),
            config={"slo": ["p99<=1s", "p99<=30ms", "p50<=1us", "throughput>=1"]},
            trace={"process": {"process": "poisson"}},
        )
        assert run.slo_latency_s == 0.03
        met, undecided, missed, rate = rulings(run.record)
        assert met.word == "p99<=1s met"
        assert met.reason.endswith("took longer, 1 % may; of this process, at 99 % confidence")
        assert undecided.word == "p99<=30ms undecided"
        assert "more requests" in undecided.reason
        assert missed.word == "p50<=1us missed"
        assert rate.reason.startswith(f"{run.metrics.throughput_rps:,.0f}"[:3])


class TestPromises:
    """Seeded samples of what `make calibrate` does at length."""

    @pytest.mark.parametrize("arrivals", ["poisson", "mmpp"])
    def test_met_is_hardly_ever_said_of_a_limit_just_below_the_true_p99(self, arrivals):
        queue = Queue("single", arrivals, factor=1.3)
        p99_s = {"poisson": 0.0204, "mmpp": 0.71}[arrivals]  # of 100 runs of 600 s
        slo = Slo("latency_s.p99", "<=", p99_s / 1.02, "s")
        runs = [queue.run(60.0, seed)[1] for seed in range(150)]
        said = [judge(latency_s, slo, window_s=60.0).decision for latency_s in runs]
        assert np.mean([d is Decision.MET for d in said]) <= 0.02
        raw = [np.mean(latency_s > slo.limit) < 0.009 for latency_s in runs]
        assert np.mean(raw) > 0.3  # what taking requests for independent would say

    def test_met_is_said_where_there_is_room(self):
        queue = Queue("batch", "poisson")
        slo = Slo.parse("p99<=500ms")
        said = [judge(queue.run(60.0, s)[1], slo, window_s=60.0).decision for s in range(50)]
        assert np.mean([d is Decision.MET for d in said]) > 0.4
        assert Decision.MISSED not in said
