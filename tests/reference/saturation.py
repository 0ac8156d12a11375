"""Requests per second through the batcher with a queue that never empties, as two shares.

Of the *device alone*: the same batch, on the device already, run again and again with nothing in
between (on a GPU the replays of one graph, back to back). No batcher can pass 100 % of it. And of a
*bare loop*: collate, copy, run and copy back, through the same executor, in one thread; with two
batches in flight these overlap, which the loop cannot do, so this share may pass 100 %. All take
turns, so that they meet the same machine.
"""

import time
from collections import deque
from contextlib import contextmanager
from itertools import cycle, islice
from math import isfinite
from statistics import median

from rich.console import Console

from batching import BatchRecord, RealClock
from bench.live.session import Session
from bench.settings import BatcherSettings, load_settings

# Each batch size meets each contestant so often, in turn.
TURNS = 3
# Of each batcher that is started; a turn of each contestant, not counted, is the rest of it.
_WARM_UP_S = 1.0
# Batches of which one can be timed.
_FEWEST = 3
# Batches that are kept waiting or in work.
_DEPTH = 6
# Of a turn, left out of the count: until the pipeline is full.
_RAMP = 0.15
# Of a turn of the device alone, which needs less time than the others: few things disturb it.
_ALONE = 0.5


def run(context):
    """Write `saturation.json`, one batch size after the other."""
    plan, engine = context.plan, context.engine
    session = session_of(plan, engine)
    content = context.folder.read("saturation")
    if not content:
        content = {"engine": engine, "model": plan.model, "dtype": plan.dtype, "sizes": {}}
    # The largest first: of two in flight it is they that are to hide all else.
    sizes = sorted(plan.batch_sizes, reverse=True)
    waiting = [size for size in sizes if str(size) not in content["sizes"]]
    context.start()
    # Each contestant once more, to warm up.
    turn_s = context.seconds / (len(plan.batch_sizes) * (TURNS + 1) * (3 + _ALONE))
    for number, size in enumerate(waiting):
        if number and context.left_s < 0.5 * (3 + _ALONE) * (TURNS + 1) * turn_s:
            return f"batch sizes {', '.join(map(str, waiting[number:]))} are left to be measured"
        content["sizes"][str(size)] = contest(session, size, turn_s)
        context.folder.write("saturation", content)
    return ""


def session_of(plan, engine):
    """The model, loaded as a run loads it."""
    knobs = {"max_batch_size": max(plan.batch_sizes)}
    model = plan.model_settings(engine)
    if engine == "cudagraph":
        model["captured_batch_sizes"] = plan.batch_sizes
    settings = load_settings(None, {**model, **knobs})
    return Session(
        settings.model,
        [settings.batcher],
        RealClock(),
        Console(quiet=True),
        warm_up_budget_s=_WARM_UP_S,
    )


def contest(session, size, turn_s):
    """All of them in turn; medians of what was measured, and of the shares."""
    # Both batchers are there all the time, since starting one may capture graphs.
    with through(session, size, 1) as one, through(session, size, 2) as two:
        contestants = {
            "alone": lambda: alone(session, size, _ALONE * turn_s),
            "bare": lambda: bare(session, size, turn_s),
            "in_flight_1": lambda: one(turn_s),
            "in_flight_2": lambda: two(turn_s),
        }
        for go in contestants.values():  # warm-up
            go()
        turns = [{name: go() for name, go in contestants.items()} for _ in range(TURNS)]
    found = {}
    for name in contestants:
        own = [turn[name] for turn in turns]
        found[name] = {key: _median([one[key] for one in own]) for key in own[0]}
        for other in ("alone", "bare"):
            if name not in ("alone", other):
                shares = [turn[name]["rps"] / turn[other]["rps"] for turn in turns]
                found[name][f"share_of_{other}"] = median(shares)
                found[name][f"shares_of_{other}"] = shares
    return found


