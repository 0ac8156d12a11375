"""Outcomes of comparisons made of observations, their words, their record, recorded runs."""

import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from results.comparison.block_bootstrap import _unlike, compare_runs
from results.comparison.observation import METRICS, expected_noise, metric_named, observe
from results.comparison.outcome import Judge
from results.comparison.record import (
    ArmRecord,
    Comparison,
    ComparisonRecord,
    draw_record,
    read_record,
    write_record,
)
from results.comparison.report import write_report
from results.comparison.wording import notes, rows, sentences, standing
from results.errors import InvalidInputError, RunCorruptError, RunNotFoundError, RunVersionError
from results.run.logs import RunLogs
from results.run.validity import Finding, FindingCode
from results.statistics.paired import Plan, Verdict
from tests.results.made import answered, made_logs, written_run
from tests.results.queues import Server, bursty, poisson, serve


@pytest.fixture(scope="module")
def observation(tmp_path_factory):
    """An observation of a quiet run, to be given other values."""
    # In no order, or they would be a trend.
    latencies_s = np.random.default_rng(0).permutation(np.linspace(0.001, 0.1, 1000)).tolist()
    logs = made_logs(answered(latencies_s))
    return observe(written_run(tmp_path_factory.mktemp("run") / "r", logs, trace={"sha256": "x"}))


def draws_of(observation, ratios, metric="p99", **others):
    """Draws in which B's value of a metric is A's times the ratio, and all else is equal."""
    made = []
    for i, ratio in enumerate(ratios):
        base = 0.01 * 1.3 ** (i % 3)
        a = dict.fromkeys(METRICS, base) | {"goodput": None}
        b = a | {metric: base * ratio}
        for name, factor in others.items():
            b[name] = None if factor is None else base * factor
        made.append({"a": replace(observation, values=a), "b": replace(observation, values=b)})
    return made


def outcome_of(seen, metric="p99", **plan):
    return Judge(("a", "b"), Plan(**plan), metric).outcome(seen)


def flagged(observation, *codes):
    findings = tuple(Finding(code=FindingCode(c), message="m", remedy="r") for c in codes)
    return replace(observation, findings=findings)


NEAR_1 = (0.99, 1.0, 1.01, 1.0)
NEAR_70 = (0.69, 0.70, 0.71, 0.695)


