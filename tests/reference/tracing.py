"""The part `trace`: what the device does in one steady second, by torch's profiler."""

import json
import tempfile
import time
from pathlib import Path

from tests.reference.device_trace import summarise
from tests.reference.saturation import batch_of, batcher, feed, session_of

# The time that is looked at, after the time in which the profiler finds its pace.
_TRACED_S, _TRACED_FROM_S = 1.0, 0.3
_WARM_UP_S = 0.3


def run(context):
    """Write `trace.json`, of the largest batch with two in flight; nothing without a device."""
    plan = context.plan
    size = plan.batch_sizes[-1]
    found = None
    if plan.on_gpu:
        session = session_of(plan, context.engine)
        context.start()
        found = summarise(traced(session, size), _TRACED_FROM_S)
    context.folder.write(
        "trace",
        {
            "engine": context.engine,
            "on_device": plan.on_gpu,
            "batch_size": size,
            "in_flight": 2,
            "summary": found,
        },
    )
    return ""


def traced(session, size):
    """The profiler's events while the batcher is kept busy with two batches in flight."""
    from torch.profiler import ProfilerActivity, profile

    # One session and no more: after an empty one, which older versions needed before graphs were
    # captured, newer ones record nothing (seen by others with CUDA 13.0). Both kinds of activity,
    # since some versions leave kernels out without the host's; the worker's own are not recorded.
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    payloads = batch_of(session, size)
    with batcher(session, size, 2, lambda *_: None) as target:
        feed(target, payloads, time.perf_counter() + _WARM_UP_S)
        with profile(activities=activities) as profiler:
            feed(target, payloads, time.perf_counter() + _TRACED_FROM_S + _TRACED_S)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