def alone(session, size, seconds):
    """Batches that are on the device already, one right behind the other."""
    executor = session.executor
    executor.prepare()
    staged = executor.stage(batch_of(session, size), BatchRecord(size=size))
    if not session.placement.is_cuda:
        return {"rps": size / _paced(lambda: session.model.run(staged), seconds)}
    run = (
        (lambda: session.model.run(staged.inputs))
        if staged.graph is None
        else (lambda: staged.graph.replay(size))
    )
    cuda, stream = executor._cuda, executor._shared.stream
    begin, end = cuda.event(timed=True), cuda.event(timed=True)

    def timed(count):
        with cuda.on(stream):
            begin.record(stream)
            for _ in range(count):
                run()
            end.record(stream)
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / count

    with cuda.on(stream):
        stream.wait_event(executor._copied)
    began_s = time.perf_counter()
    batch_s = max(timed(_FEWEST), (time.perf_counter() - began_s) / _FEWEST)
    return {"rps": size / timed(max(_FEWEST, int(seconds / batch_s)))}


def _paced(run, seconds):
    """Mean time of a call, over calls that take so long together."""
    count, began_s = 0, time.perf_counter()
    while count < _FEWEST or time.perf_counter() < began_s + seconds:
        run()
        count += 1
    return (time.perf_counter() - began_s) / count


def bare(session, size, seconds):
    """A loop around the executor: rate, CPU seconds a request, the device's time for a batch."""
    executor, payloads = session.executor, batch_of(session, size)
    device_s = []
    with _measured() as cost:
        until_s = time.perf_counter() + seconds
        while time.perf_counter() < until_s:
            record = BatchRecord(size=size)
            executor.execute(payloads, record)
            device_s.append(record.device_s)
    requests = size * len(device_s)
    return {
        "rps": requests / cost.wall_s,
        "cpu_s_per_request": cost.cpu_s / requests,
        "device_s": _device_s(device_s),
    }


@contextmanager
def through(session, size, in_flight):
    """A batcher of that size, started; what is given takes seconds and measures for so long."""
    records = []
    payloads = batch_of(session, size)
    with batcher(session, size, in_flight, lambda record, _: records.append(record)) as target:
        yield lambda seconds: through_batcher(target, records, payloads, seconds)


def through_batcher(target, records, payloads, seconds):
    """The same through a batcher that always has full batches waiting."""
    records.clear()
    began_s = time.perf_counter()
    with _measured() as cost:
        requests = feed(target, payloads, began_s + seconds)
    size = len(payloads)
    counted = [r for r in records if r.completed_s >= began_s + _RAMP * seconds]
    counted.sort(key=lambda record: record.completed_s)
    if len(counted) < 3:
        raise RuntimeError(f"{seconds:.1f} s hold too few batches of {size} to be counted")
    first, *others = counted
    elapsed_s = others[-1].completed_s - first.completed_s
    device_s = sum(r.device_s for r in others)
    return {
        "rps": sum(r.size for r in others) / elapsed_s,
        "mean_size": sum(r.size for r in others) / len(others),
        "cpu_s_per_request": cost.cpu_s / requests,
        "device_busy_share": device_s / elapsed_s if isfinite(device_s) else None,
        "device_s": _device_s([r.device_s for r in others]),
    }


def batcher(session, size, in_flight, observer):
    knobs = BatcherSettings(max_batch_size=size, batch_timeout_ms=50.0, in_flight=in_flight)
    return session.batcher(knobs, observer)


def batch_of(session, size):
    return list(islice(cycle(session.payloads(seed=0)), size))


def feed(target, payloads, until_s):
    """Keep some batches waiting until then; returns how many requests were answered."""
    waiting = deque()
    requests = 0
    while time.perf_counter() < until_s or waiting:
        while time.perf_counter() < until_s and len(waiting) < _DEPTH:
            waiting.append([target.submit(payload) for payload in payloads])
        if waiting:
            batch = waiting.popleft()
            for request in batch:
                request.result(60.0)
            requests += len(batch)
    return requests


class _Cost:
    wall_s = cpu_s = 0.0


@contextmanager
def _measured():
    """Wall time and CPU time of all threads of this process."""
    cost = _Cost()
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    yield cost
    cost.wall_s = time.perf_counter() - began_s
    cost.cpu_s = time.process_time() - began_cpu_s


def _device_s(times_s):
    """The device's own time for a batch, by its events; null where it has none."""
    known = [seconds for seconds in times_s if isfinite(seconds)]
    return median(known) if known else None


def _median(values):
    return None if any(value is None for value in values) else median(values)