class TestOutcome:
    def test_is_of_the_luck_that_both_arms_share_in_no_way(self, observation):
        [challenger] = outcome_of(draws_of(observation, NEAR_70)).challengers
        assert challenger.judged.ratio == pytest.approx(math.exp(np.log(NEAR_70).mean()))
        assert challenger.verdict is Verdict.BETTER
        assert challenger.judged.noise < 0.02

    def test_between_looks_there_is_an_interval_but_no_verdict(self, observation):
        outcome = outcome_of(draws_of(observation, (*NEAR_70, 0.7)))
        assert (outcome.at_look, outcome.decided) == (False, False)
        assert outcome.challengers[0].judged.high < 0.8
        assert "no verdict was due after 5 draws" in sentences(outcome)[0]

    @pytest.mark.parametrize(
        ("metric", "verdict"),
        [
            ("p99", Verdict.BETTER),
            ("mean", Verdict.BETTER),
            ("device_time", Verdict.BETTER),
            ("throughput", Verdict.WORSE),
            ("batch_size", Verdict.DIFFERENT),
        ],
    )
    def test_less_is_better_or_worse_by_the_metric(self, observation, metric, verdict):
        outcome = outcome_of(draws_of(observation, NEAR_70, metric), metric)
        assert outcome.challengers[0].verdict is verdict

    def test_metrics_that_do_not_decide_are_held_to_a_stricter_level(self, observation):
        draws = draws_of(observation, (1.35, 1.02, 1.40, 1.10, 1.30, 1.03))
        for draw, ratio in zip(draws, (1.3, 0.8, 1.2, 0.7, 1.4, 0.8), strict=True):
            for name in ("p90", "mean", "throughput", "device_time", "batch_size"):
                draw["b"].values[name] *= ratio
        alone = outcome_of(draws, "p99", draws=6, exact=True).challengers[0].judged
        beside = outcome_of(draws, "p50", draws=6, exact=True).challengers[0].effect("p99")
        assert (alone.verdict, beside.verdict) == (Verdict.WORSE, Verdict.INCONCLUSIVE)
        assert beside.p == alone.p < 0.05 < beside.adjusted_p

    def test_a_metric_that_was_not_measured_in_one_draw_gets_no_ratio_but_a_reason(
        self, observation
    ):
        draws = draws_of(observation, NEAR_70, "device_time")
        draws[2]["b"].values["device_time"] = None
        outcome = outcome_of(draws, "device_time")
        [challenger] = outcome.challengers
        assert challenger.judged.ratio is None
        assert sentences(outcome)[0].startswith(
            "No ratio of device time a request is given: it was not measured, or is 0, in 1 of 4"
        )

    def test_goodput_is_compared_where_there_is_an_slo(self, observation):
        with_slo = draws_of(observation, NEAR_70, goodput=1.0)
        for draw in with_slo:
            draw["a"].values["goodput"] = draw["a"].values["throughput"]
        assert outcome_of(with_slo).challengers[0].effect("goodput") is not None
        assert outcome_of(draws_of(observation, NEAR_70)).challengers[0].effect("goodput") is None

    @pytest.mark.parametrize(
        ("saturated", "throughput", "verdict", "decided"),
        [
            (("....", "ssss"), 0.7, Verdict.WORSE, True),
            (("....", "ss.."), 0.7, Verdict.WORSE, True),
            (("ss..", "...."), 1.4, Verdict.BETTER, True),
            (("....", "ss.."), None, Verdict.INCONCLUSIVE, False),  # it served as much
            (("....", "ss.."), 1.4, Verdict.INCONCLUSIVE, False),  # or more
            (("....", "s..."), 0.7, Verdict.INCONCLUSIVE, False),  # once may be chance
            (("s...", "ss.."), 0.7, Verdict.INCONCLUSIVE, False),  # once alone
            (("s...", ".ss."), 0.7, Verdict.INCONCLUSIVE, True),  # each alone: never a verdict
            (("ss..", "ss.."), 0.7, Verdict.INCONCLUSIVE, True),  # too much for both
        ],
    )
    def test_saturation_is_a_verdict_if_one_arm_alone_has_it_and_serves_less(
        self, observation, saturated, throughput, verdict, decided
    ):
        a, b = saturated
        ratios = (1.01, 0.99, 1.0, 1.0) if throughput is None else [throughput * r for r in NEAR_1]
        draws = [
            {
                "a": flagged(draw["a"], *(["saturated"] if a[i] == "s" else [])),
                "b": flagged(draw["b"], *(["saturated"] if b[i] == "s" else [])),
            }
            for i, draw in enumerate(draws_of(observation, ratios, "throughput"))
        ]
        outcome = outcome_of(draws)
        assert (outcome.challengers[0].verdict, outcome.decided) == (verdict, decided)
        assert outcome.challengers[0].judged.ratio is None
        assert outcome.challengers[0].effect("throughput").ratio is not None

    def test_an_arm_that_sheds_so_much_that_its_percentile_is_infinite_is_worse(self, observation):
        counts = observation.metrics.counts.model_copy(update={"ok": 700, "rejected": 300})
        metrics = observation.metrics.model_copy(update={"counts": counts})
        draws = [
            {
                "a": draw["a"],
                "b": replace(draw["b"], metrics=metrics, values=draw["b"].values | {"p99": None}),
            }
            for draw in draws_of(observation, NEAR_70, "throughput")
        ]
        outcome = outcome_of(draws)
        assert outcome.challengers[0].verdict is Verdict.WORSE
        assert sentences(outcome)[0].startswith(
            "B cannot sustain this load: it left too many requests unanswered in 4 of 4 draws"
        )

    def test_equal_arms_near_their_limit_are_seldom_called_unable(self, observation):
        rng = np.random.default_rng(6)
        called = 0
        for _ in range(100):
            draws = draws_of(observation, np.exp(0.02 * rng.standard_normal(10)), "throughput")
            seen = [
                {k: flagged(v, *(["saturated"] * int(rng.random() < 0.3))) for k, v in d.items()}
                for d in draws
            ]
            called += any(
                outcome_of(seen[:look]).challengers[0].verdict in (Verdict.BETTER, Verdict.WORSE)
                for look in (4, 6, 8, 10)
            )
        assert called <= 5

    def test_findings_of_the_runs_are_caveats_on_the_first_line_and_do_not_stop_it(
        self, observation
    ):
        draws = draws_of(observation, NEAR_70)
        draws[1]["b"] = flagged(draws[1]["b"], "slip_over_budget", "too_few_requests")
        draws[2]["b"] = flagged(draws[2]["b"], "slip_over_budget")
        outcome = outcome_of(draws)
        assert outcome.challengers[0].verdict is Verdict.BETTER
        assert standing(outcome, interrupted=False).line == (
            "WITH CAVEATS: slip over budget in 2 of 8 runs, too few requests in 1 of 8 runs"
        )

    def test_runs_on_different_machines_are_a_caveat(self, observation):
        draws = draws_of(observation, NEAR_70)
        draws[3] = {k: replace(v, environment={"cpu": "another"}) for k, v in draws[3].items()}
        assert outcome_of(draws).caveats == ("runs on different processors",)

    def test_judges_need_two_arms_a_known_metric_and_a_plan_for_them(self):
        with pytest.raises(InvalidInputError, match="arms must be at least two, but got 1"):
            Judge(("a",), Plan())
        with pytest.raises(InvalidInputError, match="must be 2, but got 1"):
            Judge(("a", "b", "c"), Plan())
        with pytest.raises(InvalidInputError, match=r"metric must be one of p50, .* but got 'p42'"):
            Judge(("a", "b"), Plan(), "p42")


