"""What a tuning leaves for its report, and the report of a tuning from end to end."""

import json
import sys

import optuna
import pytest
from rich.console import Console

from batching import VirtualClock
from bench import cli
from bench.settings import (
    BatcherSettings,
    ModelSettings,
    ReplaySettings,
    Settings,
    SloSettings,
)
from bench.tuning import tune
from bench.tuning.device.metric import findings_of
from bench.tuning.device.race import Measured, Race
from bench.tuning.record import record_of
from bench.tuning.search.importance import FEWEST_TRIALS, importance
from bench.tuning.search.objectives import Score
from bench.tuning.search.sampler import Finished
from bench.tuning.search.space import (
    Choice,
    Space,
    Steps,
    Whole,
)
from bench.tuning.tune import Request, carry_out
from results import format as fmt
from results.run.record import Run, RunRecord
from results.run.validity import Finding
from results.tuning.figures.catalogue import Section
from results.tuning.metrics import Metrics
from results.tuning.record import RECORD, read_tuning, write_tuning
from results.tuning.report import write_report
from tests.bench.tuning.test_tune import ARMS, StandIn, verification
from tests.bench.tuning.tuned import QUICK
from tests.results.tuning.test_report import text_of

pytestmark = pytest.mark.long

SPACE = Space(
    BatcherSettings(),
    {
        "policy": Choice(("timeout", "deadline")),
        "max_batch_size": Whole(1, 128, log=True),
        "batch_timeout_ms": Steps(0.0, 20.0, 0.5),
    },
)


def trials(score, count=60):
    """Settings drawn at random, the knobs that a policy has no use for left out."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    drawn = [SPACE.suggest(study.ask()) for _ in range(count)]
    return [Finished(i, knobs, score(knobs), Metrics()) for i, knobs in enumerate(drawn)]


def request(**asked):
    settings = Settings(
        slo=SloSettings(slo=("p99<=30ms",)),
        model=ModelSettings(model="roofline:0.5,4,0.25"),
        replay=ReplaySettings(trace="poisson.json", utilization=0.3, duration=2.0),
    )
    usual = {"objective": "device-time", "trials": 16, "patience": 16, "race": False}
    return Request(settings=settings, **{**usual, **asked})


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A simulated tuning from end to end, and its folder with tune.json and report."""
    folder = tmp_path_factory.mktemp("tuned")
    result = carry_out(request(), folder, VirtualClock(), Console(quiet=True), effort=QUICK)
    record = record_of(result, "dynbatch tune --model roofline:0.5,4,0.25")
    write_report(write_tuning(folder, record))
    return result, folder


def test_the_page_states_the_recommendation_and_the_numbers_of_tune_json(tuned):
    _, folder = tuned
    told = json.loads((folder / RECORD).read_text())
    text = text_of((folder / "report.html").read_text(encoding="utf-8"))
    assert f"{told['sentence'][:1].upper()}{told['sentence'][1:]}" in text
    best = told["goals"]["cheapest"]["best"]
    assert told["recommended"] == best["settings"]
    known = [*told["references"].values(), *(goal["best"] for goal in told["goals"].values())]
    for judged in {one["label"]: one for one in reversed(known)}.values():
        metrics = judged["metrics"]
        assert (
            f"{judged['label']} {fmt.duration(metrics['p99_s'])} "
            f"{fmt.duration(metrics['device_s_per_request'])} "
            f"{fmt.number(metrics['mean_batch_size'])} {fmt.rate(judged['capacity_rps'])}"
        ) in text
    for metrics in (case["metrics"] for case in told["cases"]):
        assert f"{fmt.rate(metrics['offered_rps'])} {fmt.duration(metrics['p99_s'])}" in text


def test_every_trial_is_kept_with_what_came_of_it(tuned):
    result, folder = tuned
    record = read_tuning(folder).record
    for name, goal in result.findings.goals.items():
        kept = record.goals[name].history
        assert [trial.knobs for trial in kept] == [trial.knobs for trial in goal.trials]
        assert [trial.feasible for trial in kept] == [t.score.feasible for t in goal.trials]
        assert [trial.metrics.p99_s for trial in kept] == [t.metrics.p99_s for t in goal.trials]


def test_every_named_setting_has_a_capacity_and_the_best_of_them_has_the_most(tuned):
    result, folder = tuned
    record = read_tuning(folder).record
    named = {name: goal.best for name, goal in record.goals.items()} | record.references
    capacities = {name: judged.capacity_rps for name, judged in named.items()}
    assert set(capacities) == {*result.findings.goals, "no delay", "default", "window"}
    assert max(capacities.values()) <= capacities["most capacity"] * 1.02


