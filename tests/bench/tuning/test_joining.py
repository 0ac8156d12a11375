"""Taking part in a tuning that somebody else has begun."""

import json
from collections import Counter
from dataclasses import replace

import optuna
import psutil
import pytest
from rich.console import Console

from batching import Placement, VirtualClock
from batching.profiles import save_profile, subject_of
from bench.errors import InputError
from bench.hardware.environment import command_line
from bench.profiling.load import Loaded
from bench.profiling.service_times import ProfileSource
from bench.settings import ReplaySettings
from bench.tuning import record
from bench.tuning.joining import as_json, join, lines
from bench.tuning.profiles import PROFILE, LoadedEngines
from bench.tuning.search.engines import Engine
from bench.tuning.search.storage import OWNER, let_go, open_database
from bench.tuning.tune import carry_out, read_request
from tests.batching.profiled import affine, measured
from tests.bench.tuning.test_tune import request
from tests.bench.tuning.tuned import QUICK

pytestmark = pytest.mark.long

QUIET = Console(quiet=True)
TRIALS = 14
CUT_OFF_AFTER = 5


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/trials.db"


@pytest.fixture
def storage(url):
    storage = open_database(url)
    yield storage
    let_go(storage)


def asked(url, **changed):
    return request(storage=url, trials=TRIALS, patience=TRIALS, **changed)


def begin(tmp_path, asked, watch=lambda *_: None):
    folder = tmp_path / "begun"
    folder.mkdir(exist_ok=True)
    return carry_out(asked, folder, VirtualClock(), QUIET, effort=QUICK, watch=watch)


def cut_off(tmp_path, url, **changed):
    """A tuning that is interrupted in the middle of its first search."""

    def interrupt(_, done, *__):
        if done == CUT_OFF_AFTER:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path, asked(url, **changed), interrupt)


def joined(url, name="begun", **options):
    return join(name, url, VirtualClock(), QUIET, **options)


def settings_in(storage, study="begun fastest"):
    """How often each setting was finished."""
    trials = optuna.load_study(study_name=study, storage=storage).get_trials()
    return Counter(json.dumps(t.user_attrs["knobs"]) for t in trials if t.state.name == "COMPLETE")


def test_who_joins_does_what_is_left_of_the_search_and_who_resumes_takes_it_over(
    tmp_path, url, storage
):
    cut_off(tmp_path, url)
    did = joined(url)
    assert did.trials == {"fastest": TRIALS - CUT_OFF_AFTER}
    assert "--resume" in did.ended
    assert len(settings_in(storage)) == TRIALS
    result = begin(tmp_path, read_request(tmp_path / "begun"))
    assert [trial.number for trial in result.findings.asked.trials] == list(range(TRIALS))
    assert set(settings_in(storage).values()) == {1}
    assert did.best["fastest"].knobs in [t.knobs for t in result.findings.asked.trials]


def test_of_a_search_that_has_ended_nothing_is_left_to_do(tmp_path, url):
    begin(tmp_path, asked(url))
    did = joined(url)
    assert as_json(did)["goals"]["fastest"]["trials"] == 0
    assert list(lines(did))[-1] == "begun: all searches have ended"


def test_who_joins_waits_for_the_next_search_as_long_as_it_may_come(tmp_path, url, storage):
    cut_off(tmp_path, url, slo=("p99<=30ms",))
    begun = optuna.load_study(study_name="begun", storage=storage)
    begun.set_user_attr("stage", record.SEARCHING)
    waited = []

    def pause(_):
        waited.append(begun)
        if len(waited) == 2:
            begun.set_user_attr("stage", record.STOPPED)

    did = joined(url, pause=pause)
    assert len(waited) == 2
    assert list(did.trials) == ["most capacity"]


def test_what_is_asked_needs_to_be_said_once(tmp_path, url, storage):
    wanted = {"slo": ("p99<=30ms",), "objective": "device-time", "seed": 3}
    cut_off(tmp_path, url, **wanted)
    known = record.find_tuning(storage, "begun").record
    assert known.goals == ("cheapest", "fastest", "most capacity")
    assert known.request.question() == asked(url, **wanted).question()
    assert known.how_long == QUICK


