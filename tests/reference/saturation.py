"""Requests per second through the batcher with a queue that never empties, against a bare loop.

The bare loop runs the same batches of the same payloads through the same executor in one thread,
with nothing around it. The two take turns, so that both meet the same machine. Beside them: what
the device alone could do, by the median of its own time for a batch; CPU time of the process;
the speed of a copy to the device; and what the device does in one steady second.
"""

import json
import tempfile
import time
from collections import deque
from contextlib import contextmanager
from itertools import cycle, islice
from math import isfinite
from pathlib import Path
from statistics import median

from rich.console import Console

from batching import BatchRecord, RealClock
from bench.config import load_settings
from bench.session import Session
from tests.reference.device_trace import summarise

# Each batch size meets each contestant so often, in turn.
TURNS = 3
# Batches that are kept waiting or in work.
_DEPTH = 6
# Of a turn, left out of the count: until the pipeline is full.
_RAMP = 0.15
_COPIES = 50
# Of a trace: the time that is looked at, after the time in which the profiler finds its pace.
_TRACED_S, _TRACED_FROM_S = 1.0, 0.3


def run(context):
    """Write `saturation.json`, one batch size after the other."""
    plan, engine = context.plan, context.engine
    session = _session(plan, engine)
    content = context.folder.read("saturation")
    if not content:
        content = {"engine": engine, "model": plan.model, "dtype": plan.dtype, "sizes": {}}
    waiting = [size for size in plan.batch_sizes if str(size) not in content["sizes"]]
    context.start()
    # Three contestants, and each once more to warm up.
    turn_s = context.seconds / (len(plan.batch_sizes) * (TURNS + 1) * 3)
    for number, size in enumerate(waiting):
        if number and context.left_s < 0.5 * 3 * (TURNS + 1) * turn_s:
            return f"batch sizes {', '.join(map(str, waiting[number:]))} are left to be measured"
        content["sizes"][str(size)] = contest(session, size, turn_s)
        context.folder.write("saturation", content)
    content["copy"] = copy_speed(session)
    context.folder.write("saturation", content)
    content["trace"] = traced(session, plan.batch_sizes[-1])
    context.folder.write("saturation", content)
    return ""


def _session(plan, engine):
    """The model, loaded as a run loads it; what arrives does not matter here."""
    batcher = {"max_batch_size": max(plan.batch_sizes), "batch_timeout_ms": 50.0}
    replay = {"trace": "steady.json", "rate": 1.0, "duration": 1.0}
    model = plan.model_settings(engine)
    if engine == "cudagraph":
        model["captured_batch_sizes"] = plan.batch_sizes
    settings = load_settings(None, {**model, **batcher, **replay})
    return Session(settings, RealClock(), Console(quiet=True))


def contest(session, size, turn_s):
    """The bare loop, one batch in flight and two, in turn; medians, and medians of the shares."""
    # Both batchers are there all the time, since starting one may capture graphs.
    with _through(session, size, 1) as one, _through(session, size, 2) as two:
        contestants = {
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
        if name != "bare":
            shares = [turn[name]["rps"] / turn["bare"]["rps"] for turn in turns]
            found[name]["share_of_bare"] = median(shares)
            found[name]["shares_of_bare"] = shares
    return found


def bare(session, size, seconds):
    """A loop around the executor: rate, CPU seconds a request, the device's time for a batch."""
    executor, payloads = session.executor, _batch(session, size)
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
        **_device(device_s, size),
    }


@contextmanager
def _through(session, size, in_flight):
    """A batcher of that size, started; what is given takes seconds and measures for so long."""
    records = []
    payloads = _batch(session, size)
    with _batcher(session, size, in_flight, lambda record, _: records.append(record)) as target:
        yield lambda seconds: through_batcher(target, records, payloads, seconds)


def through_batcher(target, records, payloads, seconds):
    """The same through a batcher that always has full batches waiting."""
    records.clear()
    began_s = time.perf_counter()
    with _measured() as cost:
        requests = _feed(target, payloads, began_s + seconds)
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
        **_device([r.device_s for r in others], size),
    }


def _batcher(session, size, in_flight, observer):
    settings = session.settings
    knobs = settings.batcher.model_copy(update={"max_batch_size": size, "in_flight": in_flight})
    return session.serving(settings.model_copy(update={"batcher": knobs})).batcher(observer)


def _batch(session, size):
    return list(islice(cycle(session.payloads), size))


def _feed(target, payloads, until_s):
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


def _device(times_s, size):
    """The device's own time for a batch, and what it could serve if it never waited; or null."""
    known = [seconds for seconds in times_s if isfinite(seconds)]
    if not known:
        return {"device_s": None, "device_rps": None}
    return {"device_s": median(known), "device_rps": size / median(known)}


def _median(values):
    return None if any(value is None for value in values) else median(values)


def copy_speed(session):
    """Bytes a second from pinned memory to the device, of the largest batch; null on a CPU."""
    if not session.placement.is_cuda:
        return None
    import torch

    payload = session.payloads[0]
    if not isinstance(payload, torch.Tensor):
        return None
    size = session.settings.batcher.max_batch_size
    host = torch.empty((size, *payload.shape), dtype=payload.dtype, pin_memory=True)
    device = torch.device(session.placement.device)
    held = torch.empty_like(host, device=device)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.cuda.device(device):
        for _ in range(3):
            held.copy_(host, non_blocking=True)
        begin.record()
        for _ in range(_COPIES):
            held.copy_(host, non_blocking=True)
        end.record()
        torch.cuda.synchronize(device)
    size_bytes = host.numel() * host.element_size()
    seconds = begin.elapsed_time(end) / 1e3
    return {
        "bytes_per_request": size_bytes // size,
        "bytes_per_s": _COPIES * size_bytes / seconds,
    }


def traced(session, size):
    """What the device does while the batcher is kept busy with two batches in flight; or null."""
    if not session.placement.is_cuda:
        return None
    from torch.profiler import ProfilerActivity, profile

    # One session and no more: after an empty one, which older versions needed before graphs were
    # captured, newer ones record nothing (seen by others with CUDA 13.0). Both kinds of activity,
    # since some versions leave kernels out without the host's; the worker's own are not recorded.
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    payloads = _batch(session, size)
    with _batcher(session, size, 2, lambda *_: None) as target:
        _feed(target, payloads, time.perf_counter() + 0.3)
        with profile(activities=activities) as profiler:
            _feed(target, payloads, time.perf_counter() + _TRACED_FROM_S + _TRACED_S)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    return {"batch_size": size, "in_flight": 2, "summary": summarise(events, _TRACED_FROM_S)}