class TestMetrics:
    def test_have_a_short_name_and_the_key_of_run_json(self):
        assert metric_named("latency_s.p99") is metric_named("p99")

    def test_a_request_without_an_answer_is_infinitely_late(self, tmp_path):
        rows_ = answered([0.01] * 97)
        shed = [{"scheduled_s": 0.0, "enqueued_s": 0.0, "ended_s": 0.0, "status": "rejected"}] * 3
        values = observe(written_run(tmp_path / "r", made_logs([*rows_, *shed]))).values
        assert (values["p90"], values["p99"], values["mean"]) == (0.01, None, None)

    def test_noise_is_expected_of_latencies_and_shrinks_with_the_root_of_a_draws_length(self):
        assert expected_noise(METRICS["p99"], 10.0) == 0.13
        assert expected_noise(METRICS["p99"], 40.0) == pytest.approx(0.065)
        assert expected_noise(METRICS["throughput"], 10.0) is None


class TestSentences:
    @pytest.mark.parametrize(
        ("ratios", "metric", "others", "sentence"),
        [
            (
                (0.68, 0.70, 0.69, 0.69), "p99", {},
                r"B answers 99 % of requests 31 % \(29-33 %\) sooner than A at the same "
                r"throughput; 4 draws, same arrivals\.",
            ),
            (
                (1.40, 1.44, 1.42, 1.41), "p50", {"device_time": 0.6},
                r"B answers half of the requests 42 % \(38-46 %\) later than A at the same "
                r"throughput and with 40\.0 % less device time a request; .*",
            ),
            (
                (3.1, 3.3, 3.2, 3.2), "mean", {},
                r"B's mean latency is 3\.20 times \(3\.\d+-3\.\d+\) A's at the same throughput; .*",
            ),
            (
                (1.01, 0.99, 1.0, 1.005), "p99", {},
                r"B's p99 latency is the same as A's within 5 % \(between .* % below and .* above "
                r"A's\) at the same throughput; .*",
            ),
            (
                (1.3, 0.9, 1.2, 0.8), "p99", {},
                r"No verdict on p99 latency: B's is between \d+ % below and \d+ % above A's; about "
                r"[\d,]+ draws would decide; 4 draws, same arrivals\.",
            ),
            ((0.7, 0.71, 0.7, 0.7), "throughput", {}, r"B answers 30 % .* fewer requests than A.*"),
            ((1.2, 1.21, 1.2, 1.2), "device_time", {}, r"B takes 20.* more device time a .*"),
        ],
    )  # fmt: skip
    def test_say_who_by_how_much_how_surely_and_on_what(
        self, observation, ratios, metric, others, sentence
    ):
        [said] = sentences(outcome_of(draws_of(observation, ratios, metric, **others), metric))
        assert re.fullmatch(sentence, said), said

    def test_the_table_has_the_judged_metric_first(self, observation):
        outcome = outcome_of(draws_of(observation, NEAR_70))
        first = rows(outcome.challengers[0])[0]
        assert (first.metric, first.verdict) == ("p99 latency", "better")
        assert first.change.startswith("-30.1 % (")
        assert any("4, 6, 8, 10 draws only" in note for note in notes(outcome))


