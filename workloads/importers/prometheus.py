"""A request counter as Prometheus answers a range query (`/api/v1/query_range`).

Each series is a list of [time in seconds, value as text]; such a list may stand alone. Between two
samples the counter says how many requests came, not when: they are placed uniformly at random. A
value below the one before is a restart of the counter from 0, as in Prometheus' own increase().
"""

import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, TypeAlias

from workloads import schema
from workloads.errors import TraceFileError
from workloads.importers.assembly import RecordingImporter
from workloads.importers.contract import BadEntryError, Chunk, Findings, Reading
from workloads.importers.convert import shown
from workloads.importers.counts import note_rebuilt, spread
from workloads.importers.names import is_gauge_name
from workloads.importers.rows import shortened
from workloads.importers.stream import Head, Stream

_LATEST_S = 9e9
# Counters of these are no counters of requests: http_request_duration_seconds_total.
_QUANTITIES = frozenset({"seconds", "milliseconds", "bytes", "tokens", "duration", "latency"})


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
        answered = _requests_only(list(_series(stream.everything())), findings)
        found = [_samples(values, before, findings) for _, values, before in answered]
        findings.entries = sum(len(samples) for samples in found)
        series = [samples for samples in found if len(samples) > 1]
        if not series:
            raise TraceFileError("a series must have two samples, but none has")
        arrivals = spread(step for samples in series for step in _steps(samples, findings))
        yield Chunk(arrivals)
        starts = min(int(samples[0][0]) for samples in series)
        ends = max(int(samples[-1][0]) for samples in series)
        findings.window_ns = starts, ends
        steps_s = {(b[0] - a[0]) / 10**9 for s in series for a, b in pairwise(s)}
        least, most = min(steps_s), max(steps_s)
        step = f"{least:.6g} s" if least == most else f"{least:.6g} to {most:.6g} s"
        name = answered[0][0].get("__name__")
        findings.note(
            f"{len(arrivals):,} requests, as {len(series):,} series of "
            f"{shown(name) if isinstance(name, str) else 'an expression'} counted them"
        )
        note_rebuilt(findings, step, round(most * 10**9))


Samples: TypeAlias = list[tuple[int, int]]
Series: TypeAlias = tuple[dict[str, Any], list[Any], int]


def _requests_only(series: Sequence[Series], findings: Findings) -> list[Series]:
    """The series that count requests.

    Of a histogram those are the buckets that have no upper limit, as each bucket holds the ones
    below it too.

    Raises:
        TraceFileError: There are none, or they are of several metrics.
    """
    names = sorted({str(labels.get("__name__")) for labels, *_ in series if "__name__" in labels})
    if len(names) > 1:
        raise TraceFileError(
            f"must hold one counter of requests, but holds {shortened(names)}: query one of them"
        )
    name = names[0] if names else ""
    has_quantiles = any("quantile" in labels for labels, *_ in series)
    if wrong := _no_counter(name, has_quantiles=has_quantiles):
        raise TraceFileError(f"must hold a counter of requests, but {shown(name)} {wrong}")
    if not any("le" in labels for labels, *_ in series) and not name.endswith("_bucket"):
        if name and not name.endswith(("_total", "_count")):
            findings.note(
                f"{shown(name)} is not called as counters are (_total, _count): a gauge that only "
                "rises would be read as one"
            )
        return list(series)
    whole = [one for one in series if one[0].get("le") in {"+Inf", "inf", "Inf"}]
    if not whole:
        raise TraceFileError(
            'must hold the bucket le="+Inf", which counts all requests, but has none: query '
            f"{name.removesuffix('_bucket') or 'the histogram'}_count"
        )
    findings.note(
        f'of the {len(series):,} buckets only le="+Inf" was read: each holds those below it too'
    )
    return whole


def _no_counter(name: str, *, has_quantiles: bool) -> str:
    """Why a metric counts no requests, and what to query instead; nothing if it may."""
    if has_quantiles or name.endswith("_sum"):
        what = "quantiles" if has_quantiles else "sums"
        return f"holds {what}: query {name.removesuffix('_sum') or 'its'}_count"
    if name.endswith(("_bucket", "_count")):
        return ""
    other = "one such as http_requests_total, or the _count of a histogram"
    if _QUANTITIES & set(re.split(r"[_:]", name)):
        return f"adds up something else: query {other}"
    if is_gauge_name(name) and not name.endswith("_total"):
        return f"is called as gauges are: query {other}"
    return ""


def _series(raw: bytes) -> Iterator[Series]:
    """The labels and values of each series, and how many samples came before it in the file."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TraceFileError(f"must be UTF-8 text, but byte {error.start} is not") from None
    if text.lstrip().startswith("["):
        yield {}, schema.parse(f'{{"values": {text}}}')["values"], 0
        return
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
        labels = series.get("metric") if isinstance(series, dict) else None
        if not isinstance(values, list):
            raise TraceFileError("each series must have a list of values, but one has not")
        yield labels if isinstance(labels, dict) else {}, values, before
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
    findings.read += len(values)
    findings.leave_out(complaints)
    return samples


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _shown(value: list[Any]) -> str:
    return f"[{schema.shown(value[0])}, {schema.shown(value[1])}]"


def _sample(value: Any) -> tuple[int, int]:
    time_s, text = value  # ValueError and TypeError are for the caller to name
    if isinstance(time_s, bool) or not isinstance(time_s, (int, float)):
        raise BadEntryError
    if type(text) not in {str, int} or not abs(time_s) <= _LATEST_S:
        raise BadEntryError
    count = Decimal(text)
    if not count.is_finite() or count.adjusted() > 18 or count < 0 or count != int(count):
        raise BadEntryError
    # Prometheus' own times are whole milliseconds; its JSON writes them in seconds.
    return round(Decimal(repr(time_s)) * 1000) * 10**6, int(count)


def _steps(samples: Samples, findings: Findings) -> list[tuple[int, int, int]]:
    counts = [count for _, count in samples]
    falls = sum(b < a for a, b in pairwise(counts))
    if falls > max(1, math.isqrt(len(samples))):
        raise TraceFileError(
            f"values must be those of a counter, which hardly ever falls, but fall at {falls:,} of "
            f"{len(samples) - 1:,} steps: query the counter itself, without rate() or increase()"
        )
    if falls:
        findings.note(f"the counter restarted from 0 at {falls:,} steps")
    return [
        (start_ns, stop_ns, b - a if b >= a else b)
        for (start_ns, a), (stop_ns, b) in pairwise(samples)
    ]
