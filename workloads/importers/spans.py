"""Spans of traces (OpenTelemetry, Zipkin, Jaeger): one request makes many of them.

A request is the span of the server that took it; where no span says what kind it is, the one that
has no parent.
"""

from collections.abc import Sequence

from workloads.importers.json_records import Object

_PARENTS = ("parentSpanId", "parent_span_id", "parentId", "parent_id", "references")
_IDS = ("spanId", "span_id", "spanID", "traceId", "trace_id", "traceID")
_SERVER = frozenset({2, "2", "SERVER", "SPAN_KIND_SERVER"})


def which_spans(records: Sequence[Object]) -> str:
    """Which of these are requests, in words: nothing if they are no spans."""
    spans = [record for record in records if any(name in record for name in _IDS)]
    if any(_hashable(record) and record.get("kind") in _SERVER for record in spans):
        return "spans of a server"
    if any(name in record for record in spans for name in _PARENTS):
        return "spans without a parent"
    return ""


def is_request(record: Object, which: str) -> bool:
    """Whether a record is one of these spans."""
    if which == "spans of a server":
        return _hashable(record) and record.get("kind") in _SERVER
    if which == "spans without a parent":
        return not any(record.get(name) for name in _PARENTS)
    return True


def _hashable(record: Object) -> bool:
    return isinstance(record.get("kind"), (str, int))
