"""A trace: when each request arrives and, where known, how large it is."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workloads.checks import not_negative, positive, within
from workloads.errors import TraceError

Times: TypeAlias = NDArray[np.float64]
Tokens: TypeAlias = NDArray[np.int32]
Rows: TypeAlias = NDArray[np.int64]

MOST_TOKENS = int(np.iinfo(np.int32).max)
MOST_ARRIVALS = 50_000_000
# What nobody records or waits for, and where arithmetic on times would lose its sense.
SHORTEST_S, LONGEST_S = 1e-9, 1e12
# Two spans this close (relative) are one span that went through some arithmetic.
SAME = 1e-9


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
        source: Where it comes from, as JSON-able values; `kind` is always there, and
            `operations`, where it is there, lists what was done since, first to last. Where
            arrivals are known only to steps that hold several, `resolution_s` is such a step.

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
        if self.duration_s > LONGEST_S:
            raise TraceError(
                f"duration_s must be at most {LONGEST_S:g} s, but got {self.duration_s:.12g}"
            )
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
    def resolution_s(self) -> float | None:
        """The step to which arrivals are known, in seconds, where several share one.

        What happened within a step was not recorded: a server's log in whole seconds, counts of
        requests. None where the source says of no such step.
        """
        step_s = self.source.get("resolution_s")
        return None if step_s is None else float(step_s)

    @property
    def has_gaps(self) -> bool:
        """Whether the times between arrivals are known: a step is no more than half of their mean.

        Rounded to steps of s, the variance of a gap is larger by s^2 / 6, 4 % of that of a Poisson
        process then.
        """
        step_s = self.resolution_s
        return len(self) > 1 and (step_s is None or 2 * step_s * len(self) <= self.duration_s)

    @property
    def cv(self) -> float:
        """Coefficient of variation of the gaps: standard deviation / mean, over the N - 1 gaps.

        0 for evenly spaced arrivals, 1 expected for a Poisson process, larger for bursty ones.
        nan with fewer than three arrivals, when all arrive at once, or where the gaps are not
        known (`has_gaps`).
        """
        if len(self) < 3 or self.arrival_s[-1] == self.arrival_s[0] or not self.has_gaps:
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
        rows = slice(int(first), int(stop))
        return self.taking(
            rows,
            self.arrival_s[rows] - start_s,
            stop_s - start_s,
            self.source_after("window", start_s=start_s, length_s=stop_s - start_s),
        )

    def ends_s(self, starts_s: ArrayLike, length_s: float) -> Times:
        """Where pieces of `length_s` end: the trace's own end where only rounding is between."""
        ends_s = np.asarray(starts_s, np.float64) + length_s
        same = abs(ends_s - self.duration_s) <= SAME * self.duration_s
        return np.where(same, self.duration_s, ends_s)

    def rows(self, starts_s: ArrayLike, ends_s: ArrayLike) -> tuple[Rows, Rows]:
        """The first request of each piece of the trace, and one past its last; int64 `[M]` each.

        A piece is [start, end), in seconds. Only one that reaches the end of the trace has the
        arrivals at that very end too, so that pieces which cover the trace lose none.
        """
        lasts = np.searchsorted(self.arrival_s, ends_s)
        lasts = np.where(np.asarray(ends_s) >= self.duration_s, len(self), lasts)
        return np.searchsorted(self.arrival_s, starts_s), lasts

    def spliced(
        self,
        starts_s: ArrayLike,
        ends_s: ArrayLike,
        duration_s: float,
        source: Mapping[str, Any],
    ) -> "Trace":
        """Pieces of the trace, as `rows` defines them, one behind the other; they may repeat.

        Args:
            starts_s: float64 `[M]`, where each piece starts, in seconds.
            ends_s: float64 `[M]`, where it ends, after its start and at most at duration_s.
            duration_s: How long they are together; their sum may differ from it by rounding.
            source: What to say of the result.

        Raises:
            TraceError: A piece reaches outside the trace, or the result would be too large.
        """
        starts_s, ends_s = np.asarray(starts_s, np.float64), np.asarray(ends_s, np.float64)
        inside = (starts_s >= 0) & (starts_s < ends_s) & (ends_s <= self.duration_s)
        if not inside.all():
            i = int(np.argmin(inside))
            raise TraceError(
                f"a piece must lie between 0 and {self.duration_s:.12g} s and not be empty, but "
                f"got {starts_s[i]:.12g} to {ends_s[i]:.12g} s"
            )
        firsts, lasts = self.rows(starts_s, ends_s)
        counts = lasts - firsts
        total = int(counts.sum())
        check_size(total)
        before = np.cumsum(counts) - counts
        rows = np.arange(total) + np.repeat(firsts - before, counts)
        places_s = np.concatenate(([0.0], np.cumsum(ends_s - starts_s)[:-1]))
        arrival_s = self.arrival_s[rows] - np.repeat(starts_s, counts)
        arrival_s += np.repeat(places_s, counts)
        np.minimum(arrival_s, duration_s, out=arrival_s)
        return self.taking(rows, arrival_s, duration_s, source)

    def repeated(self, passes: int) -> "Trace":
        """The trace played `passes` times: where one pass ends, at duration_s, the next begins."""
        if passes < 1:
            raise TraceError(f"passes must be >= 1, but got {passes}")
        if passes == 1:
            return self
        check_size(passes * max(1, len(self)))
        span_s = self.duration_s
        source = self.source_after("repeat", passes=passes)
        return self.spliced(np.zeros(passes), np.full(passes, span_s), passes * span_s, source)

    def rotated(self, offset_s: float) -> "Trace":
        """The trace from `offset_s` to its end, then what comes before `offset_s`."""
        if not 0 <= offset_s < self.duration_s:
            raise TraceError(
                f"offset_s must be >= 0 and below the trace's {self.duration_s:.12g} s, "
                f"but got {offset_s:.12g}"
            )
        if offset_s == 0:
            return self
        span_s = self.duration_s
        source = self.source_after("rotate", offset_s=offset_s)
        return self.spliced((offset_s, 0.0), (span_s, offset_s), span_s, source)

    def delayed(self, offset_s: float) -> "Trace":
        """The same requests after `offset_s` (>= 0) seconds of silence."""
        not_negative("offset_s", offset_s, TraceError)
        return replace(
            self,
            arrival_s=self.arrival_s + offset_s,
            duration_s=self.duration_s + offset_s,
            source=self.source_after("delay", offset_s=offset_s),
        )

    def thinned(self, share: float, seed: int) -> "Trace":
        """Each request kept with probability `share`, independently; the time axis stays.

        The index of dispersion for counts of the result is 1 + share (IDC(t) - 1) in expectation,
        at every scale t: given N requests, what is left of them is binomial, and so
        Var N' = share^2 Var N + share (1 - share) E N.

        Raises:
            TraceError: `share` outside 0 to 1, or a seed below 0.
        """
        within("share", share, 0.0, 1.0, TraceError)
        check_seed(seed)
        kept = np.random.default_rng(seed).random(len(self)) < share
        source = self.source_after("thin", share=share, seed=seed)
        return self.taking(kept, self.arrival_s[kept], self.duration_s, source)

    def taking(
        self,
        rows: slice | NDArray[Any],
        arrival_s: Times,
        duration_s: float,
        source: Mapping[str, Any],
    ) -> "Trace":
        """The requests that `rows` selects, with their tokens, at other times."""
        return replace(
            self,
            arrival_s=arrival_s,
            duration_s=duration_s,
            input_tokens=None if self.input_tokens is None else self.input_tokens[rows],
            output_tokens=None if self.output_tokens is None else self.output_tokens[rows],
            source=source,
        )

    def source_after(self, operation: str, **details: Any) -> dict[str, Any]:
        """The source of what `operation` makes of this trace: its own, and one entry more."""
        done = [*self.source.get("operations", ()), {"operation": operation, **details}]
        return {**self.source, "operations": done}

    def scaled(self, time_scale: float) -> "Trace":
        """The same requests with every time multiplied by `time_scale`; 2 plays half as fast."""
        positive("time_scale", time_scale, TraceError)
        if time_scale == 1:
            return self
        duration_s = self.duration_s * time_scale
        self._check_span("time_scale", time_scale, duration_s)
        source = self.source_after("scale_time", factor=time_scale)
        if self.resolution_s is not None:
            source["resolution_s"] = self.resolution_s * time_scale
        return replace(
            self, arrival_s=self.arrival_s * time_scale, duration_s=duration_s, source=source
        )

    def at_rate(self, rate_rps: float) -> "Trace":
        """The same requests with time scaled so that the mean rate is `rate_rps`."""
        positive("rate_rps", rate_rps, TraceError)
        if not self.rate_rps > 0:
            raise TraceError(
                f"only a trace with requests and a duration has a rate to change, but got "
                f"{len(self)} requests over {self.duration_s:.12g} s"
            )
        self._check_span("rate_rps", rate_rps, len(self) / rate_rps)
        return self.scaled(self.rate_rps / rate_rps)

    def _check_span(self, name: str, value: float, duration_s: float) -> None:
        """Raise TraceError for a `value` that makes this trace absurdly short or long."""
        if self.duration_s > 0 and not SHORTEST_S <= duration_s <= LONGEST_S:
            raise TraceError(
                f"{name} must keep the duration of {self.duration_s:.12g} s between {SHORTEST_S:g} "
                f"and {LONGEST_S:g} s, but got {value:.12g}"
            )

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


def check_seed(seed: int) -> None:
    """Raise TraceError for a seed that no generator takes."""
    if seed < 0:
        raise TraceError(f"seed must be >= 0, but got {seed}")


def check_size(count: float, of: str = "requests") -> None:
    """Raise TraceError for more of something than could be held in memory."""
    if count > MOST_ARRIVALS:
        raise TraceError(
            f"there must be at most {MOST_ARRIVALS:,} {of}, but there would be {count:,.0f}"
        )


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
