"""The search: what it proposes, when it ends, and that it survives being killed."""

import json
import os
import signal
import subprocess
import sys
from math import hypot, inf, log
from pathlib import Path

import optuna
import pytest

from bench.errors import InputError
from bench.settings import BatcherSettings
from bench.tuning.search.objectives import Latency, Score
from bench.tuning.search.sampler import Tuner
from bench.tuning.search.space import (
    Choice,
    Space,
    Steps,
    Whole,
)
from bench.tuning.search.storage import (
    JOURNAL,
    cut_torn_line,
    open_storage,
    open_study,
    sole_user,
    storage_in,
    without_password,
)
from results.tuning.metrics import Metrics

ROOT = Path(__file__).resolve().parents[3]
SPACE = Space(
    BatcherSettings(),
    {"max_batch_size": Whole(1, 256, log=True), "batch_timeout_ms": Steps(0.0, 50.0, 0.5)},
)


def bowl(knobs):
    """Least, 1, at batches of 24 and 11 ms; nothing below batches of 8 is allowed."""
    size, timeout_ms = knobs["max_batch_size"], knobs["batch_timeout_ms"]
    value = 1.0 + hypot(log(size / 24), (timeout_ms - 11.0) / 10.0)
    return Score(inf if size < 8 else value, {"load": log(8 / size)})


def tuner(folder=None, *, study=None, name="study", **kwargs):
    if study is None:
        storage = None if folder is None else open_storage(folder, None)
        study = open_study(storage, name, maximise=False, identity={"of": "bowl"})
    return Tuner(study, SPACE, Latency(), **{"trials": 34, "patience": 60, **kwargs})


def played(search, most=None):
    while (most is None or len(search.finished) < most) and (proposal := search.ask()):
        search.tell(
            proposal,
            bowl(proposal.knobs),
            Metrics(mean_batch_size=proposal.knobs["max_batch_size"]),
        )
    return [trial.knobs for trial in search.finished]


def test_the_search_finds_the_bottom_of_a_bowl_and_respects_the_constraint():
    search = tuner(trials=90)
    played(search)
    assert search.best.score.value < 1.2
    assert search.best.score.feasible


def test_equal_seeds_give_equal_searches_and_others_do_not():
    assert played(tuner(seed=3)) == played(tuner(seed=3))
    assert played(tuner(seed=3)) != played(tuner(seed=4))


def test_the_settings_it_is_given_come_first_then_timeout_zero():
    first = {"max_batch_size": 33, "batch_timeout_ms": 7.5}
    tried = played(tuner(first=[first]), most=10)
    assert tried[0] == first
    assert [knobs["max_batch_size"] for knobs in tried[1:]] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert {knobs["batch_timeout_ms"] for knobs in tried[1:]} == {0.0}


def test_no_setting_is_tried_twice():
    tried = [json.dumps(knobs) for knobs in played(tuner())]
    assert len(tried) == len(set(tried)) == 34


def test_a_space_that_has_been_tried_out_ends_the_search():
    small = Space(
        BatcherSettings(), {"max_batch_size": Choice((2, 16)), "in_flight": Choice((1, 2))}
    )
    study = open_study(None, "small", maximise=False, identity={})
    search = Tuner(study, small, Latency(), trials=50)
    while (proposal := search.ask()) is not None:
        search.tell(proposal, Score(1.0, {}), Metrics())
    assert len(search.finished) == 4


def test_patience_ends_it_when_nothing_gets_better():
    search = tuner(trials=500, patience=15)
    while (proposal := search.ask()) is not None:
        search.tell(proposal, Score(1.0, {}), Metrics())
    assert len(search.finished) < 60


def test_where_all_violate_something_there_is_no_best_but_a_nearest():
    search = tuner(trials=20)
    while (proposal := search.ask()) is not None:
        size = proposal.knobs["max_batch_size"]
        search.tell(proposal, Score(inf, {"load": 1.0 / size}), Metrics())
    assert search.best is None
    assert search.nearest.knobs["max_batch_size"] == 256


def test_constraints_are_told_to_optuna_as_constraints():
    study = open_study(None, "constrained", maximise=False, identity={})
    played(tuner(study=study), most=12)
    assert all("load" in trial.constraints for trial in study.get_trials())


def test_a_search_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path):
    whole = played(tuner(tmp_path, name="whole"))
    played(tuner(tmp_path, name="cut"), most=22)
    assert played(tuner(tmp_path, name="cut")) == whole


