"""A request counter as Prometheus answers a range query (`/api/v1/query_range`).

Each series is a list of [time in seconds, value as text]. Between two samples the counter says
how many requests came, not when: they are placed uniformly at random. A value below the one
before is a restart of the counter from 0, as in Prometheus' own increase().
"""

import math
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads import schema
from workloads.errors import TraceFileError
from workloads.importers.contract import BadEntryError, Chunk, Findings, Reading, RecordingImporter
from workloads.importers.stream import Head, Stream

_NS = 10**9
_SEED = 0
# More would not fit into memory; a gauge or a counter of bytes gets here at once.
_MOST_REQUESTS = 200_000_000
_LATEST_S = 9e9


class Prometheus(RecordingImporter):
    """The JSON answer to a range query of a counter; several series are added up."""

    format = "prometheus"
    what = "Prometheus range query of a request counter (JSON)"
    entry = "sample"

    def recognises(self, head: Head) -> bool:
        """By the envelope of Prometheus' answers."""
        start = head.text[:4096]
        return start.lstrip().startswith("{") and '"resultType"' in start and '"data"' in start

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The arrivals of all series, rebuilt."""
        found = [_samples(values, n, findings) for values, n in _series(stream.everything())]
        findings.entries = sum(len(samples) for samples in found)
        series = [samples for samples in found if len(samples) > 1]
        if not series:
            raise TraceFileError("a series must have two samples, but none has")
        rng = np.random.default_rng(_SEED)
        # Sorted here, so that no one takes the disorder of random numbers for that of the file.
        yield Chunk(np.sort(np.concatenate([_rebuilt(s, findings, rng) for s in series])))
        starts = min(int(samples[0][0]) for samples in series)
        ends = max(int(samples[-1][0]) for samples in series)
        findings.window_ns = starts, ends
        steps_s = {(b[0] - a[0]) / _NS for s in series for a, b in pairwise(s)}
        least, most = min(steps_s), max(steps_s)
        step = f"{least:.6g} s" if least == most else f"{least:.6g} to {most:.6g} s"
        findings.note(
            f"arrivals are rebuilt uniformly at random within each step of {step} (seed {_SEED}): "
            "bursts shorter than a step are lost"
        )


Samples = list[tuple[int, int]]


def _series(raw: bytes) -> Iterator[tuple[list[Any], int]]:
    """The values of each series, and how many samples came before it in the file."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TraceFileError(f"must be UTF-8 text, but byte {error.start} is not") from None
    answer = schema.parse(text)
    if answer.get("status") != "success":
        raise TraceFileError(
            f"status must be success, but got {schema.shown(answer.get('status'))}: "
            f"{schema.shown(answer.get('error'))}"
        )
    data = answer.get("data")
    kind = data.get("resultType") if isinstance(data, dict) else None
    result = data.get("result") if isinstance(data, dict) else None
    if kind != "matrix" or not isinstance(result, list):
        raise TraceFileError(
            f"resultType must be matrix, the answer of query_range, but got {schema.shown(kind)}"
        )
    before = 0
    for series in result:
        values = series.get("values") if isinstance(series, dict) else None
        if not isinstance(values, list):
            raise TraceFileError("each series must have a list of values, but one has not")
        yield values, before
        before += len(values)


def _samples(values: list[Any], before: int, findings: Findings) -> Samples:
    """Time in ns and count of each sample in a series, in order; bad ones are left out."""
    samples: Samples = []
    complaints: dict[int, str] = {}
    for number, value in enumerate(values, before + 1):
        try:
            time_ns, count = _sample(value)
        except (ValueError, TypeError, InvalidOperation):
            complaints[number] = (
                "a sample must be [seconds, a whole number of requests as text] of a counter, not "
                f"of a rate, but got {schema.shown(value) if not _pair(value) else _shown(value)}"
            )
            continue
        if samples and time_ns <= samples[-1][0]:
            complaints[number] = "a sample must come after the one before, but does not"
            continue
        samples.append((time_ns, count))
    findings.leave_out(complaints, "sample")
    return samples


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _shown(value: list[Any]) -> str:
    return f"[{schema.shown(value[0])}, {schema.shown(value[1])}]"


def _sample(value: Any) -> tuple[int, int]:
    time_s, text = value  # ValueError and TypeError are for the caller to name
    if isinstance(time_s, bool) or not isinstance(time_s, (int, float)):
        raise BadEntryError
    if not isinstance(text, str) or not abs(time_s) <= _LATEST_S:
        raise BadEntryError
    count = Decimal(text)
    if not count.is_finite() or count.adjusted() > 18 or count < 0 or count != int(count):
        raise BadEntryError
    # Prometheus' own times are whole milliseconds; its JSON writes them in seconds.
    return round(Decimal(repr(time_s)) * 1000) * 10**6, int(count)


def _rebuilt(samples: Samples, findings: Findings, rng: np.random.Generator) -> NDArray[np.int64]:
    counts = [count for _, count in samples]
    falls = sum(b < a for a, b in pairwise(counts))
    if falls > max(1, math.isqrt(len(samples))):
        raise TraceFileError(
            f"values must be those of a counter, which hardly ever falls, but fall at {falls:,} of "
            f"{len(samples) - 1:,} steps: query the counter itself, without rate() or increase()"
        )
    if falls:
        findings.note(f"the counter restarted from 0 at {falls:,} steps")
    came = [b - a if b >= a else b for a, b in pairwise(counts)]
    if sum(came) > _MOST_REQUESTS:
        raise TraceFileError(
            f"a counter must count at most {_MOST_REQUESTS:,} requests here, "
            f"but counts {sum(came):.6g}"
        )
    parts = [
        rng.integers(start_ns, stop_ns, size=requests)
        for (start_ns, _), (stop_ns, _), requests in zip(samples, samples[1:], came, strict=False)
    ]
    return np.concatenate(parts)
