"""k6's results as CSV and as JSON: a row for each value of each metric.

Of every HTTP request `http_reqs` has one row, with the value 1; the others are its durations, and
checks, users and bytes. k6 stamps a request when it has been answered.
"""

from collections.abc import Iterator, Sequence

from workloads.errors import TraceFileError
from workloads.importers.assembly import RecordingImporter
from workloads.importers.contract import Chunk, Findings, Reading
from workloads.importers.convert import Times
from workloads.importers.csv_table import Header, read_rows
from workloads.importers.json_records import Entries, Object
from workloads.importers.rows import Columns, Where, chunks
from workloads.importers.stream import Head, Stream

_METRIC = "http_reqs"
_CSV = ("metric_name", "timestamp", "metric_value")
_JSON = frozenset({"type", "metric", "data"})


class K6(RecordingImporter):
    """The rows of http_reqs, or of another metric that has a row for each request."""

    format = "k6"
    what = "k6 results (CSV or JSON lines)"
    takes = frozenset({"where"})

    def recognises(self, head: Head) -> bool:
        """By the columns of a metric's value, or k6's points."""
        return set(_CSV) <= set(Header.of(head).names) or head.first_object.keys() >= _JSON

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, row by row."""
        is_json = stream.head.first_object.keys() >= _JSON
        conditions = dict(reading.conditions)
        metric = conditions.pop("metric", None) or conditions.pop(_CSV[0], None) or _METRIC
        where = tuple(Where(column, value) for column, value in conditions.items())
        findings.note("k6 stamps a request when it has been answered; the stamp was taken as it is")
        if is_json:
            requests = _points(stream, metric, where, findings)
        else:
            header = Header.of(stream.head)
            columns = Columns(time=_CSV[1], where=(Where(_CSV[0], metric), *where))
            rows = read_rows(stream.blocks(), header, columns.names)
            requests = chunks(rows, columns, Times(columns.time), findings, names=header.names)
        return requests if where else _some(requests, metric, findings)


def _points(
    stream: Stream, metric: str, where: tuple[Where, ...], findings: Findings
) -> Iterator[Chunk]:
    def requests(entry: Object) -> Sequence[Object]:
        findings.read += 1
        return [entry] if (entry.get("type"), entry.get("metric")) == ("Point", metric) else []

    columns = Columns(time="data.time", where=where)
    names = ["data.time", "data.value", "data.tags"]
    rows = Entries(stream, findings).rows(columns.names, requests)
    findings.note(f"of the points only those of {metric} were taken")
    return chunks(rows, columns, Times(columns.time), findings, names=names)


def _some(requests: Iterator[Chunk], metric: str, findings: Findings) -> Iterator[Chunk]:
    found = 0
    for chunk in requests:
        found += len(chunk.time_ns)
        yield chunk
    if not found and findings.read > findings.bad:
        raise TraceFileError(
            f"must have rows of the metric {metric}, but has none: name one that has a row for "
            "each request, as in --where metric_name=grpc_req_duration"
        )
