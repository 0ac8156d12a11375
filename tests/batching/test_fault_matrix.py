"""The column of docs/peers.md that is ours: the scenarios that other batchers are tried on."""

import pytest

from tests.perf.peers.ours import make
from tests.perf_faults.scenarios import SCENARIOS, observe

PROMISED = {
    "poison": "only the culprit fails",
    "cancel_while_waiting": "the 7 others are answered; it is never run",
    "cancel_in_flight": "the 7 others are answered",
    "arrive_while_busy": "runs at once",
    "lone_request": "waits one timeout",
    "system_exit": "its caller gets an error; later calls work",
    "keyboard_interrupt": "its caller gets an error; later calls work",
    "wrong_count": "all 8 fail",
    "second_event_loop": "works",
    "idle": "sleeps",
}


def test_every_scenario_has_a_promise():
    assert list(PROMISED) == list(SCENARIOS)


@pytest.mark.parametrize(("scenario", "promised"), PROMISED.items())
def test_what_happens_is_what_is_promised(scenario, promised):
    outcomes = []
    observe(SCENARIOS[scenario], make, outcomes.append)
    assert [outcome.word for outcome in outcomes] == [promised]
