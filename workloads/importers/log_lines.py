"""What the importers of text logs have in common: a line is a request, in one of a few forms."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from workloads.importers import dates
from workloads.importers.assembly import RecordingImporter
from workloads.importers.contract import Chunk, Findings, Reading
from workloads.importers.convert import Kind, Times, shown
from workloads.importers.line_fields import fields_of
from workloads.importers.meaning import NO_COUNT, meaning_of
from workloads.importers.rows import Rows, chunks
from workloads.importers.sample import Sample
from workloads.importers.stream import Block, Head, Stream
from workloads.importers.units import TimeUnit

_TIME = "time"
_LINES_SAMPLED = 1000
# Which fields have no name: see `line_fields.unnamed`.
_UNNAMED = re.compile(r"field_\d+")
# nginx writes $request_time, of a request that has been answered, in seconds to the millisecond.
NGINX_SECONDS = re.compile(r"\d+\.\d{3}s?", re.ASCII)
_NGINX_NAMES = ("request_time", "rt")


@dataclass(frozen=True)
class Form:
    """One way in which a log's lines are written.

    Attributes:
        pattern: The whole line. A group `time` is its stamp, the others are fields; see
            `line_fields.fields_of`.
        kinds: How the time is written.
        note: What to know of the time, if there is anything.
        took: Name and unit of the duration, where the stamp is known to be the end.
        starts: Whether the stamp is known to be the start.
        before_rest: How many fields come before the pattern's group `rest`.
    """

    pattern: re.Pattern[bytes]
    kinds: tuple[Kind, ...]
    note: str = ""
    took: tuple[str, TimeUnit] | None = None
    starts: bool = False
    before_rest: int = 0

    def fields(self, line: bytes) -> dict[str, bytes] | None:
        """The fields of a line by their names, or None of a line that is in another form."""
        match = self.pattern.fullmatch(line)
        return None if match is None else fields_of(match, self.before_rest)


class LogLines(RecordingImporter):
    """A log whose lines are requests.

    Attributes:
        forms: The ways to write a line, of which the first that fits one of the first lines counts.
        usual: Which of them is that of a file whose first lines are all bad.
        example: What a line is like, for the message about one that is not.
    """

    forms: ClassVar[tuple[Form, ...]]
    usual: ClassVar[int] = 0
    example: ClassVar[str]
    takes = frozenset({"stamp", "duration_column", "duration_unit", "where"})

    def recognises(self, head: Head) -> bool:
        """By one of the first lines."""
        return self._form(head) is not None

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, line by line."""
        form = self._form(stream.head) or self.forms[self.usual]
        sample = _sample(stream.head, form)
        meaning = meaning_of(
            sample,
            replace(_with_duration(reading, form, sample, findings), count_column=NO_COUNT),
            findings,
            choose=lambda _: _TIME,
        )
        return chunks(
            (self._rows(block, form, meaning.columns.names) for block in stream.blocks()),
            meaning.columns,
            Times(_TIME, form.kinds, "s"),
            findings,
            names=sample.names,
            took=meaning.took,
        )

    def _form(self, head: Head) -> Form | None:
        lines = [line.encode("utf-8", "replace") for line in head.first_lines]
        for form in self.forms:
            if any(form.pattern.fullmatch(line) for line in lines):
                return form
        return None

    def _rows(self, block: Block, form: Form, names: Sequence[str]) -> Rows:
        import pyarrow as pa

        texts: dict[str, list[bytes]] = {name: [] for name in names}
        numbers: list[int] = []
        complaints: dict[int, str] = {}
        whole = set(names) <= {_TIME}
        for number, line in block.lines():
            match = form.pattern.fullmatch(line)
            if match is None:
                complaints[number] = f"a line must be like {self.example}, but got {shown(line)}"
                continue
            numbers.append(number)
            if whole:
                texts[_TIME].append(match[_TIME])
                continue
            fields = fields_of(match, form.before_rest)
            for name, column in texts.items():
                column.append(fields.get(name, b""))
        columns = {name: pa.array(column, pa.binary()) for name, column in texts.items()}
        return Rows(columns, np.array(numbers, np.int64), complaints)


def _sample(head: Head, form: Form) -> Sample:
    """The first lines as rows; what every line must have is there even where all are bad."""
    rows = []
    for line in head.lines[:_LINES_SAMPLED]:
        fields = form.fields(line.strip().encode("utf-8", "replace"))
        if fields is not None:
            rows.append({name: text.decode("utf-8", "replace") for name, text in fields.items()})
    named = [name for row in rows for name in row] or form.pattern.groupindex
    names = dict.fromkeys([_TIME, *named])
    return Sample(list(names), rows)


def _with_duration(reading: Reading, form: Form, sample: Sample, findings: Findings) -> Reading:
    """The reading with the duration that the lines say is to be taken off, if they do."""
    name, unit = form.took or _of_nginx(sample)
    if name and reading.stamp != "start" and reading.duration_column in {None, name}:
        if not reading.takes_durations_off and form.took is None:
            findings.note(
                f"{name} was taken for nginx's $request_time, and the stamp for the end of the "
                "request: --stamp start takes the stamp as it is"
            )
        return replace(reading, duration_column=name, duration_unit=reading.duration_unit or unit)
    if reading.stamp == "start" or reading.takes_durations_off:
        return reading
    if form.starts:
        reading = replace(reading, stamp="start")
    note = form.note if form.starts else _remedy(sample) or form.note
    if note:
        findings.note(note)
    return reading


def _of_nginx(sample: Sample) -> tuple[str, TimeUnit]:
    """Name and unit of nginx's $request_time; no name where there is no such field."""
    found = (name for name in _NGINX_NAMES if NGINX_SECONDS.fullmatch(sample.first(name)))
    return next(found, ""), "s"


def _remedy(sample: Sample) -> str:
    """What to do about numbers without a name at the end of the lines, if there are any."""
    found = {}
    for name in sample.names:
        values = [value for value in sample.values(name)[:10] if value != "-"]
        numeric = values and all(dates.is_number(v) or dates.is_span(v) for v in values)
        if _UNNAMED.fullmatch(name) and numeric:
            found[name] = values[0]
    if not found:
        return ""
    likely = next((n for n, value in found.items() if NGINX_SECONDS.fullmatch(value)), "")
    name = likely or list(found)[-1]
    unit = "" if dates.is_span(found[name]) else f" --duration-unit {'s' if likely else 's|ms|us'}"
    listed = ", ".join(f"{name} ({value})" for name, value in found.items())
    return (
        "the stamp was taken as the arrival, and the lines have numbers without a name: "
        f"{listed}. If one is how long a request took, and the stamp its end (nginx; Apache stamps "
        f"the start), take it off: --stamp end --duration-column {name}{unit}"
    )
