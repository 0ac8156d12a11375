"""Several traces as one: laid over each other, or one behind the other."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from workloads.errors import TraceError
from workloads.trace import Trace, check_size

_TOKENS = ("input_tokens", "output_tokens")


def merged(traces: Sequence[Trace], *, name: str | None = None) -> Trace:
    """Every request of every trace at its own time, as long as the longest of them.

    Of arrivals at the same time, those of the earlier trace come first. The counts of
    independent traces add up, and so do their variances: the index of dispersion of the result
    is the mean of theirs, weighted by their rates.

    Raises:
        TraceError: Nothing to merge, a result too large, or a token column that some traces have
            and others lack: a request without a length is not one of length 0.
    """
    columns = _joined(traces)
    order = np.argsort(columns["arrival_s"], kind="stable")
    return Trace(
        **{column: values[order] for column, values in columns.items()},
        duration_s=max(trace.duration_s for trace in traces),
        name=name or "merged",
        source=_source("merged", traces),
    )


def concatenated(traces: Sequence[Trace], *, name: str | None = None) -> Trace:
    """The traces one behind the other: where one ends, at its duration_s, the next begins.

    Raises:
        TraceError: As for `merged`.
    """
    starts_s = np.concatenate(([0.0], np.cumsum([trace.duration_s for trace in traces])))
    columns = _joined(traces)
    columns["arrival_s"] += np.repeat(starts_s[:-1], [len(trace) for trace in traces])
    return Trace(
        **columns,
        duration_s=float(starts_s[-1]),
        name=name or "concatenated",
        source=_source("concatenated", traces),
    )


def without_tokens(trace: Trace) -> Trace:
    """The same arrivals with no request lengths."""
    return replace(
        trace,
        input_tokens=None,
        output_tokens=None,
        source=trace.source_after("drop_tokens"),
    )


def _source(kind: str, traces: Sequence[Trace]) -> dict[str, Any]:
    """Where the traces come from; the whole is known to the coarsest step of any of them."""
    steps_s = [trace.resolution_s for trace in traces if trace.resolution_s is not None]
    known = {"resolution_s": max(steps_s)} if steps_s else {}
    return {"kind": kind, "parts": [dict(trace.source) for trace in traces], **known}


def _joined(traces: Sequence[Trace]) -> dict[str, Any]:
    """The columns that all traces have, one trace's values behind the other's."""
    if not traces:
        raise TraceError("there must be at least one trace to merge, but got none")
    check_size(sum(map(len, traces)))
    columns = {"arrival_s": np.concatenate([trace.arrival_s for trace in traces])}
    for name in _TOKENS:
        having = [trace for trace in traces if getattr(trace, name) is not None]
        if not having:
            continue
        if len(having) < len(traces):
            lacking = next(trace for trace in traces if getattr(trace, name) is None)
            raise TraceError(
                f"{name} must be in all traces or in none, but {having[0].name} has them and "
                f"{lacking.name} does not: --drop-tokens leaves them out"
            )
        columns[name] = np.concatenate([getattr(trace, name) for trace in traces])
    return columns
