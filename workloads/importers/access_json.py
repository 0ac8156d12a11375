"""Web servers' access logs as JSON lines: nginx with `escape=json`, Caddy, Traefik, Envoy.

They are written when a request has been answered, and say their time in several forms; what the
stamp means, and whether a duration is taken off it, `workloads.importers.meaning` decides.
"""

from collections.abc import Iterator
from dataclasses import replace

from workloads.importers.assembly import RecordingImporter
from workloads.importers.contract import OPTIONS, Chunk, Findings, Reading
from workloads.importers.json_records import Entries
from workloads.importers.meaning import meaning_of
from workloads.importers.plain_jsonl import sample_of
from workloads.importers.rows import chunks
from workloads.importers.sample import Sample
from workloads.importers.stream import Head, Stream

# The start before the end, and the finest first: one log often has its time in several forms.
_TIMES = (
    "StartUTC", "StartLocal", "start_time", "msec", "ts", "time_iso8601", "time_local",
    "@timestamp", "timestamp", "time",
)  # fmt: skip
_MARKS = frozenset({
    "body_bytes_sent", "bytes_sent", "host", "http_user_agent", "method", "remote_addr",
    "request", "request_method", "request_uri", "status", "uri",
    "ClientAddr", "DownstreamStatus", "RequestMethod", "RequestPath",
})  # fmt: skip


class AccessJson(RecordingImporter):
    """JSON lines of an access log."""

    format = "access-json"
    what = "nginx, Caddy, Traefik or Envoy access log (JSON lines)"
    takes = frozenset(OPTIONS) - {"columns"}

    def recognises(self, head: Head) -> bool:
        """By a time and two of the fields that only access logs have."""
        line = head.first_object
        return _time(Sample(list(line))) is not None and len(_MARKS & line.keys()) > 1

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line."""
        entries = Entries(stream, findings)
        sample = sample_of(entries.first)
        # Every line of an access log is a request, whatever numbers it has besides.
        reading = replace(reading, count_column=reading.count_column or "none")
        meaning = meaning_of(sample, reading, findings, choose=_time)
        return chunks(
            entries.rows(meaning.columns.names),
            meaning.columns,
            meaning.time,
            findings,
            names=sample.names,
            took=meaning.took,
            counts=meaning.counts,
        )


def _time(sample: Sample) -> str | None:
    return next((name for name in _TIMES if name in sample.names), None)
