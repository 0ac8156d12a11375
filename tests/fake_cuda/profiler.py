"""A profile of a device that is at work: kernels one after the other, and copies beside them."""

import json
from pathlib import Path

_KERNEL_US, _EVERY_US, _COPY_US, _TRACE_US = 950, 1000, 200, 2_000_000


class profile:  # noqa: N801 - torch's own name
    """Stands in for `torch.profiler.profile`."""

    def __init__(self, *, activities=(), **options):
        self.activities = activities

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def export_chrome_trace(self, path):
        """Two seconds, in Chrome's Trace Event Format, as torch writes it."""
        events = []
        for at_us in range(0, _TRACE_US, _EVERY_US):
            events += [
                _event("kernel", "void gemm<float>(Params)", at_us, _KERNEL_US),
                _event("gpu_memcpy", "Memcpy HtoD (Pinned -> Device)", at_us, _COPY_US),
            ]
        Path(path).write_text(json.dumps({"traceEvents": events}), encoding="utf-8")


def _event(category, name, at_us, took_us):
    return {"ph": "X", "cat": category, "name": name, "ts": at_us, "dur": took_us}
