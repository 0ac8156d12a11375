"""When a run that goes on until it is decided is looked at, and what ends it."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.live.early_stop import SequentialStop, planned
from bench.live.replay import Sent
from results.run.slo import Slo


@pytest.mark.parametrize(
    ("duration_s", "longest_s", "times_s"),
    [
        (60.0, 600.0, (60.0, 120.0, 240.0, 480.0, 600.0)),
        (60.0, 240.0, (60.0, 120.0, 240.0)),  # the last doubling is the longest
        (60.0, 100.0, (60.0, 100.0)),
    ],
)
def test_looks_double_until_the_longest(duration_s, longest_s, times_s):
    assert planned(duration_s, longest_s) == times_s


class Played:
    """A replay at 100 requests/s of which everything due has been sent, on a clock at 1,000 s."""

    def __init__(self, latency_s, *slos, times_s=(10.0, 20.0, 40.0), hanging=()):
        self.arrival_s = np.arange(0.0, 42.0, 0.01)
        self.latency_s = latency_s
        self.hanging = hanging
        self.sent = Sent(start_s=1000.0)
        self.looks = SequentialStop(
            times_s, [Slo.parse(s) for s in slos], self.arrival_s, tail_s=1.0
        )

    def _request(self, i):
        delivered_s = 1000.0 + self.arrival_s[i] + self.latency_s
        return SimpleNamespace(
            batch=SimpleNamespace(delivered_s=delivered_s),
            ended_s=float("nan"),
            status="ok",
            attempts=1,
            done=lambda: i not in self.hanging,
        )

    def watch(self, elapsed_s):
        due = int(np.searchsorted(self.arrival_s, elapsed_s))
        for i in range(len(self.sent.requests), due):
            self.sent.requests.append(self._request(i))
        self.looks.watch(self.sent, 1000.0 + elapsed_s)
        return self.looks.window_s


def test_a_look_that_decides_every_slo_ends_the_run_after_its_tail():
    played = Played(0.001, "p50<=10ms", "throughput>=50")
    assert played.watch(9.9) is None
    assert played.watch(10.1) == 10.0
    assert not played.sent.stop.is_set()  # the end of the window is still under load
    played.watch(11.1)
    assert played.sent.stop.is_set()
    assert played.sent.stopped_s is None  # it is over, not interrupted


def test_a_look_that_leaves_one_undecided_does_not():
    played = Played(0.001, "p50<=10ms", "p99.9<=1.5ms")
    assert played.watch(10.1) is None
    assert played.watch(20.1) is None
    assert not played.sent.stop.is_set()


def test_a_look_waits_for_the_answers_of_its_window():
    played = Played(0.001, "p50<=1s", "rejected<=90%", hanging={999})
    assert played.watch(10.1) is None
    played.hanging = ()
    assert played.watch(10.4) == 10.0


def test_a_request_that_is_late_past_doubt_is_not_waited_for():
    played = Played(0.001, "p50<=1s", hanging={999})
    assert played.watch(10.5) is None
    assert played.watch(11.1) == 10.0


def test_a_look_whose_answers_have_not_come_by_the_next_is_left_out():
    played = Played(0.001, "mean<=1s", hanging={500})
    assert played.watch(10.1) is None
    assert played.watch(20.1) is None
    played.hanging = ()
    assert played.watch(20.4) == 20.0
