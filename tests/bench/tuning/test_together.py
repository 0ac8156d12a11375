"""Several workers on one study: who gets what, and what becomes of the trials of those who die."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import optuna
import psutil
import pytest

from bench.settings import BatcherSettings
from bench.tuning.search import storage
from bench.tuning.search.objectives import Latency, Score
from bench.tuning.search.space import Choice, Space
from bench.tuning.search.storage import open_study
from bench.tuning.sharing import WORKER, Observer, Team, is_gone, team_on, this_worker
from bench.tuning.teamwork import SharedTuner, work
from tests.bench import postgres
from tests.bench.tuning.test_search import SPACE, bowl

pytestmark = pytest.mark.long

open_database = storage.open_database
ROOT = Path(__file__).resolve().parents[3]
TRIALS = 14
ELSEWHERE = {"host": "elsewhere", "pid": 1, "started": 0.0, "pid_space": "another"}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/trials.db"


@pytest.fixture(autouse=True)
def connections(monkeypatch):
    """One for each database, closed at the end: to check the tables each time takes long."""
    opened = {}

    def remembered(url):
        if url not in opened:
            opened[url] = storage.open_database(url)
        return opened[url]

    monkeypatch.setitem(globals(), "open_database", remembered)
    yield
    for one in opened.values():
        storage.let_go(one)


class Time:
    """A clock that is set."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def shared(url, *, now=None, trials=TRIALS, patience=TRIALS, space=SPACE):
    """One worker's tuner, which knows of others only what is in the database."""
    storage = open_database(url)
    study = open_study(storage, "shared", maximise=False, identity={"of": "bowl"}, alone=False)
    team = team_on(storage, "shared")
    if now is not None:
        team = Team(team.turn, Observer(60.0, now))
    return SharedTuner(study, space, Latency(), team, trials=trials, patience=patience)


def tell(tuner, proposal):
    tuner.tell(proposal, bowl(proposal.knobs), {})


def moved_elsewhere(tuner, proposal):
    """As if the worker were on another machine, where nobody can see whether it still runs."""
    tuner._asked[proposal.number].set_user_attr(WORKER, ELSEWHERE)


def trials_in(url, state=None):
    study = optuna.load_study(study_name="shared", storage=open_database(url))
    return [one for one in study.get_trials() if state in (None, one.state.name)]


def settings_in(url):
    """How often each setting was finished."""
    done = trials_in(url, "COMPLETE")
    return Counter(json.dumps(trial.user_attrs["knobs"], sort_keys=True) for trial in done)


def test_workers_share_the_trials_and_no_setting_is_tried_twice(url):
    one, other = shared(url), shared(url)
    while proposals := [(w, p) for w in (one, other) if (p := w.ask()) is not None]:
        for worker, proposal in proposals:
            tell(worker, proposal)
    assert one.told == other.told == TRIALS / 2
    assert set(settings_in(url).values()) == {1}
    assert len(settings_in(url)) == TRIALS
    other.ask()
    assert one.best == other.best


def test_no_more_trials_are_begun_than_there_are_to_be(url):
    one, other = shared(url, trials=3), shared(url, trials=3)
    taken = [one.ask(), other.ask(), one.ask()]
    assert None not in taken
    assert other.ask() is None
    assert other.others == 2
    tell(one, taken[0])
    assert other.ask() is None


