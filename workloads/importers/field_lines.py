"""Text logs whose lines have fields: logfmt, and syslog by either of its RFCs.

What the fields mean, and whether lines are requests, `workloads.importers.meaning` decides.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import ClassVar, TypeAlias

from workloads.errors import TraceFileError
from workloads.importers.access_log import AccessLog, HaProxyLog
from workloads.importers.assembly import RecordingImporter
from workloads.importers.contract import OPTIONS, BadEntryError, Chunk, Findings, Reading
from workloads.importers.convert import shown
from workloads.importers.dates import MONTHS
from workloads.importers.json_records import Entries, Object
from workloads.importers.meaning import meaning_of
from workloads.importers.rows import chunks, shortened
from workloads.importers.sample import Sample
from workloads.importers.stream import Head, Stream

Parse: TypeAlias = Callable[[str], Object | None]

_LINES_SAMPLED = 200
_PAIR = re.compile(r'([A-Za-z_@][\w.@/-]*)=("(?:[^"\\]|\\.)*"|[^\s"]*)(?:\s+|$)')
_ESCAPED = re.compile(r"\\(.)")
_ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?"
_RFC_5424 = re.compile(
    rf"<\d{{1,3}}>1 (?P<time>{_ISO}) (?P<host>\S+) (?P<app>\S+) \S+ \S+ "
    r'(?:-|(?:\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])+)(?: (?P<message>.*))?'
)
# As the BSDs wrote it, of a day without its year; or, as rsyslog does today, in ISO 8601.
_RFC_3164 = re.compile(
    rf"(?:<\d{{1,3}}>)?(?:(?P<time>{_ISO})|"
    r"(?P<day>[A-Z][a-z]{2} [ \d]\d) (?P<clock>\d\d:\d\d:\d\d))"
    r" (?:(?P<host>\S+) )??(?P<app>[^\s:\[]+)(?:\[[^\]\s]*\])?:(?: (?P<message>.*))?"
)
_LEAP_YEAR = 2000


class FieldLines(RecordingImporter):
    """A log whose lines are fields by name; which of them is the time, their names say.

    Attributes:
        example: What a line is like, for the message about one that is not.
    """

    example: ClassVar[str]
    takes = frozenset(OPTIONS) - {"columns"}

    @abstractmethod
    def parser(self) -> Parse:
        """What reads the lines of one file: their fields, or None of a line of another format."""

    def check(self, sample: Sample, reading: Reading) -> None:
        """Raise TraceFileError for lines that are no requests; by default there are none."""

    def recognises(self, head: Head) -> bool:
        """By one of the first lines, each by itself."""
        return any(self.parser()(line.strip()) is not None for line in head.first_lines)

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line."""
        parse = self.parser()
        found = (parse(line.strip()) for line in stream.head.lines[:_LINES_SAMPLED])
        rows = [{name: str(text) for name, text in row.items()} for row in found if row]
        # Without a row that fits, every line is bad, which is what will be said.
        names = list(dict.fromkeys(name for row in rows for name in row)) or ["time"]
        sample = Sample(names, rows)
        self.check(sample, reading)
        meaning = meaning_of(sample, reading, findings)
        parse = self.parser()

        def fields(line: bytes) -> Object:
            row = parse(line.decode("utf-8", "replace"))
            if row is None:
                raise BadEntryError(f"a line must be like {self.example}, but got {shown(line)}")
            return row

        return chunks(
            Entries(stream, findings, fields).rows(meaning.columns.names),
            meaning.columns,
            meaning.time,
            findings,
            names=names,
            took=meaning.took,
            counts=meaning.counts,
        )


class Logfmt(FieldLines):
    """Lines of key=value, as Go's loggers, Grafana's tools and Heroku write them."""

    format = "logfmt"
    what = "logfmt: lines of key=value"
    example = 'time=2026-03-01T09:00:00Z level=info msg="done" duration=12ms'

    def parser(self) -> Parse:
        """All of a line, which must be several pairs."""
        return _pairs


class Syslog(FieldLines):
    """Syslog: time, host, app and message, and the message's own fields where it is logfmt."""

    format = "syslog"
    what = "syslog, RFC 5424 or RFC 3164"
    takes = FieldLines.takes - {"time_unit"}
    example = "<34>1 2026-03-01T09:00:00.003Z host app - - - message"

    def parser(self) -> Parse:
        """The parts of a line."""
        years = _OneYear()

        def parse(line: str) -> Object | None:
            match = _RFC_5424.fullmatch(line) or _RFC_3164.fullmatch(line)
            if match is None:
                return None
            parts = match.groupdict()
            message = parts["message"] or ""
            time = parts["time"] or years.stamp(parts["day"], parts["clock"])
            own = _pairs(message) or {"message": message}
            return {"time": time, "host": parts["host"] or "", **own, "app": parts["app"]}

        return parse

    def recognises(self, head: Head) -> bool:
        """By the first lines, unless what was sent are lines of a web server or a proxy."""
        inner = (AccessLog(), HaProxyLog())
        return super().recognises(head) and not any(log.recognises(head) for log in inner)

    def check(self, sample: Sample, reading: Reading) -> None:
        """Refuse lines of several programs of which none was chosen."""
        apps = list(dict.fromkeys(sample.values("app")))
        if len(apps) > 1 and "app" not in reading.conditions:
            raise TraceFileError(
                f"must have a line for each request, but has lines of several programs "
                f"({shortened(apps[:6])}): choose the one that logs them, --where app={apps[0]}"
            )


class _OneYear:
    """Gives days without a year one year, where that cannot be wrong.

    Days of January and February, or of March to December, are as far apart in any year.
    """

    def __init__(self) -> None:
        self._last: datetime | None = None

    def stamp(self, day: str, clock: str) -> str:
        """In ISO 8601, of a year that is none; what is no day stays as it is, a bad time.

        Raises:
            TraceFileError: How far it is from the one before depends on the year.
        """
        try:
            month = MONTHS.index(day[:3]) + 1
            now = datetime(_LEAP_YEAR, month, int(day[3:]))  # noqa: DTZ001 - it has no zone
        except ValueError:
            return f"{day} {clock}"
        last, self._last = self._last, now
        march = datetime(_LEAP_YEAR, 3, 1)  # noqa: DTZ001 - it has no zone either
        if last and ((last < march) != (now < march) or last - now > timedelta(days=1)):
            raise TraceFileError(
                f"must say the year where it goes from {last:%b} {last.day} to {now:%b} {now.day}, "
                "but has none: split the file there, or have the time in ISO 8601 (rsyslog: "
                "RSYSLOG_FileFormat; journalctl -o short-iso)"
            )
        return f"{now:%Y-%m-%d} {clock}"


def _pairs(text: str) -> Object | None:
    """The pairs of a line that is nothing but pairs, at least two."""
    found: dict[str, str] = {}
    at, count = 0, 0
    while match := _PAIR.match(text, at):
        name, value = match.groups()
        if value.startswith('"'):
            value = _ESCAPED.sub(r"\1", value[1:-1])
        found.setdefault(name, value)
        at, count = match.end(), count + 1
    return found if at == len(text) and count > 1 else None
