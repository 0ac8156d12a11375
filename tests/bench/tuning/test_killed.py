"""A tuning that is killed, or whose files are damaged, goes on with what it has."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from batching import VirtualClock
from batching.profiles import save_profile
from bench.tuning.tune import PROFILE, carry_out
from tests.batching.profiled import affine as affine_model
from tests.batching.profiled import measured
from tests.bench.killed import ASKED, DONE, TOLD
from tests.bench.tuning.test_tune import (
    ARMS,
    StandIn,
    request,
    verification,
)
from tests.bench.tuning.tuned import QUICK

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[3]


def test_kill_minus_nine_in_any_stage_repeats_nothing_and_loses_nothing(tmp_path):
    kill_at = ["profile:100", "search:7", "closely:4", "race:5", "confirm:6"]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.bench.killed", str(tmp_path), *kill_at],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        check=True,
        capture_output=True,
    )
    assert json.loads(ended.stdout) == [-signal.SIGKILL] * len(kill_at) + [0]
    done = [json.loads(line) for line in (tmp_path / DONE).read_text().splitlines()]
    told = json.loads((tmp_path / TOLD).read_text())
    # The batches of a profile that was never whole are measured again, and what the setting found
    # does at other loads is simulated after each kill. All else is kept as it is finished.
    kept = [json.dumps(one) for one in done if one[0] not in {"profile", "other traffic"}]
    assert [one for one, times in Counter(kept).items() if times > 1] == []
    stages = Counter(json.loads(one)[0] for one in kept)
    assert stages["search"] == told["goals"]["fastest"]["trials"] == ASKED.trials
    race, confirmation = told["verified"]["race"], told["verified"]["confirmation"]
    assert stages["race"] == sum(arm["draws"] for arm in race.values())
    assert stages["confirm"] == sum(map(len, confirmation["values"].values()))
    profiles = [i for i, one in enumerate(done) if one[0] == "profile"]
    assert profiles == list(range(len(profiles)))  # none after the first that was whole


def test_runs_that_were_damaged_are_made_again_and_no_others(tmp_path):
    whole = verification(tmp_path, StandIn(), ARMS).run()
    torn, unfinished = sorted((tmp_path / "race").glob("*/*"))[1:3]
    (log,) = torn.glob("requests.*")
    log.write_bytes(log.read_bytes()[:100])
    (unfinished / "run.json").unlink()
    device = StandIn()
    again = verification(tmp_path, device, ARMS).run()
    assert sorted(name for name, _ in device.runs) == sorted([torn.name, unfinished.name])
    assert again.race == whole.race


def test_a_profile_that_was_half_written_is_made_again(tmp_path):
    save_profile(measured(affine_model, max_batch_size=4, budget_s=1.0), tmp_path / PROFILE)
    text = (tmp_path / PROFILE).read_text()
    (tmp_path / PROFILE).write_text(text[: len(text) // 2])
    said = Console(file=StringIO())
    result = carry_out(request(), tmp_path, VirtualClock(), said, effort=QUICK)
    assert result.met
    assert "it is made again" in said.file.getvalue()
