"""What only a GPU runs, on the stand-in: right calls in a right order; no figure means anything."""

import subprocess
import sys
from dataclasses import replace

import pytest

from tests import fake_cuda
from tests.conftest import has_cuda
from tests.reference import (
    capacity,
    figures,
    profiles,
    replays,
    sanity,
    saturation,
    summary,
    tracing,
)
from tests.reference.packages import ROOT
from tests.reference.plan import plan_for
from tests.reference.step import Context

pytestmark = pytest.mark.long

PLAN = replace(
    plan_for("cuda"),
    model="mlp",
    engines=("cudagraph", "eager"),
    batch_sizes=(4, 8),
    profiled=8,
    window_s=0.5,
)


@pytest.fixture(scope="module", autouse=True)
def stand_in():
    if has_cuda():
        pytest.skip("there is a real one")
    with fake_cuda.installed():
        yield


@pytest.fixture
def context(folder):
    """Of a step of that part."""

    def make(part, seconds=2.0):
        step = next(step for step in PLAN.steps() if step.part == part)
        return Context(PLAN, step, folder, seconds)

    return make


@pytest.fixture
def profiled(context, folder):
    assert profiles.run(context("profile"), PLAN.model, PLAN.dtype, "cudagraph") == ""
    found = folder.read("profile")["cudagraph"]
    assert found["flops_per_request"] > 0
    assert found["peak_flops_per_s"] == pytest.approx(989.4e12)
    return found


def test_the_gate_writes_down_what_it_is_and_holds_graphs_to_eager(context, folder):
    assert sanity.run(context("sanity")) == ""
    assert folder.read("environment")["gpu_facts"]["driver"]
    found = folder.read("sanity")
    assert all(found["copies"][key] > 0 for key in ("within", "to_device", "back"))
    assert found["agreement"]["engine"] == "cudagraph"
    assert found["agreement"]["error"] < 1e-3


def test_the_parts_that_replay_have_energy_and_the_share_of_the_peak(
    profiled, context, folder, monkeypatch
):
    assert replays.run(context("bench", 900.0), "bench", (0.7,)) == ""
    assert replays.run(context("fidelity", 900.0), "fidelity", (0.7,)) == ""
    assert set(folder.read("fidelity")) == {"bursty 0.7", "poisson 0.7"}
    device = folder.read("bench")["bursty 0.7"]["metrics"]["device"]
    assert device["energy_j_per_request"] > 0
    assert device["mfu"] > 0
    monkeypatch.setattr(capacity, "_REPLAY", {**capacity._REPLAY, "duration": 0.5})
    monkeypatch.setattr(capacity, "_MOST_TRIALS", 1)
    assert capacity.run(context("capacity", 900.0)) == ""
    arms = folder.read("capacity")
    assert set(arms) == {"plain", "window 32/10 ms", "no batching", "default"}
    assert all(len(arm["trials"]) == 1 for arm in arms.values())
    assert "energy a request" in summary.write(folder)
    figures.main(folder.path)
    assert "</html>" in (folder.path / "report.html").read_text(encoding="utf-8")


def test_the_parts_of_a_full_queue_have_both_shares_and_a_trace(profiled, context, folder):
    saturation.run(context("saturation", 3.0))  # a busy machine does not come to the second size
    sizes = folder.read("saturation")["sizes"]
    assert "8" in sizes
    for found in sizes.values():
        assert found["in_flight_2"]["share_of_alone"] > 0
        assert found["in_flight_2"]["share_of_bare"] > 0
        assert found["bare"]["device_s"] > 0
    assert tracing.run(context("trace")) == ""
    assert folder.read("trace")["summary"]["computing_share"] > 0.5
    assert "of what the device alone could do" in summary.write(folder)


def test_an_arm_with_an_open_bracket_is_not_done_and_is_gone_on_with(
    profiled, context, folder, monkeypatch
):
    monkeypatch.setattr(capacity, "_REPLAY", {**capacity._REPLAY, "duration": 0.3})
    judged = iter([True] * 50)
    real = capacity.attempt
    monkeypatch.setattr(capacity, "attempt", lambda *given: {**real(*given), "met": next(judged)})
    left_out = capacity.run(context("capacity", 0.1))
    assert "brackets are still open: plain, window" in left_out
    [tried] = folder.read("capacity")["plain"]["trials"]
    assert capacity.run(context("capacity", 0.1)) != ""
    arms = folder.read("capacity")
    assert arms["plain"]["trials"] == [tried]
    assert len(arms["window 32/10 ms"]["trials"]) == 1


def test_the_command_finds_the_device_and_passes_its_gate(tmp_path):
    command = [
        sys.executable, "-m", "tests.fake_cuda", "tests/reference", "--device", "cuda",
        "--only", "sanity", "--out", str(tmp_path / "h200"), "--commit", "0123abc",
    ]  # fmt: skip
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "NVIDIA H200: 1 steps to do, 540 s" in ended.stdout
    assert "results of cudagraph against eager's" in (tmp_path / "h200/summary.md").read_text()