def test_a_trial_that_was_in_hand_is_failed_and_its_setting_comes_again(tmp_path):
    search = tuner(tmp_path)
    played(search, most=18)
    lost = search.ask()
    again = tuner(tmp_path)
    study = optuna.load_study(study_name="study", storage=open_storage(tmp_path, None))
    states = [trial.state.name for trial in study.get_trials()]
    assert states[lost.number] == "FAIL"
    assert "RUNNING" not in states
    assert again.ask().knobs == lost.knobs


def test_a_setting_given_by_name_that_was_in_hand_is_put_back_into_the_queue(tmp_path):
    first = {"max_batch_size": 33, "batch_timeout_ms": 7.5}
    assert tuner(tmp_path, first=[first]).ask().knobs == first
    tried = played(tuner(tmp_path, first=[first]), most=20)
    assert tried.count(first) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, "tests/bench")
from results.tuning.metrics import Metrics
from tests.bench.tuning.test_search import bowl, tuner
search = tuner(Path(sys.argv[1]))
while (proposal := search.ask()) is not None:
    if len(search.finished) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    search.tell(proposal, bowl(proposal.knobs), Metrics())
"""


def test_kill_minus_nine_loses_the_trial_in_hand_and_no_other(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    for at in (5, 18):  # among the settings that come first, and among the sampler's
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path), str(at)],
            cwd=ROOT,
            env=environment,
            check=False,
        )
        assert ended.returncode == -signal.SIGKILL
        assert len(tuner(tmp_path).finished) == at
    tried = [json.dumps(knobs) for knobs in played(tuner(tmp_path))]
    assert len(tried) == len(set(tried)) == 34


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_line_of_the_journal_that_was_torn_is_cut_off(tmp_path, cut):
    played(tuner(tmp_path), most=6)
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-cut])
    assert cut_torn_line(journal)
    assert journal.read_bytes().endswith(b"\n")
    assert whole.startswith(journal.read_bytes())
    assert len(tuner(tmp_path).finished) >= 5
    assert not cut_torn_line(journal)


def test_a_journal_that_is_damaged_before_its_end_is_refused(tmp_path):
    played(tuner(tmp_path), most=5)
    journal = tmp_path / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[3] = b"{not json\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match="line 4"):
        open_storage(tmp_path, None)


def test_a_study_of_something_else_is_refused(tmp_path):
    storage = open_storage(tmp_path, None)
    open_study(storage, "ours", maximise=False, identity={"model": "mlp"})
    with pytest.raises(InputError, match="model was 'mlp' and is 'resnet50'"):
        open_study(storage, "ours", maximise=False, identity={"model": "resnet50"})


def test_a_study_that_somebody_else_made_is_refused(tmp_path):
    storage = open_storage(tmp_path, None)
    study = optuna.create_study(study_name="theirs", storage=storage)
    study.tell(study.ask(), 1.0)
    with pytest.raises(InputError, match="must be one that dynbatch made"):
        open_study(storage, "theirs", maximise=False, identity={})


def test_trials_can_be_kept_in_a_database(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db"
    for most in (4, 8):
        with storage_in(tmp_path, url) as storage:
            study = open_study(storage, "kept", maximise=False, identity={})
            played(tuner(study=study), most=most)
            assert len(tuner(study=study).finished) == most


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/trials.db"])
def test_a_storage_that_cannot_be_reached_is_refused_in_one_line(tmp_path, url):
    with pytest.raises(InputError, match="storage must be the URL") as caught:
        open_storage(tmp_path, url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("postgresql://me:secret@host/trials", id="a URL"),
        pytest.param("--storage=postgresql://me:se@cret@host/trials", id="within an option"),
        pytest.param("postgresql://host/trials?user=me&password=secret", id="as a parameter"),
        pytest.param("postgresql:me:secret@host", id="what is no URL"),
    ],
)
def test_passwords_are_not_shown(url):
    shown = without_password(url)
    assert "***" in shown
    assert "cret" not in shown
    assert without_password("sqlite:///trials.db") == "sqlite:///trials.db"


def test_a_folder_in_use_is_refused(tmp_path):
    with (
        sole_user(tmp_path),
        pytest.raises(InputError, match="must not be in use"),
        sole_user(tmp_path),
    ):
        pass
    with sole_user(tmp_path):
        pass
