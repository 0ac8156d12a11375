"""What must be so at the end of any life."""

import threading
from collections import Counter, deque
from math import inf

from batching import (
    BatchExecutionError,
    ExecuteTimeoutError,
    RequestCancelledError,
    WorkerDiedError,
)
from batching.errors import WrongOutputCountError
from batching.queueing.lanes import LaneQueue
from batching.request import Request
from tests.batching.life.scenarios import RAISING, SLOW

# Deaths without a good batch in between after which a worker is given up.
MOST_DEATHS = 5
# Lanes that may outlive their requests: the default one, and what an implementation keeps warm.
MOST_LANES = 4


def judge(life):
    """Add to the life's problems what is seen once it is over."""
    callers = life.callers.asked
    for asked in callers:
        judge_ending(life, asked)
    errors = Counter(
        id(value) for status, value in (a.ending() for a in callers) if status != "ok" and value
    )
    if shared := sum(many for many in errors.values() if many > 1):
        life.problem(f"{shared} requests were ended with an exception object that others have too")
    judge_batches(life)
    judge_recorder(life)
    if not life.live:
        judge_starvation(life)
    judge_deaths(life)
    for remains in what_remains(life.batcher):
        life.problem(f"after its end the batcher still holds {remains}")
    judge_threads(life)


def judge_ending(life, asked):
    """One request: ended once, told once, with its own result or with the right error."""
    status, value = asked.ending()
    if status == "nowhere" or asked.refusal is not None:
        if asked.calls:
            life.problem(f"{asked} was refused, and yet called back")
        return
    if status == "pending":
        life.problem(f"{asked} never ended")
        return
    if asked.request is not None:
        judge_handle(life, asked, status, value)
    runs = [run for run in life.mischief.runs if asked.payload in run.members]
    why = {
        "ok": wrong_result,
        "expired": wrong_expiry,
        "cancelled": wrong_cancel,
    }.get(status, wrong_failure)(life, asked, value, runs)
    if why is not None:
        cause = "" if getattr(value, "__cause__", None) is None else f" from {value.__cause__!r}"
        life.problem(f"{asked} ended as {status} with {value!r}{cause}: {why}")
    if asked.cancels > 1 or (asked.cancels and status != "cancelled"):
        life.problem(f"{asked} ended as {status}, but {asked.cancels} cancels were told they did")


def judge_handle(life, asked, status, value):
    """What its handle says, and what it has said before, are one thing."""
    if asked.calls != [status]:
        life.problem(f"{asked} ended as {status}, but its callback saw {asked.calls}")
    if asked.request.payload is not None:
        life.problem(f"{asked} ended as {status}, but its payload is kept")
    future = asked.request.future
    if future is None:
        return
    if not future.done():
        life.problem(f"{asked} ended as {status}, but whoever awaits its future waits on")
    elif (future.exception() or future.result()) != value:
        life.problem(f"the future of {asked} ended with {future!r}, but its request with {value!r}")


def wrong_result(life, asked, value, runs):
    """Why it should not have ended so; None if it should. So are those that follow."""
    if value != asked.payload.answer:
        return "that is not its result"
    if not any(run.error is None and not run.is_wrong for run in runs):
        return "no batch of its ended well"
    return None


def wrong_expiry(life, asked, error, runs):
    has_deadline = asked.step.deadline_ms or life.scenario.setup.deadline_ms
    if not has_deadline and life.scenario.setup.policy != "deadline":
        return "it has no deadline"
    if runs and not any(run.error for run in runs) and not may_time_out(life):
        return "it was run before"
    return None


def wrong_cancel(life, asked, error, runs):
    if not (asked.cancels or asked.caller_cancelled or life.is_cut):
        return "nobody cancelled it"
    if error is not None and not isinstance(error, RequestCancelledError):
        return "that is another error"
    return None


def wrong_failure(life, asked, error, runs):
    if isinstance(error, ExecuteTimeoutError):
        return None if may_time_out(life) else "nothing hung"
    if isinstance(error, WorkerDiedError):
        dead = life.policy.deaths >= MOST_DEATHS or may_time_out(life)
        return None if dead else f"with {life.policy.deaths} deaths no worker is given up"
    if not isinstance(error, BatchExecutionError):
        return "that is no way to fail"
    cause = error.__cause__
    if isinstance(cause, WrongOutputCountError):
        return None if any(run.is_wrong for run in runs) else "its results were right"
    if not any(run.error is cause for run in runs):
        return "no batch of its raised that"
    culprits = [a for a in life.callers.asked if a.payload.act != "fine"]
    lone = life.scenario.setup.isolate and len(culprits) == 1
    if lone and culprits[0].payload.act in RAISING and asked is not culprits[0]:
        return f"only {culprits[0]} should have"
    return None