def test_who_has_nothing_to_do_waits_until_the_others_are_done(url):
    one, other = shared(url, trials=3), shared(url, trials=3)
    held = one.ask()
    waited = []

    def pause(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            tell(one, held)

    work(other, lambda knobs: (bowl(knobs), {}), pause=pause)
    assert len(waited) == 3
    assert other.told == 2
    assert len(other.finished) == 3


def test_the_trial_of_a_lost_worker_is_taken_up_again_once_its_lease_has_run_out(url):
    time = Time()
    one, other = shared(url), shared(url, now=time)
    lost = one.ask()
    moved_elsewhere(one, lost)
    tell(other, other.ask())
    time.now_s = 60.0
    tell(other, other.ask())  # silent for a minute, and no longer
    assert trials_in(url)[lost.number].state.name == "RUNNING"
    time.now_s = 60.5
    work(other, lambda knobs: (bowl(knobs), {}))
    assert trials_in(url)[lost.number].state.name == "FAIL"
    assert settings_in(url)[json.dumps(lost.knobs, sort_keys=True)] == 1
    assert len(settings_in(url)) == TRIALS


def test_a_worker_that_beats_keeps_its_trial_however_long_it_takes(url):
    time = Time()
    one, other = shared(url), shared(url, now=time)
    held = one.ask()
    for beat in range(5):
        beats = {**ELSEWHERE, "beat": beat}
        one._asked[held.number].set_user_attr(WORKER, beats)
        time.now_s += 50.0
        tell(other, other.ask())
    tell(one, held)
    assert one.told == 1
    assert settings_in(url)[json.dumps(held.knobs, sort_keys=True)] == 1


def test_a_worker_that_was_silent_too_long_is_not_heard_any_more(url):
    time = Time()
    one, other = shared(url), shared(url, now=time)
    held = one.ask()
    moved_elsewhere(one, held)
    tell(other, other.ask())
    time.now_s = 61.0
    work(other, lambda knobs: (bowl(knobs), {}))
    one.tell(held, Score(0.0, {}), {})
    assert one.told == 0
    assert set(settings_in(url).values()) == {1}
    assert all(trial.value >= 1.0 for trial in trials_in(url, "COMPLETE"))


def test_a_trial_that_nobody_has_signed_is_taken_up_too(url):
    # Its worker died between taking it and saying who it was.
    time = Time()
    one, other = shared(url), shared(url, now=time)
    unsigned = one._study.ask()
    knobs = SPACE.suggest(unsigned)
    other.ask()
    time.now_s = 61.0
    other.ask()
    assert trials_in(url)[unsigned.number].state.name == "FAIL"
    assert [trial.system_attrs["fixed_params"] for trial in trials_in(url, "WAITING")][-1] == knobs


def test_a_setting_that_every_worker_is_lost_with_is_left_alone_in_the_end(url):
    time = Time()
    poison = {"max_batch_size": 1, "batch_timeout_ms": 0.0}
    observer = shared(url, now=time, trials=16)
    for _ in range(3):
        victim = shared(url, trials=16)
        while (held := victim.ask()).knobs != poison:
            tell(victim, held)
        moved_elsewhere(victim, held)
        observer._take_stock()
        time.now_s += 61.0
        observer._take_stock()
    work(observer, lambda knobs: (bowl(knobs), {}))
    assert json.dumps(poison) not in settings_in(url)
    assert len(settings_in(url)) == 16


def test_an_interrupted_worker_gives_its_trial_back_at_once(url):
    one, other = shared(url), shared(url)

    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(one, interrupted)
    work(other, lambda knobs: (bowl(knobs), {}))
    assert len(trials_in(url, "FAIL")) == 1
    assert len(settings_in(url)) == TRIALS


def test_a_small_space_is_tried_out_though_a_worker_with_its_last_setting_is_lost(url):
    time = Time()
    small = Space(
        BatcherSettings(), {"max_batch_size": Choice((2, 16)), "in_flight": Choice((1, 2))}
    )
    one, other = shared(url, space=small), shared(url, space=small, now=time)
    held = one.ask()
    moved_elsewhere(one, held)

    def pause(_):
        time.now_s += 61.0

    work(other, lambda _: (Score(1.0, {}), {}), pause=pause)
    assert len(settings_in(url)) == 4
    assert set(settings_in(url).values()) == {1}


def test_a_worker_beats_while_it_evaluates(url):
    storage = open_database(url)
    study = open_study(storage, "shared", maximise=False, identity={}, alone=False)
    team = Team(team_on(storage, "shared").turn, pulse_s=0.01)
    tuner = SharedTuner(study, SPACE, Latency(), team, trials=1)
    beats = set()

    def until_two_beats(knobs):
        while len(beats) < 2:
            (running,) = study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
            beats.update({running.user_attrs[WORKER].get("beat")} - {None})
        return bowl(knobs), {}

    work(tuner, until_two_beats)
    assert tuner.told == 1


def test_a_process_of_this_machine_is_known_to_be_gone_without_waiting():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    worker = {**this_worker(), "pid": child.pid}
    assert is_gone(worker)  # another process has its number: it began at another time
    worker["started"] = psutil.Process(child.pid).create_time()
    assert not is_gone(worker)
    child.kill()
    child.wait()
    assert is_gone(worker)
    child.stdin.close()


def test_of_another_machine_nothing_is_known():
    assert not is_gone(ELSEWHERE)
    assert not is_gone({**ELSEWHERE, "pid_space": ""})


TAKES_PART = """
import json, sys
from bench.tuning.teamwork import work
from tests.bench.tuning.test_together import bowl, shared

first = True

def evaluate(knobs):
    global first
    if first:
        print(json.dumps(knobs, sort_keys=True), flush=True)
        sys.stdin.readline()
        first = False
    return bowl(knobs), {}

tuner = shared(sys.argv[1])
work(tuner, evaluate)
print(tuner.told, flush=True)
"""


def worker(url):
    """A process that takes a trial, says which, and goes on when it is told to."""
    return subprocess.Popen(
        [sys.executable, "-c", TAKES_PART, url],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def server():
    with postgres.running() as url:
        yield url


def test_of_two_workers_on_one_postgresql_one_is_killed_and_the_other_does_the_rest(server):
    shared(server)  # or both would set up the tables at once
    one, other = worker(server), worker(server)
    with one, other:
        held, lost = one.stdout.readline().strip(), other.stdout.readline().strip()
        assert held != lost
        other.kill()
        assert other.wait() == -signal.SIGKILL
        one.stdin.write("\n")
        one.stdin.flush()
        assert int(one.stdout.readline()) == TRIALS
        assert one.wait() == 0
    assert settings_in(server)[held] == settings_in(server)[lost] == 1
    assert set(settings_in(server).values()) == {1}
    assert len(settings_in(server)) == TRIALS
    killed = [trial for trial in trials_in(server, "FAIL") if "repeats" not in trial.user_attrs]
    assert [json.dumps(t.user_attrs["knobs"], sort_keys=True) for t in killed] == [lost]
    assert trials_in(server, "RUNNING") == trials_in(server, "WAITING") == []