def comparison_of(path, draws, outcome, **record):
    made = ComparisonRecord(
        id=path.name,
        arms={"a": ArmRecord(label="one"), "b": ArmRecord(label="other & <more>")},
        metric=outcome.metric,
        margin=outcome.margin,
        sentences=tuple(sentences(outcome)),
        draws=tuple(draw_record(d, {"a": "draw-01/a", "b": "draw-01/b"}) for d in draws),
        outcome=outcome,
        state="finished",
        **record,
    )
    return Comparison(path, made, draws)


@pytest.mark.parametrize(
    ("changed", "caveat"),
    [
        ({"kind": "simulation"}, "different kinds (A measured, B simulated)"),
        ({"config": {"model": "b"}}, "different models (A a, B b)"),
        ({"config": {"model": "a", "device": "cuda:0"}}, "different devices (A None, B cuda:0)"),
    ],
    ids=["a simulation", "another model", "another device"],
)
def test_recorded_runs_that_no_setting_explains_say_so_in_the_first_line(changed, caveat):
    def run(**facts):
        return SimpleNamespace(record=SimpleNamespace(**{"kind": "replay", **facts}))

    assert _unlike(["a", "b"], [run(config={"model": "a"})] * 2) == []
    other = run(**{"config": {"model": "a"}, **changed})
    assert _unlike(["a", "b"], [run(config={"model": "a"}), other]) == [caveat]


class TestRecord:
    def test_comes_back_as_it_was_written(self, tmp_path, observation):
        draws = draws_of(observation, NEAR_70, goodput=None)
        made = comparison_of(tmp_path, draws, outcome_of(draws)).record
        write_record(tmp_path, made)
        assert read_record(tmp_path) == made

    @pytest.mark.parametrize(
        ("text", "error", "message"),
        [
            (None, RunNotFoundError, "holds no comparison: it has no comparison.json"),
            ("{", RunCorruptError, "cannot be read"),
            ("[]", RunVersionError, "must have schema_version 1, but got None"),
            ('{"schema_version": 2}', RunVersionError, "but got 2"),
            ('{"schema_version": 1}', RunCorruptError, "id: Field required"),
        ],
    )
    def test_that_is_damaged_says_how(self, tmp_path, text, error, message):
        if text is not None:
            (tmp_path / "comparison.json").write_text(text)
        with pytest.raises(error, match=message):
            read_record(tmp_path)

    def test_is_json_without_nan_or_infinity(self, observation):
        draws = draws_of(observation, (1.0, 1.0, 1.0, 1.0))
        text = ComparisonRecord(
            id="x", arms={}, metric="p99", margin=0.05, outcome=outcome_of(draws)
        ).as_json()
        json.loads(text, parse_constant=pytest.fail)


class TestReport:
    def test_is_one_file_that_loads_nothing_and_says_the_sentence_first(
        self, tmp_path, observation
    ):
        draws = draws_of(observation, NEAR_70)
        html = write_report(comparison_of(tmp_path, draws, outcome_of(draws))).read_text()
        assert "<h1>B answers 99 % of requests 30" in html
        assert "<script" not in html
        assert "http:" not in html
        assert "https:" not in html
        assert html.count("data:image/png;base64,") == 5
        assert "other &amp; &lt;more&gt;" in html
        assert {p.name for p in (tmp_path / "figures").iterdir()} == {
            "effects.png", "latency_distributions.png", "pairs.png", "where_the_time_went.png",
            "batch_sizes.png",
        }  # fmt: skip

    def test_is_drawn_of_one_draw_of_runs_that_answered_nothing(self, tmp_path):
        nothing = observe(written_run(tmp_path / "r", made_logs()))
        draws = [{"a": nothing, "b": nothing}]
        html = write_report(comparison_of(tmp_path, draws, outcome_of(draws))).read_text()
        assert "No ratio of p99 latency is given" in html


