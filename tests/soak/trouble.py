"""What goes wrong in both mixtures: everything that a batcher calls may fail, by the same dice."""

import contextlib
import random
import threading

from batching import BatcherClosedError, QueueFullError
from batching.models import AffineModel
from batching.policies import PolicyOptions, TimeoutPolicy
from tests.batching.life.mischief import wrong_results
from tests.batching.life.scenarios import WRONG


class Trouble:
    """Rolls the dice in the model, in callbacks, in the observer, the recorder and the policy.

    Attributes:
        batcher: what calls all of these; set once it is made.
        more: requests that were submitted from within.
        refused: how many such were not let in.
        own_threads: the callers' threads, from which stopping would be no mistake.
    """

    def __init__(self, seed):
        self.dice = random.Random(seed)  # noqa: S311 - chance, not secrecy
        self.batcher = None
        self.more = []
        self.refused = 0
        self.recorded = 0
        self.own_threads = {threading.get_ident()}
        self._guard = threading.Lock()

    def in_the_model(self, payloads):
        """The results of these payloads, or what is none; raises now and then."""
        chance = self.dice.random()
        if chance < 0.01:
            raise ConnectionError("transient")
        if chance < 0.014:
            raise SystemExit(1)
        if chance < 0.02 and len(payloads) > 4:
            raise MemoryError("too large")
        if any(p % 997 == 0 for p in payloads):
            raise ValueError("poison")
        if chance < 0.024:
            self.submit_more()
        elif chance < 0.026:
            self.batcher.stop()
        results = [2 * p for p in payloads]
        if chance > 0.99:
            return wrong_results(self.dice.choice(WRONG), results)
        return results

    def submit_more(self):
        """From within, without waiting for it."""
        payload = -self.dice.randrange(1, 1_000)
        try:
            request = self.batcher.submit(payload)
        except (QueueFullError, BatcherClosedError) as error:
            with self._guard:
                self.refused += isinstance(error, QueueFullError)
        else:
            with self._guard:
                self.more.append((payload, request))

    def call_back(self, request):
        """A done-callback."""
        chance = self.dice.random()
        inside = threading.get_ident() not in self.own_threads
        if chance < 0.05:
            raise SystemExit(1) if inside else RuntimeError("callback")
        if chance < 0.1 and inside:
            self.batcher.stop(drain=False)
            raise AssertionError("stop() in a thread of the batcher returned")
        if chance < 0.12:
            self.submit_more()
        elif chance < 0.14:
            assert not self.batcher.cancel(request)

    def observe(self, record, requests):
        if self.dice.random() < 0.02:
            raise SystemExit(1)

    def record(self, at_s, payload):
        """As a recorder."""
        with self._guard:
            self.recorded += 1
        if self.dice.random() < 0.02:
            raise OSError("disk full")

    def is_transient(self, error):
        """As `retry_on`."""
        if self.dice.random() < 0.1:
            raise RuntimeError("no idea")
        return isinstance(error, ConnectionError)

    def check_closed(self):
        """Outside of start and stop nothing is let in, nor counted."""
        before = self.batcher.statistics()
        for deadline_ms in (None, 5.0):
            with contextlib.suppress(BatcherClosedError):
                self.batcher.submit(1, deadline_ms=deadline_ms)
                raise AssertionError("a closed batcher accepted a request")
        assert self.batcher.statistics() == before

    def check_more(self):
        """What was submitted from within has ended as everything else."""
        assert all(request.done() for _, request in self.more)
        for payload, request in self.more:
            assert request.status != "ok" or request.result() == 2 * payload


class TroubledModel(AffineModel):
    """Takes `batch_s` a batch; requests of different remainder by three share none."""

    def __init__(self, batch_s, clock, trouble, misbehave=lambda payloads: None):
        super().__init__(batch_s, 0.0, clock)
        self._trouble = trouble
        self._misbehave = misbehave

    def lane_key(self, payload):
        return payload % 3

    def run(self, inputs):
        super().run(inputs)
        self._misbehave(inputs)
        return self._trouble.in_the_model(inputs)


class TroubledPolicy(TimeoutPolicy):
    """Now and then it does not decide, and does not learn."""

    def __init__(self, trouble, max_batch_size, batch_timeout_s):
        super().__init__(
            PolicyOptions(max_batch_size=max_batch_size, batch_timeout_s=batch_timeout_s)
        )
        self._dice = trouble.dice

    def decide(self, now_s, waiting):
        if self._dice.random() < 0.003:
            raise RuntimeError("undecided")
        return super().decide(now_s, waiting)

    def observe(self, batch):
        if self._dice.random() < 0.01:
            raise RuntimeError("nothing learnt")
