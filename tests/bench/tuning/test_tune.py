"""A tuning from its question to its recommendation, in simulation and against a stand-in device."""

import io
import json
import re
import tomllib
from dataclasses import replace

import optuna
import pytest
from rich.console import Console

from batching import VirtualClock
from bench.errors import InputError
from bench.settings import (
    BatcherSettings,
    ModelSettings,
    ReplaySettings,
    Settings,
    SloSettings,
    load_settings,
)
from bench.tuning.budget import affordable_window_s, runs_planned
from bench.tuning.device.metric import DeviceMetric
from bench.tuning.device.verification import Verification
from bench.tuning.record import record_of
from bench.tuning.request import Question
from bench.tuning.search.objectives import DeviceTime, Latency, Statistic
from bench.tuning.search.storage import open_storage
from bench.tuning.simulated.search import SimulatedSearch
from bench.tuning.tune import Request, carry_out, read_request
from results.errors import InvalidInputError
from results.tuning.conclusion import conclusion
from results.tuning.recommended_toml import write_recommendation
from results.tuning.wording import settings_table
from tests.bench.stand_in import StandIn
from tests.bench.tuning.tuned import (
    QUICK,
    affine,
    p99,
    roofline,
    traffic,
)

pytestmark = pytest.mark.long

QUIET = Console(quiet=True)


def searched(source=None, *, arrivals=None, storage=None, left=lambda: 1.0, **asked):
    source = source or roofline()
    question = Question(**{"trials": 40, "patience": 20, **asked})
    return SimulatedSearch(
        question,
        source,
        arrivals or traffic(source),
        storage or optuna.storages.InMemoryStorage(),
        "test",
        effort=QUICK,
        left=left,
    ).run()


def request(*, slo=(), **asked):
    settings = Settings(
        slo=SloSettings(slo=slo),
        model=ModelSettings(model="roofline:0.5,4,0.25"),
        replay=ReplaySettings(trace="poisson.json", utilization=0.3, duration=2.0),
    )
    usual = {"settings": settings, "trials": 30, "patience": 15, "race": False}
    return Request(**{**usual, **asked})


def tuned(tmp_path, **asked):
    tmp_path.mkdir(exist_ok=True)
    return carry_out(request(**asked), tmp_path, VirtualClock(), QUIET, effort=QUICK)


def trials_in(folder):
    storage = open_storage(folder, None)
    return [summary.n_trials for summary in optuna.get_all_study_summaries(storage)]


def test_waiting_buys_device_time_and_the_slo_says_how_much():
    found = searched(objective="device-time", limit=p99(30))
    cheapest = found.goals["cheapest"].chosen
    plain = found.references["no delay"]
    assert cheapest.settings.batch_timeout_ms > 10.0
    assert cheapest.metrics.p99_s <= 0.030
    assert cheapest.metrics.device_s_per_request < 0.4 * plain.metrics.device_s_per_request


def test_no_setting_is_much_faster_than_not_waiting_at_all():
    found = searched()
    fastest, plain = found.goals["fastest"].chosen, found.references["no delay"]
    assert fastest.score.value == pytest.approx(plain.score.value, rel=0.03)
    assert fastest.settings.batch_timeout_ms == 0.0


def test_the_front_runs_from_fast_to_cheap_and_nothing_beats_the_bound():
    found = searched(limit=p99(30))
    latency_s = [trial.metrics.p99_s for trial in found.front]
    device_s = [trial.metrics.device_s_per_request for trial in found.front]
    assert latency_s == sorted(latency_s)
    assert device_s == sorted(device_s, reverse=True)
    assert found.bound["latency_s"] <= latency_s[0]
    assert found.asked.chosen.score.value <= found.bound["capacity_rps"]


def test_a_setting_carries_its_load_with_a_fifth_less_and_a_fifth_more():
    found = searched()
    less, more = found.cases[:2]
    assert (less.case, more.case) == ("load x 0.8", "load x 1.2")
    assert less.metrics.offered_rps == pytest.approx(0.8 * found.load["offered_rps"])
    assert more.metrics.p99_s is not None


def test_when_every_setting_is_equally_good_it_says_so(tmp_path):
    # T does not depend on the batch, and one request at a time is served long before the next.
    result = tuned(
        tmp_path,
        settings=Settings(
            model=ModelSettings(model="affine:1,0"),
            replay=ReplaySettings(trace="steady.json", rate=20.0, duration=4.0),
        ),
        current=BatcherSettings(max_batch_size=8, batch_timeout_ms=0.0),
    )
    assert result.keeps == "current"
    assert record_of(result).sentence.startswith("no measurable gain: keep the current setting")