def recorded(path, arrivals, server, *, rng=None, sha256="x", noise=0.0, window_s=30.0):
    """A run of a queue whose latencies were stretched a little at random."""
    logs = serve(arrivals, server)
    if rng is not None:
        requests = logs.requests.copy()
        latency = requests["ended_s"] - requests["scheduled_s"]
        stretched = latency * np.exp(noise * rng.standard_normal(len(latency)))
        requests["ended_s"] = np.maximum(
            requests["scheduled_s"] + stretched, requests["completed_s"]
        )
        logs = RunLogs(requests, logs.batches, logs.telemetry, logs.stalls)
    return written_run(path, logs, window_s=window_s, trace={"sha256": sha256})


class TestRecordedRuns:
    slow = Server(base_s=0.004, per_request_s=0.0002, max_batch_size=16)
    fast = Server(base_s=0.0032, per_request_s=0.00016, max_batch_size=16)

    def test_of_the_same_arrivals_are_paired_by_blocks_of_time(self, tmp_path):
        arrivals = poisson(700.0, 31.0, np.random.default_rng(1))
        runs = [
            recorded(tmp_path / "a", arrivals, self.slow),
            recorded(tmp_path / "b", arrivals, self.fast),
        ]
        found = compare_runs(runs)
        [challenger] = found.outcome.challengers
        assert found.outcome.design == "blocks"
        assert challenger.verdict is Verdict.BETTER
        a, b = (run.metrics.latency_s.p99 for run in runs)
        assert challenger.judged.ratio == pytest.approx(b / a)
        assert sentences(found.outcome)[0].endswith(
            "one run each, same arrivals, paired by blocks of time."
        )

    def test_of_different_arrivals_are_unpaired_and_less_is_known(self, tmp_path):
        rng = np.random.default_rng(2)
        one, other = (bursty(700.0, 31.0, rng) for _ in range(2))
        control = recorded(tmp_path / "a", one, self.slow)
        same = compare_runs([control, recorded(tmp_path / "b", one, self.fast)])
        unlike = compare_runs([control, recorded(tmp_path / "c", other, self.fast, sha256="y")])
        assert unlike.outcome.design == "unpaired"
        assert "unpaired, and weaker for it" in sentences(unlike.outcome)[0]
        width = {}
        for name, found in (("same", same), ("unlike", unlike)):
            effect = found.outcome.challengers[0].effect("mean")
            width[name] = math.log(effect.high / effect.low)
        assert width["unlike"] > 1.5 * width["same"]

    def test_that_are_equal_but_for_noise_are_seldom_called_different(self, tmp_path):
        rng = np.random.default_rng(3)
        called = 0
        for i in range(8):
            arrivals = poisson(200.0, 31.0, rng)
            pair = [
                recorded(tmp_path / f"{name}{i}", arrivals, self.slow, rng=rng, noise=0.3)
                for name in "ab"
            ]
            verdict = compare_runs(pair, margin=0.001).outcome.challengers[0].verdict
            called += verdict in (Verdict.BETTER, Verdict.WORSE)
        assert called <= 2

    def test_that_were_short_get_an_interval_but_no_verdict(self, tmp_path):
        arrivals = poisson(700.0, 11.0, np.random.default_rng(1))
        runs = [
            recorded(tmp_path / "a", arrivals, self.slow, window_s=10.0),
            recorded(tmp_path / "b", arrivals, self.fast, window_s=10.0),
        ]
        outcome = compare_runs(runs).outcome
        assert outcome.challengers[0].judged.high < 1.0
        assert outcome.challengers[0].verdict is Verdict.INCONCLUSIVE
        assert any("less than 30 s get no verdict" in note for note in notes(outcome))

    def test_that_were_saturated_get_no_ratio_of_latencies(self, tmp_path):
        arrivals = poisson(1000.0, 31.0, np.random.default_rng(4))
        weak = Server(base_s=0.004, per_request_s=0.0002, max_batch_size=2)
        runs = [
            recorded(tmp_path / "a", arrivals, self.slow),
            recorded(tmp_path / "b", arrivals, weak),
        ]
        [challenger] = compare_runs(runs).outcome.challengers
        assert challenger.judged.ratio is None
        assert challenger.effect("throughput").ratio < 0.8

    def test_must_be_two(self):
        with pytest.raises(InvalidInputError, match="runs must be at least two, but got 0"):
            compare_runs([])
