"""A trace: when each request arrives and, where known, how large it is."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workloads.checks import not_negative, positive
from workloads.errors import TraceError

Times: TypeAlias = NDArray[np.float64]
Tokens: TypeAlias = NDArray[np.int32]

MOST_TOKENS = int(np.iinfo(np.int32).max)


@dataclass(frozen=True, eq=False)
class Trace:
    """N requests as read-only columns; what is given is copied.

    Attributes:
        arrival_s: float64 `[N]`, seconds from the start of the trace, non-decreasing, >= 0.
        duration_s: The span covered in seconds, at least the last arrival. Silence after the
            last arrival counts: it is part of what was drawn or recorded.
        input_tokens: int32 `[N]`, or None where requests have no length.
        output_tokens: int32 `[N]`, or None.
        name: What to call the trace on a screen.
        source: Where it comes from, as JSON-able values; `kind` is always there.

    Raises:
        TraceError: A column is not what is said above, or the lengths differ.
    """

    arrival_s: Times
    duration_s: float
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    name: str = "trace"
    source: Mapping[str, Any] = field(default_factory=lambda: {"kind": "given"})

    def __post_init__(self) -> None:
        arrival_s = _arrivals(self.arrival_s)
        _put(self, "arrival_s", arrival_s)
        for name in ("input_tokens", "output_tokens"):
            given = getattr(self, name)
            if given is not None:
                _put(self, name, _tokens(name, given, len(arrival_s)))
        not_negative("duration_s", self.duration_s, TraceError)
        if len(arrival_s) and arrival_s[-1] > self.duration_s:
            raise TraceError(
                f"duration_s must reach the last arrival at {arrival_s[-1]:.12g} s, "
                f"but got {self.duration_s:.12g}"
            )

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def rate_rps(self) -> float:
        """Mean rate N / duration_s in requests per second; nan for a trace that spans no time."""
        return len(self) / self.duration_s if self.duration_s > 0 else math.nan

    @property
    def cv(self) -> float:
        """Coefficient of variation of the gaps: standard deviation / mean, over the N - 1 gaps.

        0 for evenly spaced arrivals, 1 expected for a Poisson process, larger for bursty ones.
        nan with fewer than three arrivals, or when all arrive at once.
        """
        if len(self) < 3 or self.arrival_s[-1] == self.arrival_s[0]:
            return math.nan
        gaps_s = np.diff(self.arrival_s)
        return float(gaps_s.std() / gaps_s.mean())

    def window(self, start_s: float, stop_s: float) -> "Trace":
        """The arrivals with start_s <= arrival < stop_s, moved so that the window starts at 0.

        Raises:
            TraceError: Unless 0 <= start_s < stop_s <= duration_s.
        """
        if not 0 <= start_s < stop_s <= self.duration_s:
            raise TraceError(
                f"a window must lie between 0 and {self.duration_s:.12g} s and not be empty, "
                f"but got {start_s:.12g} to {stop_s:.12g} s"
            )
        first, stop = np.searchsorted(self.arrival_s, (start_s, stop_s))
        return replace(
            self,
            arrival_s=self.arrival_s[first:stop] - start_s,
            duration_s=stop_s - start_s,
            input_tokens=None if self.input_tokens is None else self.input_tokens[first:stop],
            output_tokens=None if self.output_tokens is None else self.output_tokens[first:stop],
        )

    def scaled(self, time_scale: float) -> "Trace":
        """The same requests with every time multiplied by `time_scale`; 2 plays half as fast."""
        positive("time_scale", time_scale, TraceError)
        if time_scale == 1:
            return self
        duration_s = self.duration_s * time_scale
        if not math.isfinite(duration_s):
            raise TraceError(
                f"time_scale must keep the duration finite, but got {time_scale:.12g} "
                f"for {self.duration_s:.12g} s"
            )
        return replace(self, arrival_s=self.arrival_s * time_scale, duration_s=duration_s)

    def at_rate(self, rate_rps: float) -> "Trace":
        """The same requests with time scaled so that the mean rate is `rate_rps`."""
        positive("rate_rps", rate_rps, TraceError)
        if not self.rate_rps > 0:
            raise TraceError(
                f"only a trace with requests and a duration has a rate to change, but got "
                f"{len(self)} requests over {self.duration_s:.12g} s"
            )
        return self.scaled(self.rate_rps / rate_rps)

    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the columns; the same requests, the same print."""
        digest = hashlib.sha256()
        for name in ("arrival_s", "input_tokens", "output_tokens"):
            column = getattr(self, name)
            if column is not None:
                little_endian = column.astype(column.dtype.newbyteorder("<"), copy=False)
                digest.update(f"{name}:{len(column)}:".encode())
                digest.update(little_endian.tobytes())
        return digest.hexdigest()[:16]


def _put(trace: Trace, name: str, column: NDArray[Any]) -> None:
    column.setflags(write=False)
    object.__setattr__(trace, name, column)  # the dataclass is frozen for everyone else


def _row(name: str, values: ArrayLike) -> NDArray[Any]:
    """`values` as a one-dimensional array of numbers, copied."""
    try:
        row = np.array(values)
    except (TypeError, ValueError, OverflowError):
        raise TraceError(f"{name} must be one row of numbers, but got nested values") from None
    if row.ndim != 1 or (len(row) and row.dtype.kind not in "iuf"):
        raise TraceError(
            f"{name} must be one row of numbers, but got shape {row.shape} of {row.dtype}"
        )
    return row


def _arrivals(values: ArrayLike) -> Times:
    arrival_s = _row("arrival_s", values).astype(np.float64, copy=False)
    if not len(arrival_s):
        return arrival_s
    finite = np.isfinite(arrival_s)
    if not finite.all():
        i = int(np.argmin(finite))
        raise TraceError(f"arrival_s must be finite, but arrival {i} is {arrival_s[i]}")
    backwards = np.diff(arrival_s) < 0
    if backwards.any():
        i = int(np.argmax(backwards)) + 1
        raise TraceError(
            f"arrival_s must be non-decreasing, but arrival {i} ({arrival_s[i]} s) "
            f"comes after {arrival_s[i - 1]} s"
        )
    if arrival_s[0] < 0:
        raise TraceError(f"arrival_s must be >= 0, but arrival 0 is {arrival_s[0]}")
    return arrival_s


def _tokens(name: str, values: ArrayLike, count: int) -> Tokens:
    tokens = _row(name, values)
    if len(tokens) != count:
        raise TraceError(
            f"{name} must have one entry for each of the {count} arrivals, but got {len(tokens)}"
        )
    if len(tokens) and tokens.dtype.kind == "f":
        raise TraceError(f"{name} must be whole numbers, but got {tokens.dtype}")
    outside = (tokens < 0) | (tokens > MOST_TOKENS)
    if outside.any():
        i = int(np.argmax(outside))
        raise TraceError(
            f"{name} must be between 0 and {MOST_TOKENS}, but request {i} has {tokens[i]}"
        )
    return tokens.astype(np.int32, copy=False)