def test_an_slo_that_nothing_meets_gives_what_comes_nearest_and_by_how_much(tmp_path):
    result = tuned(tmp_path, slo=("p99<=3ms",))  # a lone request takes 4.5 ms
    assert not result.met
    record = record_of(result)
    assert "no setting meets p99 <= 3 ms" in record.sentence
    assert "over" in record.sentence
    assert "too late" in record.sentence
    rows = [row[0].split(", ") for row in settings_table(record, brief=True).rows]
    assert rows[0] == ["nearest", "fastest", "no delay"]  # no setting is there twice
    assert rows[1:] == [["default"], ["window"]]  # and none is the cheapest, or of most capacity
    (tmp_path / "recommended.toml").write_text("of an earlier part of the tuning")
    assert write_recommendation(tmp_path, record) is None
    assert not (tmp_path / "recommended.toml").exists()


def test_what_was_found_goes_into_a_config_file_that_a_run_takes(tmp_path):
    result = tuned(tmp_path, slo=("p99<=30ms",), objective="device-time", trials=50, patience=40)
    record = record_of(result)
    settings = load_settings(write_recommendation(tmp_path, record), {})
    assert settings.batcher.model_dump(mode="json") == result.recommended
    assert settings.model.model == "roofline:0.5,4,0.25"
    assert settings.replay.rate == pytest.approx(result.findings.load["rate_rps"])
    assert json.loads(record.as_json())["met"] is True
    assert next(conclusion(record)).startswith("use timeout")


def test_a_tuning_that_is_resumed_tries_nothing_again_and_finds_the_same(tmp_path):
    first = tuned(tmp_path)
    tried = trials_in(tmp_path)
    again = carry_out(read_request(tmp_path), tmp_path, VirtualClock(), QUIET, effort=QUICK)
    assert again.recommended == first.recommended
    assert trials_in(tmp_path) == tried


