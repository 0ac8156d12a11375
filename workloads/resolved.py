"""The arrivals of one run, as `resolve` gives them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workloads.operations.burstiness import contrasted_times
from workloads.trace import Trace

# A window's rate is another than the recording's from a tenth on, and from three standard
# deviations of a Poisson count.
_LEAST_SHARE, _LEAST_ERRORS = 0.1, 3.0


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

    @property
    def window_rps(self) -> float:
        """Rate of the arrivals in the window, in requests per second."""
        return self.requests / self.window_s

    @property
    def is_unlike_whole(self) -> bool:
        """Whether this is a part of a recording, at a rate clearly not that of all of it."""
        if self.rate_by is None or self.loops > 1:
            return False
        expected = self.offered_rps * self.window_s
        away = abs(self.requests - expected)
        return away > max(_LEAST_SHARE * expected, _LEAST_ERRORS * math.sqrt(expected))

    @property
    def start_s(self) -> float | None:
        """Where in the recording, as it is played, the window starts; None where that is not one.

        A window that was cut for the run starts at a second of it; one put together does not.
        """
        done = self.trace.source.get("operations", ())
        start_s = done[-1].get("start_s") if done else 0.0
        return None if start_s is None else float(start_s)

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
            "notes": [*self.trace.source.get("notes", ()), *windows_note([self])],
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


def windows_note(draws: Sequence[ResolvedTrace]) -> list[str]:
    """What to know of the rates of parts of a recording; nothing where they are like all of it.

    Args:
        draws: At least one, at one load.
    """
    if not any(draw.is_unlike_whole for draw in draws):
        return []
    first = draws[0]
    whole = f"all of it has {_rate(first.offered_rps)}"
    if len(draws) > 1:
        rates = [draw.window_rps for draw in draws]
        are, advice = "are parts of the recording", ": a longer --duration is more like it"
        if first.start_s is None:
            are, advice = "are put together from blocks of the recording,", ""
        return [
            f"the {len(draws)} draws of {first.window_s:.6g} s {are} with {_rate(min(rates))} to "
            f"{_rate(max(rates))}, {_rate(sum(rates) / len(rates))} on average; {whole}{advice}"
        ]
    at = ""
    if first.start_s is not None:
        at = f", from {first.start_s:.6g} s on" if first.start_s else ", from its start"
    return [
        f"the window is {first.window_s:.6g} s of the recording{at}, with "
        f"{_rate(first.window_rps)}; {whole}"
    ]


def _rate(rate_rps: float) -> str:
    return f"{rate_rps:,.3g} req/s"
