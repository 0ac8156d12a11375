"""The arrivals of one run, as `resolve` gives them."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workloads.operations.burstiness import contrasted_times
from workloads.trace import Trace


@dataclass(frozen=True)
class ResolvedTrace:
    """The arrivals of one run, and how they came about.

    Attributes:
        trace: The window and, after it, the tail.
        window_s: Length of the measured window in seconds; it is [0, window_s).
        tail_s: Length of the tail in seconds; what a listed trace had left, at most what was
            asked.
        rate_rps: Mean rate of the process or recording before the time scale.
        utilization: rate_rps / peak_rps where the load was given so, else None.
        peak_rps: The highest rate the system can serve, where it was needed, else None.
        seed: Seed of the draw, or of what is random in what was done to a listed trace; None
            where nothing was.
        time_scale: What all times were multiplied by.
        rate_by: How a listed trace got its rate: time, thin or superpose; None for a described
            one.
        loops: How many passes of the recording the window holds, the last of them perhaps cut.
        pass_s: Length of one pass in seconds where there are several, else None. Requests of the
            window from pass_s on repeat earlier ones: they are load, but no new evidence.
    """

    trace: Trace
    window_s: float
    tail_s: float
    rate_rps: float
    utilization: float | None
    peak_rps: float | None
    seed: int | None
    time_scale: float
    rate_by: str | None = None
    loops: int = 1
    pass_s: float | None = None

    @property
    def offered_rps(self) -> float:
        """Mean rate offered, in requests per second: rate_rps / time_scale."""
        return self.rate_rps / self.time_scale

    @property
    def requests(self) -> int:
        """Number of requests in the window."""
        return int(np.searchsorted(self.trace.arrival_s, self.window_s))

    def contrasted(self, contrast: float) -> "ResolvedTrace":
        """The gaps of the window to a power, its number of requests and its tail as they are.

        See `workloads.operations.burstiness`.
        """
        inside, trace = self.requests, self.trace
        if contrast == 1 or not inside:
            return self
        times_s = contrasted_times(trace.arrival_s[:inside], self.window_s, contrast)
        # A window is half-open, and the last gap may have shrunk to nothing.
        times_s = np.minimum(times_s, math.nextafter(self.window_s, 0.0))
        arrival_s = np.concatenate([times_s, trace.arrival_s[inside:]])
        source = trace.source_after("contrast", contrast=contrast)
        shaped = trace.taking(slice(None), arrival_s, trace.duration_s, source)
        return replace(self, trace=shaped)

    def describe(self) -> dict[str, Any]:
        """What identifies these arrivals, as JSON-able values.

        `window_rate_rps` and `window_cv` are those of the arrivals in the window, and differ
        from `offered_rps` and from the formula of the process by chance. `match_factor` is what
        all times were multiplied by to match the load, None where that was not asked for. The
        fingerprint covers the tail too.
        """
        window = replace(
            self.trace,
            arrival_s=self.trace.arrival_s[: self.requests],
            duration_s=self.window_s,
            input_tokens=None,
            output_tokens=None,
        )
        return {
            "name": self.trace.name,
            "kind": self.trace.source["kind"],
            "path": self.trace.source.get("path"),
            "format": self.trace.source.get("format"),
            "notes": list(self.trace.source.get("notes", ())),
            "process": self.trace.source.get("process"),
            "seed": self.seed,
            "sha256": self.trace.fingerprint(),
            "requests": self.requests,
            "tail_requests": len(self.trace) - self.requests,
            "rate_rps": self.rate_rps,
            "offered_rps": self.offered_rps,
            "window_rate_rps": window.rate_rps,
            "window_cv": None if math.isnan(window.cv) else window.cv,
            "window_s": self.window_s,
            "tail_s": self.tail_s,
            "time_scale": self.time_scale,
            "match_factor": self.trace.source.get("match_factor"),
            "utilization": self.utilization,
            "peak_rps": self.peak_rps,
            "rate_by": self.rate_by,
            "loops": self.loops,
            "pass_s": self.pass_s,
            "operations": list(self.trace.source.get("operations", ())),
        }
