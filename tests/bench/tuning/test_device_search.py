"""Searching on the device: as asked, or where simulation turned out to be wrong."""

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from batching import VirtualClock
from batching.models import RooflineModel
from bench.errors import InputError
from bench.profiling.service_times import ExactSource
from bench.settings import (
    BatcherSettings,
    ModelSettings,
    ReplaySettings,
    Settings,
    SloSettings,
)
from bench.tuning.budget import Budget, Plan, plan_of
from bench.tuning.device.metric import DeviceMetric
from bench.tuning.device.prediction_check import distrust
from bench.tuning.device.race import Measured, Race
from bench.tuning.device.search import DeviceSearch
from bench.tuning.device.stage import searchable
from bench.tuning.device.verification import Verification
from bench.tuning.record import record_of
from bench.tuning.request import Question
from bench.tuning.search.objectives import (
    CapacityWithin,
    DeviceTime,
    Goodput,
    Latency,
    Statistic,
)
from bench.tuning.search.sampler import Tuner
from bench.tuning.search.storage import open_storage, open_study
from bench.tuning.tune import Request, carry_out, read_request
from results.tuning.conclusion import conclusion
from results.tuning.recommended_toml import recommendation
from tests.bench.stand_in import StandIn
from tests.bench.tuning.tuned import (
    MS,
    QUICK,
    p99,
    roofline,
    traffic,
)

pytestmark = pytest.mark.long

QUIET = Console(quiet=True)


class Counted:
    """Time that passes by so much with each look at it."""

    def __init__(self, budget_s, each_s=1.0):
        self.left = budget_s
        self.each_s = each_s

    def __call__(self):
        self.left -= self.each_s
        return self.left


def search_on(device, tmp_path, *, objective=None, limit=None, draws=2, budget_s=400.0, **asked):
    source = roofline()
    objective = objective or Latency(limit=limit)
    question = Question(limit=limit)
    space = question.space(source, objective)
    study = open_study(
        open_storage(tmp_path, None), "search", maximise=objective.maximise, identity={}
    )
    references = question.references(source)
    first = [references["no delay"], references["default"]]
    tuner = Tuner(
        study,
        space,
        objective,
        trials=12,
        first=[knobs for settings in first if (knobs := space.knobs_of(settings)) is not None],
        ridge=2,
        startup=2,
    )
    left = Counted(budget_s)
    return DeviceSearch(
        tuner=tuner,
        space=space,
        device_metric=DeviceMetric(objective, Statistic(), limit),
        draws=traffic(source, duration=0.6).draws(0, draws),
        settings=Settings(),
        runner=device,
        folder=tmp_path / "search",
        left_s=left,
        overhead_s=1.0,
        **asked,
    )


def test_a_search_on_the_device_finds_what_the_device_is_best_at(tmp_path):
    limit = p99(30)
    device = StandIn(source=roofline())
    search = search_on(device, tmp_path, objective=DeviceTime(limit), limit=limit)
    finished = search.run()
    best = search.tuner.best
    plain, default = finished[0], finished[1]
    assert best.score.value < 0.5 * plain.score.value
    assert best.metrics.p99_s <= 0.030
    assert best.knobs["batch_timeout_ms"] > 5.0
    assert default.metrics.device_s_per_request > 0.0


def test_the_settings_to_be_beaten_are_tried_first_and_every_trial_meets_the_same_draws(tmp_path):
    device = StandIn(source=roofline())
    search = search_on(device, tmp_path)
    finished = search.run()
    assert finished[0].knobs["batch_timeout_ms"] == 0.0
    assert finished[1].knobs == {"max_batch_size": 32, "batch_timeout_ms": 10.0}
    assert len({sha for _, sha in device.runs}) == 2


def test_the_second_draw_runs_a_block_in_the_reverse_of_the_first(tmp_path):
    device = StandIn(source=roofline())
    search = search_on(device, tmp_path, objective=Goodput(p99(1000)), budget_s=20.0)
    search.run()
    first, second = device.runs[:4], device.runs[4:8]
    assert [name for name, _ in first] == [name for name, _ in reversed(second)]
    assert len({sha for _, sha in first}) == 1


def test_losers_are_ended_in_the_midst_of_a_run_and_are_told_as_worse_than_the_best(tmp_path):
    device = StandIn(source=roofline())
    search = search_on(device, tmp_path)
    finished = search.run()
    ended = [trial for trial in finished if trial.metrics.ended is not None]
    assert ended
    assert len(device.runs) < 2 * len(finished)
    best = search.tuner.best
    assert best.metrics.ended is None
    assert all(trial.score.value >= best.score.value for trial in ended)


