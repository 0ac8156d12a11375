"""Those who ask: they submit, cancel, are called back, and know how each of theirs ended."""

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

from batching import (
    BatcherClosedError,
    ConfigError,
    ExecuteTimeoutError,
    QueueFullError,
    Request,
    RequestCancelledError,
    RequestError,
    RequestExpiredError,
    WorkerDiedError,
)
from batching.errors import BatchExecutionError
from tests.batching.life.mischief import Payload
from tests.batching.life.scenarios import Submit

STATUS_OF_ERROR = {
    QueueFullError: "rejected",
    RequestExpiredError: "expired",
    RequestCancelledError: "cancelled",
    asyncio.CancelledError: "cancelled",
    BatchExecutionError: "failed",
    ExecuteTimeoutError: "failed",
    WorkerDiedError: "failed",
}
ENDINGS = ("ok", "rejected", "expired", "failed", "cancelled")
# Submitted by what the batcher calls: as many, lest a life never ends.
MOST_NESTED = 3


@dataclass
class Asked:
    """One request, as its caller sees it.

    Attributes:
        request: the handle that `submit` returned.
        task: the awaiting caller, in its place.
        refusal: what was raised at once.
        calls: the request's status at each call of a callback that should be called once.
        cancels: how often it was told that it has cancelled it.
        caller_cancelled: the awaiting caller was cancelled.
    """

    step: Submit
    payload: Payload
    asked_s: float
    request: Request | None = None
    task: asyncio.Task | None = None
    refusal: Exception | None = None
    calls: list[str] = field(default_factory=list)
    cancels: int = 0
    caller_cancelled: bool = False

    def __str__(self):
        return f"#{self.payload.index} {self.step}"

    def ending(self):
        """Its status, and its result or error; "nowhere" if it was refused and never counted."""
        if self.refusal is not None:
            return ("rejected" if isinstance(self.refusal, QueueFullError) else "nowhere"), None
        if self.request is not None:
            return self.request.status, self.request.value
        if self.task is None or not self.task.done():
            return "pending", None
        if self.task.cancelled():
            return "cancelled", None
        error = self.task.exception()
        if error is None:
            return "ok", self.task.result()
        return STATUS_OF_ERROR.get(type(error), "unknown"), error

    @property
    def status(self):
        return self.ending()[0]


