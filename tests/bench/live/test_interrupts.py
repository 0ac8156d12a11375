"""Ctrl-C around a run: what was measured is kept, and the command ends all the same."""

import signal
from pathlib import Path

import pytest
from rich.console import Console

from batching import RealClock
from bench.live import measure
from bench.live.arms import Arm, LiveArms
from bench.settings import BatcherSettings, ModelSettings, ReplaySettings, Settings
from results.run.record import RECORD

QUICK = Settings(
    model=ModelSettings(model="affine:1,0.05"),
    batcher=BatcherSettings(max_batch_size=4),
    replay=ReplaySettings(trace="poisson.json", rate=200.0, duration=0.4),
)


def press_ctrl_c_before(monkeypatch, function):
    proper = getattr(measure, function)

    def pressed(*args, **options):
        signal.raise_signal(signal.SIGINT)
        return proper(*args, **options)

    monkeypatch.setattr(measure, function, pressed)


@pytest.mark.parametrize("function", ["_drain", "_played", "request_log", "_environment"])
def test_a_run_that_was_whole_by_then_is_kept_and_the_command_ends(tmp_path, monkeypatch, function):
    arms = LiveArms([Arm("a", QUICK)], RealClock(), Console(quiet=True))
    press_ctrl_c_before(monkeypatch, function)
    with pytest.raises(KeyboardInterrupt):
        arms(Arm("a", QUICK), arms.load, tmp_path / "run")
    assert (tmp_path / "run" / RECORD).exists()


def test_a_run_that_was_cut_short_is_not_an_arms(tmp_path, monkeypatch):
    arms = LiveArms([Arm("a", QUICK)], RealClock(), Console(quiet=True))
    press_ctrl_c_before(monkeypatch, "_play")
    with pytest.raises(KeyboardInterrupt):
        arms(Arm("a", QUICK), arms.load, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bench_shows_a_run_that_was_whole_and_its_exit_code_is_that_of_ctrl_c(
    dynbatch, monkeypatch
):
    press_ctrl_c_before(monkeypatch, "_drain")
    monkeypatch.setattr("results.run.report.write_report", lambda run: None)
    options = ("--model", "affine:1,0.05", "--trace", "poisson.json", "--rate", "200")
    code, out, err = dynbatch("bench", *options, "--duration", "0.4", "--out", "r")
    assert code == 130
    assert "PARTIAL" not in out.upper()
    assert "report: r/report.html" in out
    assert err.splitlines()[-1] == "dynbatch: interrupted"
    assert Path("r", RECORD).exists()


@pytest.mark.parametrize("command", ["simulate", "tune"])
def test_a_profile_that_was_cut_short_is_no_basis_for_what_comes_after(
    dynbatch, monkeypatch, command
):
    from tests.batching.profiled import affine, measured

    def press(step):
        if step.batches > 20:
            raise KeyboardInterrupt

    part = measured(affine, max_batch_size=4, on_step=press)
    assert part.interrupted
    monkeypatch.setattr("bench.profiling.measure.measure_profile", lambda *_, **__: part)
    monkeypatch.setattr("bench.profiling.load.exact_source", lambda *_: None)
    options = ("--model", "affine:1,0.05", "--rate", "200", "--duration", "1", "--out", "r")
    code, _, err = dynbatch(command, *options)
    assert code == 130
    assert err.splitlines()[-1].startswith("dynbatch: interrupted")