@pytest.fixture
def drawn_quickly(monkeypatch):
    """Pages without the work of drawing."""
    monkeypatch.setattr(Section, "save", lambda self, record, path: path.write_bytes(b"\x89PNG"))


def test_a_report_is_drawn_again_from_its_folder_alone(
    tuned, tmp_path, monkeypatch, capsys, drawn_quickly
):
    _, folder = tuned
    (tmp_path / RECORD).write_bytes((folder / RECORD).read_bytes())
    (tmp_path / "request.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["dynbatch", "report", str(tmp_path)])
    assert cli.run() == 0
    said = capsys.readouterr().out
    assert json.loads((folder / RECORD).read_text())["sentence"] in " ".join(said.split())
    assert "report.html" in said
    assert (tmp_path / "report.html").read_text() != ""
    (tmp_path / RECORD).unlink()
    assert cli.run() == 2
    assert "dynbatch tune --resume" in capsys.readouterr().err


def test_the_command_writes_the_report_and_says_where(tmp_path, monkeypatch, capsys, drawn_quickly):
    monkeypatch.setattr(tune, "SimulationBudget", lambda: QUICK)
    arguments = "tune --model affine:2,0.1 --trace poisson.json --rate 200 --duration 2 --no-race"
    out = tmp_path / "out"
    monkeypatch.setattr(
        sys, "argv", ["dynbatch", *arguments.split(), "--trials", "8", "--out", str(out)]
    )
    assert cli.run() == 0
    assert f"report: {out / 'report.html'}" in capsys.readouterr().out.replace("\n", "")
    assert (out / "figures" / "front.png").exists()


def test_a_knob_that_decides_matters_more_than_one_that_does_not():
    shares = importance(
        trials(lambda knobs: Score(float(knobs["max_batch_size"]), {})), SPACE, maximise=False
    )
    assert shares["max_batch_size"] > 0.6
    assert sum(shares.values()) == pytest.approx(1.0)
    assert set(shares) == set(SPACE.ranges)


def test_importance_goes_by_rank_so_a_violation_is_worse_than_any_value():
    def score(knobs):
        late = knobs["policy"] == "deadline"
        return Score(0.0 if late else 1.0 + knobs["max_batch_size"] / 1e6, {"slo": 0.1 * late})

    shares = importance(trials(score), SPACE, maximise=False)
    assert shares["policy"] > 0.0
    assert importance(trials(lambda _: Score(1.0, {})), SPACE, maximise=False) is None
    assert importance(trials(score, FEWEST_TRIALS - 1), SPACE, maximise=False) is None


def test_why_an_arm_was_dropped_is_told_in_words():
    race = Race(["good", "slow", "late", "silent"], 4)
    while (run := race.ask()) is not None:
        told = {
            "good": Measured(1.0 + 0.01 * run.draw),
            "slow": Measured(1.5 + 0.01 * run.draw),
            "late": Measured(1.0, 0.5 + 0.01 * run.draw),
            "silent": Measured(None, 0.0),
        }
        race.tell(run, told[run.arm])
    assert race.reasons == {
        "slow": "surely worse than good, x 1.50 of its value",
        "late": "surely misses the SLO",
        "silent": "left requests unanswered in 3 draws",
    }


def test_what_runs_measured_is_kept_by_arm(tmp_path):
    found = verification(tmp_path, StandIn(), ARMS).run()
    assert set(found.measured) == set(ARMS)
    winner = found.measured["recommended"]
    assert (winner.stage, winner.runs) == ("confirm", found.confirmation.draws)
    p99_s = winner.metrics["p99_s"]
    assert p99_s.value == pytest.approx(found.confirmation.value)
    assert p99_s.low < p99_s.value < p99_s.high
    runs = [Run.load(path) for path in sorted(tmp_path.glob("confirm/*/recommended"))]
    assert winner.not_valid == sum(bool(run.record.findings) for run in runs)
    busy_s = [run.metrics.device.busy_s_per_request for run in runs]
    assert min(busy_s) < winner.metrics["device_s_per_request"].value < max(busy_s)


def test_runs_that_are_not_valid_are_counted_with_their_remedy():
    slip = Finding(code="slip_over_budget", message="sent late", remedy="Be quiet.")
    few = Finding(code="too_few_requests", message="too few", remedy="Run longer.")
    runs = [
        RunRecord(id="a", window_s=1.0, findings=findings)
        for findings in ((slip,), (few, slip), ())
    ]
    told = findings_of(runs)
    assert [(one.code, one.runs, one.of) for one in told] == [
        ("slip_over_budget", 2, 3), ("too_few_requests", 1, 3),
    ]  # fmt: skip
    assert told[0].remedy == "Be quiet."
    assert "--budget" in told[1].remedy  # the length of a draw is the tuning's to decide