class Callers:
    """All of a life's callers."""

    def __init__(self, life):
        self._life = life
        self._setup = life.scenario.setup
        self._numbers = count()
        self._nested = 0
        self._guard = threading.Lock()
        self.asked: list[Asked] = []

    def pending(self):
        return [asked for asked in list(self.asked) if asked.status == "pending"]

    # Asking.

    def submit(self, step):
        """One request, from whatever thread this is; returns its `Asked`."""
        life = self._life
        with self._guard:
            payload = Payload(next(self._numbers), step.act, step.shape)
        asked = Asked(step, payload, life.clock.now())
        state, before = life.state, None if life.live else life.batcher.statistics()
        try:
            if step.way == "await" and life.is_driver:
                self._await(asked)
            else:
                loop = life.loop if step.way == "future" else None
                asked.request = life.batcher.submit(payload, loop, **_options(step))
        except Exception as error:  # noqa: BLE001 - judged just below
            asked.refusal = error
        self.asked.append(asked)
        if asked.refusal is None:
            self._check_acceptance(asked, state, before)
        else:
            self._check_refusal(asked, state, before)
        if asked.request is not None:
            self._add_callbacks(asked)
        return asked

    def _await(self, asked):
        life = self._life
        request = life.batcher.add_request(asked.payload, **_options(asked.step))
        task = asked.task = life.loop.create_task(request)
        life.pump()
        error = task.exception() if task.done() and not task.cancelled() else None
        if isinstance(error, QueueFullError) or not isinstance(error, RequestError | None):
            raise error

    def submit_more(self):
        """A harmless one, from something that the batcher calls; None if it was not accepted."""
        with self._guard:
            self._nested += 1
            if self._nested > MOST_NESTED:
                return None
        return self.submit(Submit()).request

    def flood(self, step):
        for i in range(step.count):
            self._life.sleep(0.25)
            priority = step.priority + 10 * (i + 1) * step.distinct
            self.submit(Submit(priority=priority, shape=step.shape))

    def _check_acceptance(self, asked, state, before):
        step, setup, problem = asked.step, self._setup, self._life.problem
        if state == "closed":
            problem(f"{asked} was accepted though the batcher was closed")
        if step.bad or (step.act == "has no shape" and setup.has_shapes):
            problem(f"{asked} was accepted though it is not one")
        if before is None:
            return
        if setup.max_queue_size is not None and before.queue_depth >= setup.max_queue_size:
            problem(f"{asked} was accepted though {before.queue_depth} waited")
        if not before.healthy_replicas:
            problem(f"{asked} was accepted though no replica was healthy")

    def _check_refusal(self, asked, state, before):
        step, setup, error = asked.step, self._setup, asked.refusal
        limit = setup.max_queue_size
        if isinstance(error, BatcherClosedError):
            # It may have closed meanwhile, in another thread.
            is_right = state != "open" or self._life.state != "open"
        elif isinstance(error, QueueFullError):
            is_full = limit is not None and (before is None or before.queue_depth >= limit)
            is_dead = (
                bool(setup.execute_timeout_ms) or self._life.policy.deaths > 0
                if before is None
                else not before.healthy_replicas
            )
            is_right = state != "closed" and (is_full or is_dead)
        elif isinstance(error, ConfigError):
            is_right = bool(step.bad)
        else:
            is_right = isinstance(error, LookupError) and step.act == "has no shape"
        if not is_right:
            self._life.problem(f"{asked} was refused while {state} with {error!r}")

    # Being told.

    def _add_callbacks(self, asked):
        kind, request = asked.step.callback, asked.request
        callbacks = [lambda r: asked.calls.append(r.status)]
        if kind != "none":
            callbacks.insert(0, lambda _: self._called_back(kind, asked))
        for callback in callbacks:
            try:
                request.add_done_callback(callback)
            except Exception as error:  # noqa: BLE001 - told
                self._life.problem(f"add_done_callback of {asked} raised {error!r}")

    def _called_back(self, kind, asked):
        life = self._life
        if kind == "raises":
            raise RuntimeError("callback")
        if kind == "exits":
            # In a caller's own thread it would be that caller's to be ended by.
            raise RuntimeError("callback") if life.is_own_thread else SystemExit("callback")
        if kind in ("stops", "cuts"):
            life.stop(drain=kind == "stops")
        elif kind == "submits":
            self.submit_more()
        elif kind == "cancels":
            self.cancel_all()
        elif kind == "counts":
            life.batcher.statistics()
        elif kind == "adds":
            asked.request.add_done_callback(lambda _: None)
        elif kind == "results":
            asked.request.result(0)

    # Cancelling.

    def cancel(self, back):
        """The one that many before the latest."""
        if back >= len(self.asked):
            return
        asked, life = self.asked[-1 - back], self._life
        if asked.task is not None and asked.refusal is None:
            asked.caller_cancelled = asked.task.cancel() or asked.caller_cancelled
            life.pump()
        elif asked.request is not None:
            self._cancel(asked)
        elif getattr(asked.refusal, "request", None) and life.batcher.cancel(asked.refusal.request):
            life.problem(f"{asked} was cancelled after it was refused")

    def cancel_all(self):
        for asked in self.pending():
            if asked.request is not None:
                self._cancel(asked)

    def _cancel(self, asked):
        life = self._life
        was_pending = asked.request.status == "pending"
        cancelled = life.batcher.cancel(asked.request)
        asked.cancels += cancelled
        if cancelled != was_pending and not life.live:
            life.problem(f"cancelling {asked} said {cancelled}, but got pending={was_pending}")

    # Counting.

    def check_counts(self, *, finally_=False):
        """Hold the batcher's counts to what its callers know: at every step of virtual time."""
        life = self._life
        try:
            told = life.batcher.statistics()
        except Exception as error:  # noqa: BLE001 - told
            life.problem(f"statistics() raised {error!r}")
            return
        ended = {status: getattr(told, status) for status in ENDINGS}
        waits = {"queue_depth": told.queue_depth, "in_flight": told.in_flight}
        if told.submitted != sum(ended.values()) + sum(waits.values()) or min(waits.values()) < 0:
            life.problem(f"the counts do not add up: {told}")
        if life.live and not finally_:
            return
        known = Counter(asked.status for asked in self.asked)
        known.pop("nowhere", None)
        counted = Counter(ended | {"pending": sum(waits.values())})
        unsure = sum(asked.caller_cancelled for asked in self.asked) if life.live else 0
        if (counted - known).total() > unsure or (known - counted).total() > unsure:
            life.problem(f"the counts are {dict(+counted)}, but callers know of {dict(+known)}")


def _options(step):
    options = {"priority": step.priority, "deadline_ms": step.deadline_ms}
    bad = {"priority": {"priority": "high"}, "deadline": {"deadline_ms": 0.0}, "": {}}
    return options | bad[step.bad]