def test_what_misses_the_slo_violates_it_by_a_bound_that_the_truth_is_beyond(tmp_path):
    limit = p99(14)
    search = search_on(
        StandIn(source=roofline()), tmp_path, objective=DeviceTime(limit), limit=limit
    )
    for trial in search.run():
        if trial.metrics.ended == "misses the SLO":
            assert trial.score.violations["slo"] > 0.0
            break
    else:
        pytest.fail("a timeout of 10 ms and a batch of 4 ms must miss 14 ms")


def test_a_search_ends_when_its_time_does(tmp_path):
    device = StandIn(source=roofline())
    search = search_on(device, tmp_path, draws=1)
    search.left_s = Counted(12.0, each_s=4.0)  # room for four runs, then for two, then for none
    assert 0 < len(search.run()) <= 6


def test_a_search_that_was_cut_off_goes_on_with_what_was_in_hand(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        search_on(StandIn(source=roofline(), fail_after=5), tmp_path, draws=1).run()
    device = StandIn(source=roofline())
    finished = search_on(device, tmp_path, draws=1).run()
    knobs = [json.dumps(trial.knobs) for trial in finished]
    assert len(set(knobs)) == len(knobs)
    assert finished[0].knobs["batch_timeout_ms"] == 0.0
    whole = StandIn(source=roofline())
    (tmp_path / "again").mkdir()
    undisturbed = search_on(whole, tmp_path / "again", draws=1).run()
    assert {json.dumps(trial.knobs) for trial in undisturbed[:6]} <= set(knobs)


@pytest.mark.parametrize(
    ("budget_s", "overhead_s", "draws", "why"),
    [
        (600.0, 2.5, 2, "ten seconds for each of two runs"),
        (120.0, 2.5, 1, "four seconds a trial are one run"),
        (60.0, 2.5, 1, "fewer trials, but no shorter draws"),
    ],
)
def test_a_trial_meets_two_draws_where_there_is_time(budget_s, overhead_s, draws, why):
    plan = Plan.of(budget_s, overhead_s, 60.0)
    assert plan.draws == draws, why
    assert plan.window_s >= 2.0


# The whole of it.


def request(**asked):
    settings = Settings(
        slo=SloSettings(slo=("p99<=30ms",)),
        model=ModelSettings(model="roofline:0.5,4,0.25"),
        replay=ReplaySettings(trace="poisson.json", utilization=0.3, duration=0.5),
    )
    usual = {"settings": settings, "trials": 8, "patience": 8, "budget_s": 400.0}
    return Request(**{**usual, "objective": "latency", "simulate": False, **asked})


def tuned(folder, device, **asked):
    folder.mkdir(exist_ok=True)
    return carry_out(
        request(**asked), folder, VirtualClock(), QUIET, effort=QUICK, make_runner=lambda _: device
    )


def test_without_simulation_the_best_that_was_measured_is_raced_and_recommended(tmp_path):
    result = tuned(tmp_path, StandIn(source=roofline()))
    assert result.findings.measured
    assert result.met
    assert result.verified.predicted == {}
    assert result.recommended["batch_timeout_ms"] == 0.0
    record = record_of(result)
    assert "measured" in record.sentence
    assert list(conclusion(record))
    assert json.loads(record.as_json())["searched"] == "on the device"
    known = tomllib.loads(recommendation(record))["recommendation"]
    assert known["basis"] == "measured"
    resumed = StandIn(source=roofline())
    again = carry_out(
        read_request(tmp_path),
        tmp_path,
        VirtualClock(),
        QUIET,
        effort=QUICK,
        make_runner=lambda _: resumed,
    )
    assert resumed.runs == []
    assert again.recommended == result.recommended


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"objective": "capacity"}, "a capacity takes many loads"),
        ({"objective": None}, "a capacity takes many loads"),
        ({"race": False}, "must be left out"),
        ({"objective": "energy", "simulate": True, "race": False}, "energy must be measured"),
    ],
)
def test_what_the_device_cannot_be_asked_is_refused(asked, said):
    with pytest.raises(InputError, match=said):
        request(**asked).question()


def test_energy_is_refused_where_nothing_counts_it(tmp_path):
    with pytest.raises(InputError, match=r"on a GPU with an energy counter \(NVML\), but got"):
        tuned(tmp_path, StandIn(), objective="energy", simulate=True)