def may_time_out(life):
    """Whether a batch ran for longer than it may; live, any batch may have."""
    if not life.scenario.setup.execute_timeout_ms:
        return False
    acts = {payload.act for run in life.mischief.runs for payload in run.members}
    return life.live or not acts.isdisjoint(SLOW)


def judge_batches(life):
    """Every batch is within its limit and of one shape, and every observer saw it."""
    setup = life.scenario.setup
    for run in life.mischief.runs:
        if not 0 < len(run.members) <= setup.max_batch_size:
            life.problem(f"a batch of {len(run.members)} was run")
        if len({id(payload) for payload in run.members}) < len(run.members):
            life.problem("a request was twice in one batch")
        if setup.has_shapes and len({payload.shape for payload in run.members}) > 1:
            life.problem("a batch of several shapes was run")
    seen = {id(request) for _, requests in life.batches for request in requests}
    for asked in life.callers.asked:
        if asked.request is not None and asked.status == "ok" and id(asked.request) not in seen:
            life.problem(f"the second observer never saw the batch of {asked}")


def judge_recorder(life):
    """Arrivals are what was accepted and what found the queue full."""
    arrivals = sum(asked.status != "nowhere" for asked in life.callers.asked)
    if life.recorder.recorded != arrivals:
        life.problem(f"{arrivals} requests arrived, but {life.recorder.recorded} were recorded")


def judge_starvation(life):
    """A request that has waited long enough sees no batch go that is younger as a whole.

    From `max_starvation_ms`, and what the policy may hold any batch for, after its arrival on, as
    many may pass it as the workers can have in hand. One that is tried again is not looked at.
    """
    setup = life.scenario.setup
    hold_ms = setup.batch_timeout_ms
    if setup.policy in ("adaptive", "deadline"):
        hold_ms = max(hold_ms, life.slo_ms)
    bound_s = (setup.max_starvation_ms + hold_ms) / 1e3
    taken_s = {}
    for record, requests in life.batches:
        for request in requests:
            taken_s[request] = min(record.taken_s, taken_s.get(request, inf))
    records = [record for record, _ in life.batches if record.reason != "isolate"]
    names = {id(asked.request): asked for asked in life.callers.asked}
    starved = []
    for request, first_s in taken_s.items():
        passed = [
            record
            for record in records
            if request.enqueued_s + bound_s < record.taken_s < first_s
            and record.oldest_s > request.enqueued_s
        ]
        if len(passed) > setup.replicas * setup.in_flight and not request.first_failed_s < first_s:
            starved.append((len(passed), first_s - request.enqueued_s, id(request)))
    if starved:
        passed, waited_s, request = max(starved)
        life.problem(
            f"{len(starved)} starved: {names.get(request, 'one that is awaited')} waited "
            f"{waited_s * 1e3:.0f} ms, and {passed} batches of younger ones passed it after "
            f"{bound_s * 1e3:.0f} ms"
        )


def judge_deaths(life):
    """A worker that only dies is given up in time; with one slot it is known which dies."""
    setup = life.scenario.setup
    one_slot = setup.replicas * setup.in_flight == 1
    if one_slot and setup.decision == "raises" and life.policy.deaths > MOST_DEATHS:
        life.problem(f"the worker died {life.policy.deaths} times before it was given up")


def judge_threads(life):
    """None of the batcher's threads is left; those of a hung model have come back by now."""
    for thread in set(threading.enumerate()) - life.threads_before:
        if thread.name.startswith("dynbatch"):
            thread.join(2.0)
            if thread.is_alive():
                life.problem(f"{thread.name} still runs")


def what_remains(batcher):
    """Requests, and lanes without one, that can be reached from a batcher: a line each.

    White-box, but it knows no names: everything of the package's own that hangs on the batcher
    is walked through.
    """
    remains = [
        f"a request that is {thing.status}, at {path}"
        for path, thing in reached_from(batcher)
        if isinstance(thing, Request)
    ]
    lanes = lanes_of(batcher)
    return [*remains, f"{lanes} lanes"] if lanes > MOST_LANES else remains


def lanes_of(batcher):
    """How many lanes can be reached from a batcher, requests apart."""
    return sum(isinstance(thing, LaneQueue) for _, thing in reached_from(batcher))


def reached_from(batcher):
    """Everything of the package's own that hangs on a batcher, with the way to it."""
    seen, todo = set(), deque([("batcher", batcher)])
    while todo:
        path, thing = todo.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        yield path, thing
        if not isinstance(thing, Request):
            todo.extend((f"{path}{step}", part) for step, part in _parts(thing))


def _parts(thing):
    if isinstance(thing, dict):
        return [(f"[{key!r}]", value) for key, value in list(thing.items())]
    if isinstance(thing, list | tuple | set | frozenset | deque):
        return [("[]", value) for value in list(thing)]
    if not type(thing).__module__.startswith("batching"):
        return []
    names = list(getattr(thing, "__dict__", ()))
    names += [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return [(f".{name}", getattr(thing, name, None)) for name in names]