def test_resuming_with_another_trace_is_refused(tmp_path):
    tuned(tmp_path)
    other = request()
    replay = other.settings.replay.model_copy(update={"utilization": 0.5})
    changed = other.settings.model_copy(update={"replay": replay})
    with pytest.raises(InputError, match="load was"):
        tuned(tmp_path, settings=changed)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"slo": ("p99<=30ms", "p50<=3ms")}, "single"),
        ({"slo": ("rejected<=1%",)}, "must be one of mean, p50, p90, p95, p99, p99.9, but got"),
        ({"objective": "device-time"}, "with an SLO"),
        ({"percentile": "98"}, "percentile must be one of"),
        ({"trials": 0}, "trials must be >= 1"),
        ({"race": True, "budget_s": 30.0}, "budget must be at least"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(asked, said):
    with pytest.raises((InputError, InvalidInputError), match=said):
        request(**asked).question()


def test_a_folder_without_a_tuning_cannot_be_resumed(tmp_path):
    with pytest.raises(InputError, match="must name the folder of a tuning"):
        read_request(tmp_path)


# The device, with simulated runs in place of measured ones.


def verification(tmp_path, device, arms, *, objective=None, limit=None, base_ms=5.0):
    source = affine(base_ms)
    return Verification(
        arms=arms,
        settings=Settings(),
        device_metric=DeviceMetric(objective or Latency(), Statistic(), limit),
        traffic=traffic(source, utilization=0.3, duration=1.0),
        source=source,
        folder=tmp_path,
        budget_s=600.0,
        first=20,
        make_runner=lambda _: device,
    )


ARMS = {
    "recommended": BatcherSettings(max_batch_size=64, batch_timeout_ms=0.0),
    "default": BatcherSettings(max_batch_size=32, batch_timeout_ms=10.0),
    "current": BatcherSettings(max_batch_size=32, batch_timeout_ms=30.0),
}


def test_the_winner_is_confirmed_against_the_default_and_the_current_on_fresh_draws(tmp_path):
    device = StandIn()
    found = verification(tmp_path, device, ARMS).run()
    assert found.winner == "recommended"
    assert [gain.over for gain in found.gains] == ["default", "current"]
    assert all(gain.verdict == "better" for gain in found.gains)
    assert all(gain.high < 1.0 for gain in found.gains)
    raced = {sha for _, sha in device.runs[: sum(arm.draws for arm in found.race.values())]}
    confirmed = {sha for _, sha in device.runs} - raced
    assert len(confirmed) == found.gains[0].draws


def test_what_was_measured_is_compared_with_what_was_predicted_of_the_same_arrivals(tmp_path):
    found = verification(tmp_path, StandIn(), ARMS).run()
    for name, told in found.race.items():
        assert found.predicted[name] == pytest.approx(told.value)
    assert not found.remarks or "requests only" in found.remarks[0]


def test_a_prediction_that_ranks_wrongly_is_said_not_to_be_trusted(tmp_path):
    found = verification(tmp_path, StandIn(base_ms=15.0), ARMS).run()
    assert any("settings that were not raced may be better" in text for text in found.remarks)


def test_an_interrupted_race_goes_on_without_repeating_a_run(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        verification(tmp_path, StandIn(fail_after=5), ARMS).run()
    device = StandIn()
    found = verification(tmp_path, device, ARMS).run()
    whole = StandIn()
    undisturbed = verification(tmp_path / "again", whole, ARMS).run()
    assert len(device.runs) == len(whole.runs) - 5
    assert found.race == undisturbed.race
    assert found.measured == undisturbed.measured


def test_the_cheapest_setting_does_not_win_if_it_misses_the_slo(tmp_path):
    limit = p99(20)
    found = verification(tmp_path, StandIn(), ARMS, objective=DeviceTime(limit), limit=limit).run()
    assert found.winner == "default"


def test_a_budget_that_holds_no_race_says_what_would():
    assert affordable_window_s(600.0, 5) > affordable_window_s(300.0, 5)
    with pytest.raises(InputError, match="budget must leave"):
        affordable_window_s(60.0, 5)


def test_an_slo_that_is_met_in_simulation_only_is_not_met(tmp_path):
    simulated = tuned(tmp_path / "tune", slo=("p99<=30ms",))
    limit = p99(12)  # batches of the device take 15 ms and more
    verified = verification(
        tmp_path / "device",
        StandIn(base_ms=15.0),
        {"recommended": ARMS["recommended"]},
        limit=limit,
    ).run()
    result = replace(simulated, verified=verified)
    assert verified.winner is None
    assert not result.met
    record = record_of(result)
    assert "no setting that was raced met p99 <= 30 ms" in record.sentence
    assert write_recommendation(tmp_path, record) is None


def test_a_confirmed_setting_is_expected_to_do_what_it_was_measured_to_do(tmp_path):
    found = verification(tmp_path, StandIn(), ARMS).run()
    for name in ("recommended", "default", "current"):
        assert found.measured[name].stage == "confirm"
        expected = found.measured[name].metrics["p99_s"]
        assert expected.low < expected.value < expected.high
    draws = found.confirmation.values["recommended"]
    metrics = found.measured["recommended"].metrics
    assert min(draws) < metrics["p99_s"].value < max(draws)
    assert "energy_j_per_request" not in metrics


def test_the_config_file_has_what_was_measured_with_intervals_and_gains(tmp_path):
    simulated = tuned(tmp_path / "tune")
    best = simulated.findings.asked.chosen.settings
    arms = {"proposed": best, "default": ARMS["default"]}
    verified = verification(tmp_path / "device", StandIn(), arms).run()
    result = replace(simulated, verified=verified)
    path = write_recommendation(tmp_path, record_of(result))
    known = tomllib.loads(path.read_text())["recommendation"]
    assert known["basis"] == "measured"
    p99_s = known["expected"]["latency_s.p99"]
    assert p99_s["low"] < p99_s["value"] < p99_s["high"]
    [gain] = known["gains"]
    assert gain["over"] == "default"
    assert gain["low"] < gain["ratio"] < gain["high"] < 1.0
    cases = {case["case"].split(" ")[0] for case in known["sensitivity"]}
    assert cases == {"load", "calmer", "burstier"}


def test_a_burstier_version_of_the_trace_is_slower_and_a_calmer_one_faster():
    source = roofline()
    arrivals = traffic(source, utilization=0.5, trace="bursty.json", duration=4.0)
    found = searched(source, arrivals=arrivals, trials=12)
    calmer, burstier = found.cases[2:]
    assert (calmer.case, burstier.case) == ("calmer", "burstier")
    as_it_is = found.asked.chosen.metrics.p99_s
    assert calmer.metrics.p99_s < as_it_is < burstier.metrics.p99_s
    assert calmer.after.gap_cv < calmer.before.gap_cv < burstier.after.gap_cv
    assert calmer.after.dispersion < burstier.before.dispersion < burstier.after.dispersion
    assert calmer.metrics.offered_rps == burstier.metrics.offered_rps


def test_a_winner_that_has_nothing_to_beat_is_measured_on_fresh_draws_all_the_same(tmp_path):
    limit = p99(40)
    found = verification(
        tmp_path, StandIn(), {"default": ARMS["default"]}, objective=DeviceTime(limit), limit=limit
    ).run()
    assert found.winner == "default"
    assert found.gains == ()
    assert found.confirmation.meets_slo is True
    assert found.confirmation.draws > 1


def test_a_race_that_is_resumed_with_less_time_has_the_draws_that_it_was_begun_with(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        verification(tmp_path, StandIn(fail_after=7), ARMS).run()
    again = verification(tmp_path, StandIn(), ARMS)
    again.traffic = traffic(affine(), utilization=0.3, duration=60.0)  # asks for longer draws
    device = again.make_runner([])
    found = again.run()
    assert found.window_s == 1.0
    assert len(device.runs) == sum(arm.draws for arm in found.race.values()) - 7 + 3 * 10


def test_a_run_of_other_settings_is_not_taken_for_one_of_these(tmp_path):
    verification(tmp_path, StandIn(), ARMS).run()
    other = {**ARMS, "current": BatcherSettings(max_batch_size=16, batch_timeout_ms=30.0)}
    device = StandIn()
    verification(tmp_path, device, other).run()
    assert {name for name, _ in device.runs} == {"current"}


def test_a_search_that_time_has_ended_stays_so_when_resumed_unless_for_more_trials():
    storage = optuna.storages.InMemoryStorage()
    share = iter([1.0] * 8 + [0.4] * 100).__next__
    first = searched(storage=storage, left=share)
    assert len(first.asked.trials) < 20
    assert "out of time" in first.remarks[0]
    again = searched(storage=storage)
    assert len(again.asked.trials) == len(first.asked.trials)
    more = searched(storage=storage, trials=41)
    assert len(more.asked.trials) > len(first.asked.trials)


def test_a_closer_look_that_time_has_ended_looks_at_a_few_and_stays_so_when_resumed():
    storage = optuna.storages.InMemoryStorage()
    shares = [1.0] * 18  # the search and the first of the closer look
    first = searched(storage=storage, trials=12, left=lambda: shares.pop() if shares else 0.0)
    whole = searched(trials=12)
    assert any("the re-evaluation for fastest ended after" in said for said in first.remarks)
    assert 2 <= len(first.asked.candidates) < len(whole.asked.candidates)
    assert first.asked.chosen is not None
    again = searched(storage=storage, trials=12)
    assert [c.settings for c in again.asked.candidates] == [
        c.settings for c in first.asked.candidates
    ]
    assert any("out of time" in said for said in again.remarks)


def test_a_race_of_two_is_planned_for_two_and_not_for_three():
    assert [runs_planned(arms) for arms in (2, 3, 4)] == [20, 30, 33]


# What is said before anything is spent.


def said_by_a_tuning(folder, device, *, budget_s=400.0, **asked):
    """What a tuning prints on the way, line by line, and its record."""
    folder.mkdir(exist_ok=True)
    text = io.StringIO()
    console = Console(file=text, width=1000)
    result = carry_out(
        request(race=True, budget_s=budget_s, trials=8, patience=8, **asked),
        folder,
        VirtualClock(),
        console,
        effort=QUICK,
        make_runner=lambda _: device,
    )
    return text.getvalue().splitlines(), record_of(result)


def short(duration_s):
    replay = ReplaySettings(trace="poisson.json", utilization=0.3, duration=duration_s)
    return request().settings.model_copy(update={"replay": replay})


@pytest.mark.parametrize("budget_s", [400.0, 180.0], ids=["room for all arms", "for some"])
def test_draws_with_too_few_requests_are_told_before_anything_is_spent(tmp_path, budget_s):
    lines, record = said_by_a_tuning(
        tmp_path, StandIn(source=roofline()), budget_s=budget_s, settings=short(0.25)
    )
    said = "too few requests per draw to judge p99: 2.., needs 459, which takes a --duration of 1"
    assert re.match(f"{said} and a --budget of [23]m for the race alone", lines[2])
    searched = next(i for i, line in enumerate(lines) if "1 of" in line or "racing" in line)
    assert searched > 2
    raced = [line for line in lines if line.startswith("too few")]
    assert len(raced) == 2  # when the race's own plan is made, once more
    assert [remark for remark in record.verified.remarks if "too few" in remark] == raced[1:]


def test_draws_with_enough_requests_are_not_remarked_on(tmp_path):
    lines, record = said_by_a_tuning(tmp_path, StandIn(source=roofline()), settings=short(1.0))
    assert not any("too few" in line for line in (*lines, *record.verified.remarks))


@pytest.mark.parametrize(
    ("statistic", "fewest"), [("p50", 7), ("p99", 459), ("p99.9", 4603), ("mean", 1)]
)
def test_how_many_requests_a_statistic_takes(statistic, fewest):
    assert Statistic.parse(statistic).fewest == fewest


def test_a_race_that_is_gone_on_with_says_what_is_there_and_not_the_plan_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        said_by_a_tuning(tmp_path, StandIn(source=roofline(), fail_after=5))
    lines, _ = said_by_a_tuning(tmp_path, StandIn(source=roofline()))
    assert lines[0] == "going on with the race: 400 s at most for what is left"
    racing = next(line for line in lines if line.startswith("racing"))
    assert racing.endswith(", 5 runs are there already")
    assert sum("at most" in line for line in [lines[0], racing]) == 1