def test_neither_who_begins_nor_who_joins_leaves_the_database_open(tmp_path, url):
    cut_off(tmp_path, url)
    joined(url)
    begin(tmp_path, read_request(tmp_path / "begun"))
    with pytest.raises(InputError):
        joined(url, "other")
    opened = [file.path for file in psutil.Process().open_files()]
    assert str(tmp_path / "trials.db") not in opened


def test_a_name_that_is_not_there_tells_those_that_are(tmp_path, url):
    cut_off(tmp_path, url)
    with pytest.raises(InputError, match=r"but got 'other': the storage has begun$"):
        joined(url, "other")


def test_a_study_of_something_else_cannot_be_joined(url, storage):
    study = optuna.create_study(study_name="theirs", storage=storage)
    study.tell(study.ask(), 1.0)
    with pytest.raises(InputError, match="'theirs' is of something else"):
        joined(url, "theirs")


def test_another_study_of_that_name_is_not_taken_for_a_tuning(tmp_path, url, storage):
    study = optuna.create_study(study_name="begun", storage=storage)
    study.tell(study.ask(), 1.0)
    with pytest.raises(InputError, match="must be one that dynbatch made"):
        begin(tmp_path, asked(url))


def test_another_version_is_refused(tmp_path, url, monkeypatch):
    cut_off(tmp_path, url)
    monkeypatch.setattr(record, "own_version", lambda: "99.0")
    with pytest.raises(InputError, match=r"must be with the version that began .* this is 99\.0"):
        joined(url)


def test_another_trace_of_that_name_is_refused(tmp_path, url):
    trace = tmp_path / "trace.json"
    spec = {"process": "poisson", "rate_rps": 100.0, "duration_s": 2.0, "seed": 1}
    trace.write_text(json.dumps(spec))
    settings = request().settings
    replay = ReplaySettings(trace=str(trace), utilization=0.3, duration=2.0)
    cut_off(tmp_path, url, settings=settings.model_copy(update={"replay": replay}))
    elsewhere = trace.rename(tmp_path / "moved.json")
    with pytest.raises(InputError, match="--trace FILE says where it is here"):
        joined(url)
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**spec, "seed": 2}))
    with pytest.raises(InputError, match="load must be the one that begun was begun with"):
        joined(url, trace=str(other))
    assert joined(url, trace=str(elsewhere)).trials["fastest"] == TRIALS - CUT_OFF_AFTER


def test_a_machine_with_another_device_is_refused_by_its_name(tmp_path, url, storage):
    cut_off(tmp_path, url)
    model = affine(VirtualClock())
    model.name = "roofline:0.5,4,0.25"
    profile = measured(affine, max_batch_size=256, budget_s=1.0)
    there = replace(subject_of(model, Placement()), device_name="a larger one")
    save_profile(replace(profile, subject=there), tmp_path / PROFILE)
    study = optuna.load_study(study_name="begun", storage=storage)
    known = record.find_tuning(storage, "begun").record
    source = Loaded(ProfileSource(profile), model.name, "cpu", profile)
    engines = LoadedEngines({Engine.of(there): source}, searched=False)
    search = type("Search", (), {"effort": QUICK, "identity": known.identity})
    search.question = known.request.question()
    of = record.Record.of(known.request, search, engines, tmp_path)
    study.set_user_attr(OWNER, of.model_dump(mode="json"))
    with pytest.raises(InputError, match="device name is a larger one, not none"):
        joined(url)


def test_a_storage_for_one_process_cannot_be_joined():
    with pytest.raises(InputError, match="must be on PostgreSQL or in an SQLite file"):
        joined("sqlite://")


@pytest.mark.parametrize(
    "url", ["postgresql://me:hush@127.0.0.1:1/t", "postgresql//me:hush@host/t", "db://me:hush@h/t"]
)
def test_a_storage_that_cannot_be_reached_is_one_line_without_the_password(url):
    pytest.importorskip("psycopg")
    with pytest.raises(InputError, match="storage must be") as caught:
        joined(url)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_driver_that_is_missing_is_named_with_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(InputError, match=r"pip install 'dynbatch\[postgresql\]'"):
        joined("postgresql://host/trials")


def test_passwords_are_not_written_down_with_the_command(monkeypatch):
    url = "postgresql://me:hush@host/trials?sslmode=require&password=hush2"
    monkeypatch.setattr("sys.argv", ["dynbatch", "tune", "--storage", url, "--rate", "5"])
    assert "hush" not in command_line()
    assert "me:***@host/trials?sslmode=require&password=***" in command_line()