def test_energy_is_judged_by_the_counter_and_simulated_by_device_time(tmp_path):
    question = Question(objective="energy", limit=p99(30))
    device_metric = DeviceMetric(question.asked, Statistic(), question.limit)
    assert next(iter(question.goals.values())).name == "energy"
    assert (device_metric.label, device_metric.unit) == ("energy a request", "j")
    source = roofline()
    device = StandIn(source=source)
    [draw] = traffic(source, duration=1.0).draws(0, 1)
    from bench.live.arms import Arm

    run = device(Arm("a", Settings()), draw, tmp_path / "run")
    assert device_metric.of(run).value is None  # nothing counted it
    counted = run.metrics.device.model_copy(update={"energy_j_per_request": 0.25})
    metrics = run.metrics.model_copy(update={"device": counted})
    measured = replace(run, record=run.record.model_copy(update={"metrics": metrics}))
    assert device_metric.of(measured).value == pytest.approx(0.25)


# Where simulation is wrong.


def race_of(**values):
    race = Race(list(values), 4, drop=False)
    while (run := race.ask()) is not None:
        noise = np.random.default_rng(run.draw).normal(1.0, 0.01)
        race.tell(run, Measured(values[run.arm] * noise))
    return race


@pytest.mark.parametrize(
    ("predicted", "measured", "doubted", "why"),
    [
        ((1.0, 2.0), (1.0, 2.0), False, "it was right"),
        ((1.0, 2.0), (1.5, 3.0), False, "a slower machine ranks alike"),
        ((1.0, 2.0), (1.0, 2.9), False, "off by 45 %, but the order was clear"),
        ((1.0, 1.2), (1.2, 1.0), True, "the order is the other way round"),
        ((1.0, 1.01), (1.01, 1.0), False, "ties have no order"),
        ((1.0, 1.1), (1.0, 1.7), True, "the error is larger than the gap"),
    ],
)
def test_a_ranking_is_doubted_when_the_race_contradicts_it(predicted, measured, doubted, why):
    race = race_of(first=measured[0], other=measured[1])
    names = dict(zip(("first", "other"), predicted, strict=True))
    assert bool(distrust(race, names, "first", maximise=False)) is doubted, why


def test_what_scatters_too_much_to_be_sure_is_no_reason_for_doubt():
    race = Race(["first", "other"], 3, drop=False)
    scattered = iter([3.0, 1.0, 0.4, 1.0, 1.5, 1.0])
    while (run := race.ask()) is not None:
        race.tell(run, Measured(next(scattered)))
    assert distrust(race, {"first": 1.0, "other": 1.3}, "first", maximise=False) == ""


class Slowed(RooflineModel):
    """A device that batches of more than 8 take five times as long on as the profile knew."""

    def batch_s(self, size):
        return super().batch_s(size) * (5.0 if size > 8 else 1.0)


def test_where_the_race_contradicts_simulation_the_search_goes_on_on_the_device(tmp_path):
    device = StandIn(source=ExactSource(Slowed(0.5 * MS, 4 * MS, 0.25 * MS, VirtualClock())))
    arms = {
        "recommended": BatcherSettings(max_batch_size=32, batch_timeout_ms=0.0),
        "no delay": BatcherSettings(max_batch_size=16, batch_timeout_ms=0.0),
        "default": BatcherSettings(max_batch_size=8, batch_timeout_ms=4.0),
    }
    explored = []

    def explore(runner, seconds):
        explored.append(seconds)
        return [BatcherSettings(max_batch_size=8, batch_timeout_ms=0.0)]

    source = roofline()
    found = Verification(
        arms=arms,
        settings=Settings(),
        device_metric=DeviceMetric(Latency(), Statistic(), None),
        traffic=traffic(source, utilization=0.5, duration=1.0),
        source=source,
        folder=tmp_path,
        budget_s=900.0,
        first=20,
        make_runner=lambda _: device,
        explore=explore,
    ).run()
    assert "was predicted to have" in found.distrust
    assert len(explored) == 1
    assert found.winner == "found on device"
    assert found.found["found on device"].settings["max_batch_size"] == 8
    assert found.found["found on device"].metrics.p99_s > 0.0
    assert found.measured["found on device"].stage == "confirm"


def test_in_place_of_a_capacity_the_device_is_searched_for_the_least_latency_at_one_load():
    limit = p99(30)
    assert searchable(CapacityWithin(limit)) == Latency(Statistic(0.99), limit)
    assert searchable(DeviceTime(limit)) == DeviceTime(limit)


def test_a_budget_that_is_spent_by_then_is_said_to_be():
    clock = iter([0.0, 0.0, 40.0, 130.0]).__next__
    budget = Budget(100.0, clock)
    assert budget.left_s == 100.0
    assert budget.share_left == 0.6
    assert budget.left_s == -30.0


def test_it_is_said_before_anything_slow_how_long_it_will_take():
    said = plan_of(300.0, profile_s=20.0, simulate=True, race=True)
    assert said.startswith("this takes 300 s at most (--budget): profile 20.0 s, simulation")
    assert "on the device" in plan_of(300.0, profile_s=0.0, simulate=False, race=True)
