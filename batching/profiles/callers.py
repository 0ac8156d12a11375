"""Callers at work while a profile is measured, as they are in a run."""

import threading

import numpy as np

from batching.batcher import DynamicBatcher
from batching.clock import Clock
from batching.policies import PolicyOptions, make_policy

_LARGEST = 65536
_TIMEOUT_S = 1.0
_GAPS = 256
# Who is further behind than this goes on from now, instead of sending it all at once.
_BEHIND_S = 0.01
_LOOK_UP_S = 0.05


class Callers:
    """A thread that submits requests at a mean rate, Poisson, to a batcher beside the measured one.

    That batcher only lets go of them, once a second. What is measured meanwhile shares the
    interpreter, the cores and the scheduler's favour with a sender, as it does in a run.

    Args:
        clock: paces it.
        rate_rps: requests per second, > 0.
        seed: of the gaps.
    """

    def __init__(self, clock: Clock, rate_rps: float, seed: int) -> None:
        self._clock = clock
        self._rate_rps = rate_rps
        self._rng = np.random.default_rng(seed)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._sink = DynamicBatcher(
            _let_go,
            max_batch_size=_LARGEST,
            policy=make_policy(
                "window", PolicyOptions(max_batch_size=_LARGEST, batch_timeout_s=_TIMEOUT_S)
            ),
            warm_up_budget_s=0.0,
            clock=clock,
        )
        self.sent = 0

    def start(self) -> None:
        """Begin to send."""
        self._sink.start()
        self._thread = self._clock.spawn(self._send, name="dynbatch-callers", role="client")

    def stop(self) -> None:
        """Send no more."""
        self._ended.set()
        if self._thread is not None:
            self._clock.join(self._thread)
            self._sink.stop(drain=False)

    def _send(self) -> None:
        now, sleep_until = self._clock.now, self._clock.sleep_until
        due_s = now()
        while True:
            for gap_s in self._rng.exponential(1.0 / self._rate_rps, _GAPS).tolist():
                due_s = max(due_s + gap_s, now() - _BEHIND_S)
                while (now_s := now()) < due_s and not self._ended.is_set():
                    sleep_until(min(due_s, now_s + _LOOK_UP_S))
                if self._ended.is_set():
                    return
                self._sink.submit(None)
                self.sent += 1


def _let_go(payloads: list[None]) -> list[None]:
    return payloads
