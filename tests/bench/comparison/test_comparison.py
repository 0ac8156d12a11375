"""Arms, the contest between them, and comparisons made of simulated runs."""

import re
from pathlib import Path

import pytest

from bench.comparison import RunSchedule, Trial, compare_arms
from bench.comparison.arms import make_arms
from bench.errors import BenchError, InputError
from results.comparison.observation import observe
from results.comparison.outcome import Judge
from results.comparison.wording import sentences
from results.statistics.paired import Plan, Verdict
from tests.bench.comparison.arms import (
    Rough,
    SimulatedArm,
    run_simulated,
    simulated_draws,
    slower,
)

STEADY = Rough(noise=0.01, drift=0.0, slow=1.0)
NOTHING = Path("nowhere")


def contest_of(arms, metric="p99", **plan):
    return RunSchedule(Judge(tuple(arms), Plan(challengers=len(arms) - 1, **plan), metric))


def compared(arms, *, metric="p99", rate_rps=400.0, trace="bursty.json", **plan):
    contest = contest_of(arms, metric, **plan)
    draws = simulated_draws(plan.get("draws", 10), rate_rps=rate_rps, seconds=3.0, trace=trace)
    return compare_arms(contest, arms, draws, run_simulated(), folder=NOTHING), contest


def files(tmp_path, *texts):
    paths = [tmp_path / f"{i}.toml" for i in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return paths


class TestArms:
    def test_are_the_common_settings_with_the_knobs_of_each(self):
        a, b = make_arms(
            [],
            {"a": "max_batch_size=8", "b": "policy=window, batch_timeout_ms=5"},
            None,
            {"max_batch_size": 16, "rate": 100.0},
        )
        assert (a.settings.batcher.max_batch_size, b.settings.batcher.max_batch_size) == (8, 16)
        assert (b.settings.batcher.policy, b.settings.batcher.batch_timeout_ms) == ("window", 5.0)
        assert a.settings.replay.rate == b.settings.replay.rate == 100.0
        assert (a.label, b.label) == ("timeout 8 / 10 ms", "window 16 / 5 ms")

    def test_may_be_files_and_knobs_together(self, tmp_path):
        path = tmp_path / "a.toml"
        path.write_text("[batcher]\nmax_batch_size = 4\npreferred_batch_sizes = [2, 3]\n")
        a, b = make_arms([path], {"b": "preferred_batch_sizes=2,4,max_batch_size=8"}, None, {})
        assert a.label == "timeout 4 / 10 ms, preferred_batch_sizes 2/3"
        assert b.label == "timeout 8 / 10 ms, preferred_batch_sizes 2/4"

    def test_may_be_the_same_twice(self):
        a, b = make_arms([], {"a": "in_flight=2", "b": "in_flight=2"}, None, {})
        assert a.settings == b.settings

    @pytest.mark.parametrize(
        ("inline", "message"),
        [
            ({}, "arms must be at least two .* but got 0"),
            ({"a": "in_flight=1"}, "but got 1"),
            ({"a": "in_flight=1", "c": "in_flight=2"}, "arms must be a, b, but got a, c"),
            ({"a": "max_batch_size", "b": ""}, "--a must be key=value,key=value, but got"),
            ({"a": "max_batch_size=0", "b": ""}, "--a: max_batch_size must be greater than or"),
            ({"a": "max_batch_size=8.5", "b": ""}, "--a: max_batch_size must be a valid integer"),
            ({"a": "max_batch_size=1,2", "b": ""}, "--a: max_batch_size must be one value"),
            ({"a": "in_flight=1,in_flight=2", "b": ""}, "--a must give in_flight once"),
            ({"a": "trace=x.json", "b": ""}, "--a takes policy, .* but got 'trace'"),
        ],
    )
    def test_that_cannot_be_used_say_which_and_why(self, inline, message):
        with pytest.raises(InputError, match=message) as caught:
            make_arms([], inline, None, {})
        assert "\n" not in str(caught.value)

    def test_of_two_models_are_refused_with_the_ways_out(self, tmp_path):
        paths = files(tmp_path, '[model]\nmodel = "mlp"', '[model]\nmodel = "resnet50"')
        with pytest.raises(InputError, match="must share model, but got 'mlp' in a") as caught:
            make_arms(paths, {}, None, {})
        assert "--model gives all the same" in str(caught.value)
        assert [arm.settings.model.model for arm in make_arms(paths, {}, None, {"model": "x"})] == [
            "x",
            "x",
        ]

    @pytest.mark.parametrize(
        ("a", "b", "shared", "note"),
        [
            ("rate = 1", "rate = 2", {"rate": 1.0}, "B: rate 2.0 is left aside for that of A"),
            ("utilization = 0.5", "rate = 2", {"rate": None, "utilization": 0.5}, "B: rate 2.0"),
            ("", "rate = 2", {"rate": 2.0}, None),
            ("duration = 3", "duration = 5", {"duration": 3.0}, "B: duration 5.0 is left aside"),
        ],
        ids=["both say it", "another way", "the second alone", "a length"],
    )
    def test_share_what_arrives_of_the_first_to_say(self, tmp_path, a, b, shared, note):
        said = []
        paths = files(tmp_path, *(f"[replay]\n{text}" for text in (a, b)))
        for arm in make_arms(paths, {}, None, {}, said.append):
            assert {key: getattr(arm.settings.replay, key) for key in shared} == shared
        assert len(said) == (note is not None)
        assert note is None or note in said[0]

    @pytest.mark.parametrize(
        ("a", "b", "given", "shared"),
        [
            ("", '[slo]\nslo = ["p99<=150ms"]', {}, ("p99<=150ms",)),
            ('[slo]\nslo = ["p99<=5ms"]', '[slo]\nslo = ["p99<=9ms"]', {}, ("p99<=5ms",)),
            ("", '[slo]\nslo = ["p99<=9ms"]', {"slo": ["p50<=1ms"]}, ("p50<=1ms",)),
            ('[slo]\nslo = ["p99<=9ms"]\nuntil_decided = true', "", {}, ("p99<=9ms",)),
        ],
        ids=["one has it", "two have it", "the command line", "until decided"],
    )
    def test_are_judged_by_one_slo(self, tmp_path, a, b, given, shared):
        said = []
        arms = make_arms(files(tmp_path, a, b), {}, None, given, said.append)
        assert [arm.settings.slo.slo for arm in arms] == [shared, shared]
        assert not any(arm.settings.slo.until_decided for arm in arms)
        left_aside = any(note.startswith("A: until_decided is left aside") for note in said)
        assert left_aside == ("until_decided" in a)

    def test_may_call_one_file_by_two_names(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        named = '[model]\nmodel = "{0}mine.py:make"\n[replay]\ntrace = "{0}day.log"'
        said = []
        paths = files(tmp_path, named.format(""), named.format(f"{tmp_path}/"))
        a, b = make_arms([path.relative_to(tmp_path) for path in paths], {}, None, {}, said.append)
        assert a.settings == b.settings
        assert said == []

    def test_run_on_the_device_of_the_one_that_names_it(self, tmp_path):
        arms = make_arms(files(tmp_path, "", '[model]\ndevice = "cpu"'), {}, None, {})
        assert [arm.settings.model.device for arm in arms] == ["cpu", "cpu"]


class TestContest:
    def test_alternates_two_arms_so_that_a_drift_meets_both(self):
        contest = contest_of("ab")
        assert [contest.order(draw) for draw in range(3)] == [("a", "b"), ("b", "a"), ("a", "b")]

    def test_runs_more_arms_in_a_random_order_and_then_in_its_reverse(self):
        contest = contest_of("abcde")
        orders = [contest.order(draw) for draw in range(8)]
        assert all(sorted(order) == list("abcde") for order in orders)
        assert orders[1::2] == [order[::-1] for order in orders[::2]]
        assert len(set(orders)) > 4

    def test_stops_at_the_first_look_that_decides(self):
        arm = SimulatedArm(STEADY)
        outcome, contest = compared({"a": arm, "b": slower(arm, 1.5)})
        assert (outcome.draws, len(contest.told)) == (4, 8)
        assert outcome.challengers[0].verdict is Verdict.WORSE

    def test_that_is_exact_makes_all_draws(self):
        arm = SimulatedArm(STEADY)
        outcome, _ = compared({"a": arm, "b": slower(arm, 1.5)}, draws=5, exact=True)
        assert (outcome.draws, outcome.looks) == (5, (5,))

    def test_that_goes_on_asks_only_for_what_it_was_not_told(self):
        arms = {"a": SimulatedArm(STEADY), "b": SimulatedArm(STEADY)}
        draws = simulated_draws(2, seconds=1.0)
        contest, run = contest_of(arms, draws=2), run_simulated()
        trial = contest.ask()
        contest.tell(trial, observe(run(arms["a"], draws[0], NOTHING)))
        assert trial == Trial(0, "a")
        assert contest.ask() == Trial(0, "b")
        assert contest.draws == []
        asked = []
        compare_arms(contest, arms, draws, run, folder=NOTHING, watch=asked.append)
        assert asked == [Trial(0, "b"), Trial(1, "b"), Trial(1, "a")]
        assert contest.ask() is None

    def test_refuses_runs_of_one_draw_with_different_arrivals(self):
        contest, run = contest_of("ab"), run_simulated()
        one, another = simulated_draws(2, seconds=1.0)
        contest.tell(Trial(0, "a"), observe(run(SimulatedArm(), one, NOTHING)))
        with pytest.raises(BenchError, match="draw 1 must have the same arrivals for all arms"):
            contest.tell(Trial(0, "b"), observe(run(SimulatedArm(), another, NOTHING)))

    def test_refuses_a_runner_that_plays_something_else(self):
        one, another = simulated_draws(2, seconds=1.0)
        run = run_simulated()
        with pytest.raises(BenchError, match="draw-01/a must have the arrivals"):
            compare_arms(
                contest_of("ab", draws=2),
                {"a": SimulatedArm(), "b": SimulatedArm()},
                [one, one],
                lambda arm, _, folder: run(arm, another, folder),
                folder=NOTHING,
            )


class TestOutcome:
    def test_an_arm_that_is_as_good_is_equivalent(self):
        arm = SimulatedArm(STEADY)
        outcome, _ = compared({"a": arm, "b": arm})
        [challenger] = outcome.challengers
        assert challenger.verdict is Verdict.EQUIVALENT
        assert sentences(outcome)[0].startswith("B's p99 latency is the same as A's within 5 %")

    def test_an_arm_with_smaller_batches_at_low_load_answers_sooner_and_costs_more(self):
        held = SimulatedArm(STEADY, timeout_s=0.03)
        outcome, _ = compared({"a": held, "b": SimulatedArm(STEADY, timeout_s=0.0)}, rate_rps=150.0)
        [challenger] = outcome.challengers
        assert challenger.verdict is Verdict.BETTER
        assert challenger.effect("device_time").verdict is Verdict.WORSE
        assert challenger.effect("throughput").verdict is Verdict.EQUIVALENT
        assert challenger.effect("batch_size").verdict is Verdict.DIFFERENT
        assert sentences(outcome)[0].startswith("B answers 99 % of requests")
        assert "sooner than A at the same throughput and with" in sentences(outcome)[0]

    def test_an_arm_that_cannot_sustain_the_load_is_worse_and_gets_no_ratio(self):
        arms = {"a": SimulatedArm(STEADY), "b": SimulatedArm(STEADY, max_batch_size=1)}
        outcome, _ = compared(arms, trace="poisson.json")
        [challenger] = outcome.challengers
        assert (outcome.draws, challenger.verdict) == (4, Verdict.WORSE)
        assert challenger.judged.ratio is None
        assert challenger.effect("p50").ratio is None
        assert challenger.effect("throughput").ratio < 0.9
        assert sentences(outcome)[0].startswith(
            "B cannot sustain this load: it was saturated in 4 of 4 draws, A in none"
        )

    def test_a_load_that_is_too_much_for_both_compares_no_latency_but_still_throughput(self):
        arms = {
            "a": SimulatedArm(STEADY, max_batch_size=2),
            "b": SimulatedArm(STEADY, max_batch_size=1),
        }
        outcome, _ = compared(arms, trace="poisson.json", rate_rps=900.0)
        [challenger] = outcome.challengers
        assert (challenger.verdict, outcome.draws) == (Verdict.INCONCLUSIVE, 2)
        assert sentences(outcome)[0].startswith("This load is more than A could serve in 2 and B")
        outcome, _ = compared(
            arms, metric="throughput", trace="poisson.json", rate_rps=900.0, draws=4
        )
        assert outcome.challengers[0].verdict is Verdict.WORSE
        assert re.match(r"B answers 4\d\.\d % \(4\S+ %\) fewer requests", sentences(outcome)[0])

    def test_every_arm_is_compared_with_the_first_at_a_level_that_they_share(self):
        arm = SimulatedArm(STEADY)
        outcome, _ = compared({"a": arm, "b": slower(arm, 1.4), "c": slower(arm, 0.7)}, draws=4)
        assert [c.verdict for c in outcome.challengers] == [Verdict.WORSE, Verdict.BETTER]
        assert outcome.level == 0.025
        assert len(sentences(outcome)) == 2
