"""Where the trials of a tuning are kept, besides its folder."""

import json
from collections import Counter

import optuna
import psutil
import pytest
from rich.console import Console

from batching import VirtualClock
from bench.errors import InputError, RunFailedError
from bench.hardware.environment import command_line
from bench.tuning.search.storage import open_database, storage_failures_told, storage_in
from bench.tuning.tune import carry_out, read_request
from tests.bench import postgres
from tests.bench.tuning.test_tune import request
from tests.bench.tuning.tuned import QUICK

QUIET = Console(quiet=True)
TRIALS = 14
CUT_OFF_AFTER = 5


def begin(folder, asked, watch=lambda *_: None):
    folder.mkdir(exist_ok=True)
    return carry_out(asked, folder, VirtualClock(), QUIET, effort=QUICK, watch=watch)


def interrupted(_, done, *__):
    if done == CUT_OFF_AFTER:
        raise KeyboardInterrupt


def finished_in(url, folder):
    """How often each setting was finished."""
    with storage_in(folder, url) as storage:
        trials = optuna.load_study(study_name=f"{folder.name} fastest", storage=storage).trials
    return Counter(json.dumps(t.user_attrs["knobs"]) for t in trials if t.state.name == "COMPLETE")


def check_resumed(url, tmp_path):
    """A tuning cut off in a database goes on to what it would have found undisturbed."""
    asked = request(storage=url, trials=TRIALS, patience=TRIALS)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "begun", asked, interrupted)
    assert sum(finished_in(url, tmp_path / "begun").values()) == CUT_OFF_AFTER
    again = read_request(tmp_path / "begun").model_copy(update={"storage": url})
    resumed = begin(tmp_path / "begun", again)
    tried = finished_in(url, tmp_path / "begun")
    assert set(tried.values()) == {1}
    assert len(tried) == TRIALS
    whole = begin(tmp_path / "whole", request(trials=TRIALS, patience=TRIALS))
    assert resumed.recommended == whole.recommended


@pytest.mark.long
def test_a_tuning_that_was_cut_off_goes_on_from_an_sqlite_file_and_lets_go_of_it(tmp_path):
    check_resumed(f"sqlite:///{tmp_path}/trials.db", tmp_path)
    opened = [file.path for file in psutil.Process().open_files()]
    assert str(tmp_path / "trials.db") not in opened


@pytest.mark.long
def test_a_tuning_that_was_cut_off_goes_on_from_a_postgresql_server(tmp_path):
    with postgres.running() as url:
        check_resumed(url, tmp_path)


@pytest.mark.parametrize(
    "url", ["postgresql://me:hush@127.0.0.1:1/t", "postgresql//me:hush@host/t", "db://me:hush@h/t"]
)
def test_a_storage_that_cannot_be_reached_is_one_line_without_the_password(url):
    pytest.importorskip("psycopg")
    with pytest.raises(InputError, match="storage must be") as caught:
        open_database(url)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_driver_that_is_missing_is_named_with_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(InputError, match=r"pip install 'dynbatch\[postgresql\]'"):
        open_database("postgresql://host/trials")


def test_a_storage_that_fails_in_the_middle_ends_the_run_in_one_line():
    from sqlalchemy.exc import OperationalError

    message = "the storage failed: disk I/O error; trials that were finished are kept"
    with pytest.raises(RunFailedError, match=message), storage_failures_told():
        raise OperationalError("INSERT", {}, Exception("disk I/O\n error"))


def test_passwords_are_not_written_down_with_the_command(monkeypatch):
    url = "postgresql://me:hush@host/trials?sslmode=require&password=hush2"
    monkeypatch.setattr("sys.argv", ["dynbatch", "tune", "--storage", url, "--rate", "5"])
    assert "hush" not in command_line()
    assert "me:***@host/trials?sslmode=require&password=***" in command_line()
