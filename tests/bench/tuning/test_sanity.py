"""When every setting is equally good, the tool says so."""

from dataclasses import replace

import numpy as np
import pytest

from bench.commands.tune import _again
from bench.settings import (
    BatcherSettings,
    ModelSettings,
    ReplaySettings,
    Settings,
    SloSettings,
)
from bench.tuning.budget import MOST_RACE_DRAWS
from bench.tuning.device.metric import gain_of
from bench.tuning.device.race import Measured, Race
from bench.tuning.record import record_of
from bench.tuning.search.selection import simplicity
from tests.bench.tuning.test_tune import ARMS as RACED
from tests.bench.tuning.test_tune import (
    StandIn,
    request,
    tuned,
    verification,
)

pytestmark = pytest.mark.long

# Any of these is the other at a load so low that two requests hardly ever meet.
ARMS = {
    "recommended": BatcherSettings(max_batch_size=16, batch_timeout_ms=0.0),
    "best simulated": BatcherSettings(max_batch_size=71, batch_timeout_ms=0.0),
    "no delay": BatcherSettings(max_batch_size=1, batch_timeout_ms=0.0),
    "current": BatcherSettings(max_batch_size=8, batch_timeout_ms=0.0),
}


@pytest.mark.parametrize("seed", range(4))
def test_a_constant_time_at_a_low_load_has_no_better_setting_than_the_current_one(tmp_path, seed):
    result = tuned(
        tmp_path,
        settings=Settings(
            model=ModelSettings(model="affine:5,0"),
            replay=ReplaySettings(trace="poisson.json", rate=20.0, duration=4.0, seed=seed),
        ),
        current=BatcherSettings(max_batch_size=8, batch_timeout_ms=0.0),
        trials=15,
        seed=seed,
    )
    assert result.keeps == "current"
    assert record_of(result).sentence.startswith("no measurable gain: keep the current setting")


@pytest.mark.parametrize("noise", [0.01, 0.13, 0.5])
def test_equal_settings_that_race_and_are_confirmed_win_five_times_in_a_hundred_at_most(noise):
    """What is measured of each setting, on each draw, is the same but for noise.

    The draws have a part in common, as bursts are, and every run one of its own.
    """
    crowned, seeds = 0, 200
    for seed in range(seeds):
        rng = np.random.default_rng((seed, round(1000 * noise)))

        def played(race, rng=rng):
            common = np.exp(rng.normal(0.0, noise, size=race.draws))
            while (run := race.ask()) is not None:
                race.tell(run, Measured(float(common[run.draw] * np.exp(rng.normal(0.0, noise)))))
            return race

        race = played(Race(list(ARMS), MOST_RACE_DRAWS, seed=seed))
        winner = race.winner(lambda name: simplicity(ARMS[name]))
        assert winner is not None
        if winner == "current":
            continue
        confirmation = played(Race([winner, "current"], 10, seed=seed + 1, drop=False))
        effect = confirmation.effect(winner, "current", 0.05)
        gain = gain_of("current", effect, unable=0, draws=10, maximise=False)
        crowned += gain.verdict == "better"
    assert crowned / seeds <= 0.05


@pytest.mark.parametrize(
    ("ratio", "kept"), [(0.99, "default"), (0.96, None)], ids=["1 %, a tie", "4 %"]
)
def test_a_gain_that_is_certain_but_counts_as_a_tie_is_none(tmp_path, ratio, kept):
    simulated = tuned(tmp_path / "simulated")
    raced = verification(tmp_path, StandIn(), {n: RACED[n] for n in ("recommended", "default")})
    verified = raced.run()
    (gain,) = verified.gains
    sure = gain.model_copy(
        update={"ratio": ratio, "low": 0.999 * ratio, "high": 1.001 * ratio, "verdict": "better"}
    )
    result = replace(simulated, verified=verified.model_copy(update={"gains": (sure,)}))
    assert result.keeps == kept


def test_a_capacity_that_is_larger_on_every_draw_is_a_gain_without_a_race(tmp_path):
    result = tuned(
        tmp_path,
        settings=Settings(
            model=ModelSettings(model="affine:5,0.1"),
            replay=ReplaySettings(trace="bursty.json", rate=2700.0, duration=2.0),
            slo=SloSettings(slo=("p99<=40ms",)),
        ),
        trials=12,
    )
    found = result.findings
    assert result.keeps is None
    assert found.asked.answer.score.value > 1.3 * found.references["default"].score.value


def test_what_is_recommended_is_within_the_space_whatever_it_is_compared_with(tmp_path):
    result = tuned(
        tmp_path,
        settings=Settings(
            model=ModelSettings(model="affine:5,0.1"),
            replay=ReplaySettings(trace="poisson.json", rate=2700.0, duration=2.0),
        ),
        search=("max_batch_size=2:4", "batch_timeout_ms=0:2"),
        trials=12,
    )
    assert not result.met  # 4 at most carry 741 a second
    assert result.findings.references["no delay"].score.feasible
    assert result.recommended["max_batch_size"] <= 4


@pytest.mark.parametrize(("asked", "raced"), [(None, False), (True, True), (False, False)])
def test_a_tuning_that_was_not_to_race_does_not_when_resumed_unless_asked_to(asked, raced):
    given = {"race": asked, "budget": None, "storage": None, "trials": None}
    again = _again(request(race=False, budget_s=77.0), given)
    assert (again.race, again.budget_s) == (raced, 77.0)
