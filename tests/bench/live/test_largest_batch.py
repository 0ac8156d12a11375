"""A model whose engine has a largest batch is never run with more than was asked for."""

from pathlib import Path

import pytest
from rich.console import Console

from batching import RealClock
from batching.profiles import load_profile
from bench.live.plan import plan_run
from bench.live.session import Session
from bench.settings import load_settings
from workloads import load

# Writes down each batch size, in a file, as several processes may run it.
MODEL = """
import time
from pathlib import Path

from batching.models import Collated

SEEN = Path(__file__).with_name("seen.txt")


class Engine:
    name = "engine"
    uses_torch = False

    def make_input(self, rng):
        return 1.0

    def prepare(self, placement):
        pass

    def collate(self, payloads, staging):
        return Collated(list(payloads))

    def run(self, inputs):
        with SEEN.open("a") as file:
            file.write(f"{len(inputs)}\\n")
        if len(inputs) > 6:
            raise ValueError(f"batch of {len(inputs)}: the engine takes 6 at most")
        time.sleep(0.001)
        return inputs

    def split(self, outputs, count):
        return outputs


def make():
    return Engine()
"""
pytestmark = pytest.mark.long
SHORT = ("--trace", "poisson.json", "--duration", "0.5")
PROFILED = ("--profile-budget", "500ms")


@pytest.fixture
def run(dynbatch, tmp_path):
    """Run a command on the engine; returns (exit code, stdout, stderr, largest batch it had)."""
    (tmp_path / "engine.py").write_text(MODEL)

    def of(command, *arguments):
        code, out, err = dynbatch(command, "--model", "engine.py:make", *arguments)
        return code, out, err, max(map(int, (tmp_path / "seen.txt").read_text().split()))

    return of


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("bench", "--max-batch-size", "6", *SHORT), id="bench, which probes"),
        pytest.param(
            ("bench", "--max-batch-size", "6", *SHORT, "--predict", *PROFILED), id="and predicts"
        ),
        pytest.param(("profile", "--max-batch-size", "6", "--budget", "500ms"), id="profile"),
        pytest.param(("simulate", "--max-batch-size", "6", *SHORT, *PROFILED), id="simulate"),
        pytest.param(
            ("simulate", "--sweep", "max_batch_size=2,6", *SHORT, *PROFILED), id="a sweep"
        ),
        pytest.param(
            ("capacity", "--slo", "p99<=100ms", "--max-batch-size", "6", *SHORT, *PROFILED),
            id="capacity",
        ),
        pytest.param(
            ("compare", "--a", "max_batch_size=3", "--b", "max_batch_size=6", "--draws", "2",
             "--exact", *SHORT),
            id="compare",
        ),
        pytest.param(
            ("tune", "--search", "max_batch_size=1:6", "--no-race", "--budget", "4s", *SHORT),
            id="tune within a range",
        ),
        pytest.param(
            ("tune", "--search", "max_batch_size=3,6", "--no-race", "--budget", "4s", *SHORT),
            id="tune among values",
        ),
    ],
)  # fmt: skip
def test_no_command_runs_a_larger_batch_than_was_asked_for(run, command):
    code, _, err, largest = run(*command, "--quiet")
    assert code in {0, 3}, err
    assert largest <= 6


@pytest.mark.parametrize(("first", "second"), [(1, 6), (6, 1)])
def test_a_share_of_the_peak_is_of_the_largest_batch_of_all_arms_in_either_order(first, second):
    arms = [
        load_settings(None, {"model": "affine:1,0.1", "max_batch_size": size, "duration": 0.5})
        for size in (first, second)
    ]
    knobs = [arm.batcher for arm in arms]
    session = Session(arms[0].model, knobs, RealClock(), Console(quiet=True))
    plan_run(session, arms[0], load("bursty.json"))
    assert list(session.probe.batch_s) == [1, 2, 4, 6]


def test_a_tuning_that_was_told_no_end_goes_as_far_as_the_model_does(run, tmp_path):
    code, _, err, _ = run("tune", "--no-race", "--budget", "6", *SHORT, "--quiet", "--out", "t")
    assert code in {0, 3}, err
    assert load_profile(tmp_path / "t" / "profile.json").max_batch_size == 4


def test_a_profile_ends_below_the_first_size_that_the_model_refuses_and_says_so(run):
    code, out, err, largest = run("profile", "--budget", "2s", "--out", "p.json")
    assert (code, largest) == (0, 8), err
    profile = load_profile(Path("p.json"))
    assert (profile.stopped, profile.stopped_at, profile.max_batch_size) == ("refused", 8, 4)
    said = " ".join(out.split())
    assert (
        "The model takes 4 at most: a batch of 8 raised ValueError: batch of 8: the engine takes 6"
        in said
    )
