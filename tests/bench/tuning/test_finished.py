"""A tuning that is finished: resumed, it says again what it found, and does nothing else."""

import json
import sys

import pytest
from rich.console import Console

from batching import VirtualClock
from bench import cli
from bench.commands import tune as command
from bench.settings import ModelSettings, ReplaySettings, Settings, SloSettings
from bench.tuning import tune
from bench.tuning.tune import Request, carry_out
from results.run.record import REPORT
from results.tuning.figures.catalogue import Section
from results.tuning.record import RECORD
from tests.bench.stand_in import StandIn
from tests.bench.tuning.tuned import QUICK, roofline
from tests.results.tuning.test_record import version_1

pytestmark = pytest.mark.long

QUIET = Console(quiet=True)
SETTINGS = Settings(
    model=ModelSettings(model="roofline:0.5,4,0.25"),
    replay=ReplaySettings(trace="poisson.json", utilization=0.3, duration=0.5),
)


@pytest.fixture(autouse=True)
def drawn_quickly(monkeypatch):
    """Pages without the work of drawing."""
    monkeypatch.setattr(Section, "save", lambda self, record, path: path.write_bytes(b"\x89PNG"))


def finished(folder, capsys, *, slo=(), device=None, **asked):
    """Tune to the end; the exit code and what was printed."""
    folder.mkdir()
    settings = SETTINGS.model_copy(update={"slo": SloSettings(slo=slo)})
    request = Request(settings=settings, trials=8, patience=8, budget_s=400.0, **asked)
    maker = None if device is None else (lambda _: device)
    result = carry_out(request, folder, VirtualClock(), QUIET, effort=QUICK, make_runner=maker)
    tuning = command._keep(result, folder, QUIET)
    code = command._tell(tuning, as_json=False, quiet=False)
    return code, capsys.readouterr().out


def resumed(folder, capsys, monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["dynbatch", "tune", "--resume", str(folder), *options])
    code = cli.run()
    return code, capsys.readouterr()


def state(folder):
    """Every file with its content and its time of change."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.fixture
def nothing_runs(monkeypatch):
    """Whatever would search, simulate or run on a device is an error."""

    def called(*_, **__):
        raise AssertionError("a finished tuning must not go on")

    monkeypatch.setattr(tune, "carry_out", called)
    monkeypatch.setattr("bench.tuning.device.stage.LiveArms", called)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"device": StandIn(source=roofline())}, 0),
        ({"slo": ("p99<=30ms",), "race": False}, 0),
        ({"slo": ("p99<=3ms",), "race": False}, 3),
    ],
    ids=["raced and confirmed", "not raced", "no feasible setting"],
)
@pytest.mark.usefixtures("nothing_runs")
def test_resumed_it_prints_the_same_conclusion_and_changes_no_file(
    tmp_path, capsys, monkeypatch, asked, code
):
    folder = tmp_path / "t"
    first = finished(folder, capsys, **asked)
    assert first[0] == code
    runs, before = len(asked["device"].runs) if "device" in asked else 0, state(folder)
    ended, said = resumed(folder, capsys, monkeypatch)
    assert (ended, said.out) == first
    assert said.err == "this tuning is finished: --budget or --trials goes on with it\n"
    assert state(folder) == before
    assert "device" not in asked or len(asked["device"].runs) == runs
    ended, said = resumed(folder, capsys, monkeypatch, "--json", "--quiet")
    assert (ended, said.out, said.err) == (code, (folder / RECORD).read_text(), "")
    assert state(folder) == before


@pytest.mark.parametrize("option", [("--budget", "10m"), ("--trials", "9"), ("--no-race",)])
def test_with_an_option_to_go_on_by_it_goes_on(tmp_path, capsys, monkeypatch, option):
    folder = tmp_path / "t"
    finished(folder, capsys, race=False)
    began = []

    def cut_off(request, *_, **__):
        began.append(request)
        (folder / "request.json").write_text(request.model_dump_json())
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, "carry_out", cut_off)
    assert resumed(folder, capsys, monkeypatch, *option)[0] == 130
    assert len(began) == 1
    # What is in tune.json is of before: the tuning is not finished again until it has ended.
    code, said = resumed(folder, capsys, monkeypatch)
    assert (code, "is finished" in said.err) == (
        (0, True) if option == ("--no-race",) else (130, False)
    )


@pytest.mark.usefixtures("nothing_runs")
def test_a_finished_tuning_of_version_1_is_concluded_from_its_file(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "t"
    finished(folder, capsys, race=False)
    old = version_1("capacity_raced")
    path = folder / RECORD
    path.write_text(json.dumps(old))
    before = state(folder)
    code, said = resumed(folder, capsys, monkeypatch)
    assert (code, said.out.splitlines()[0]) == (0, old["sentence"])
    assert state(folder) == before


def test_a_tune_json_that_is_damaged_is_made_again_and_a_missing_page_is_drawn(
    tmp_path, capsys, monkeypatch
):
    folder = tmp_path / "t"
    first = finished(folder, capsys, race=False)
    (folder / REPORT).unlink()
    code, said = resumed(folder, capsys, monkeypatch)
    assert (code, said.out) == first
    assert (folder / REPORT).exists()
    monkeypatch.setattr(tune, "SimulationBudget", lambda: QUICK)
    whole = (folder / RECORD).read_text()
    (folder / RECORD).write_text(whole[:100])
    code, said = resumed(folder, capsys, monkeypatch)
    assert code == 0
    assert "it is made again" in " ".join(said.err.split())
    assert (folder / RECORD).read_text()[:60] == whole[:60]
