"""Web servers' access logs as JSON lines: nginx with `escape=json`, Caddy, Traefik.

They are written when a request has been answered. Where they say how long that took, the arrival
is the difference; Traefik says the start itself.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from workloads.importers.contract import Chunk, Findings, Reading, RecordingImporter
from workloads.importers.convert import Times
from workloads.importers.json_lines import read_rows
from workloads.importers.rows import Columns, chunks
from workloads.importers.stream import Head, Stream

# The finest first: one log often has its time in several forms.
_STARTS = ("StartUTC", "StartLocal")
_ENDS = ("msec", "ts", "time_iso8601", "time_local", "@timestamp", "timestamp", "time")
_DURATIONS_S = ("request_time", "duration")
_MARKS = frozenset({
    "body_bytes_sent", "bytes_sent", "host", "http_user_agent", "method", "remote_addr",
    "request", "request_method", "request_uri", "status", "uri",
    "ClientAddr", "DownstreamStatus", "RequestMethod", "RequestPath",
})  # fmt: skip


class AccessJson(RecordingImporter):
    """JSON lines of an access log."""

    format = "access-json"
    what = "nginx, Caddy or Traefik access log (JSON lines)"

    def recognises(self, head: Head) -> bool:
        """By a time and two of the fields that only access logs have."""
        line = head.first_object
        return _time(line) is not None and len(_MARKS & line.keys()) > 1

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line."""
        line = stream.head.first_object
        time = _time(line) or "time"
        took = None
        if time not in _STARTS:
            took = next((name for name in _DURATIONS_S if name in line), None)
            findings.note(
                f"arrivals are {time} - {took}"
                if took
                else f"{time} was taken as the arrival; an access log usually stamps the end"
            )
        columns = Columns(time=time, took=took)
        times = Times(time, unit="s")
        durations = None if took is None else Times(took, ("number",), "s")
        rows = read_rows(stream, columns.names)
        return chunks(rows, columns, times, findings, took=durations)


def _time(line: Mapping[str, Any]) -> str | None:
    return next((name for name in (*_STARTS, *_ENDS) if name in line), None)
