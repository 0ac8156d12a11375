"""JSON of any origin, with a field of arrival times: lines, arrays, or objects with arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from workloads.errors import TraceFileError
from workloads.importers.assembly import RecordingImporter
from workloads.importers.contract import OPTIONS, Chunk, Findings, Reading
from workloads.importers.dynbatch_json import DynbatchJson
from workloads.importers.json_records import (
    Entries,
    Object,
    at_path,
    flat,
    inner_records,
    is_document,
    is_pairs,
)
from workloads.importers.meaning import has_time, meaning_of
from workloads.importers.rows import chunks
from workloads.importers.sample import Sample
from workloads.importers.spans import is_request, which_spans
from workloads.importers.stream import Head, Stream


class PlainJsonLines(RecordingImporter):
    """JSON whose time field is named by the user, or by itself; it may lie in inner arrays."""

    format = "jsonl"
    what = "JSON lines, or a JSON document, with a field of times"
    generic = True
    takes = frozenset(OPTIONS) - {"columns"}

    def recognises(self, head: Head) -> bool:
        """By objects that are not dynbatch's own; one may be larger than the head."""
        larger = is_document(head) and not head.is_all
        found = bool(head.first_object or larger or is_pairs(head))
        return found and not DynbatchJson().recognises(head)

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, object by object."""
        if is_pairs(stream.head) and reading.count_column is None:
            raise TraceFileError(
                "must have a record for each request, but has pairs of a time and a value: "
                "--count-column value if a value counts the requests of its step, --trace-format "
                "prometheus if it counts all until then, --count-column none if each pair is one "
                "request"
            )
        entries = Entries(stream, findings)
        first = entries.first
        if not first:
            raise TraceFileError("the first line must be a JSON object, but is not")
        path, reading = _path_of(first, reading)
        records = [record for entry in first for record in at_path(entry, path)]
        which = which_spans(records)

        def requests(entry: Object) -> Sequence[Object]:
            return [record for record in at_path(entry, path) if is_request(record, which)]

        kept = [record for record in records if is_request(record, which)]
        sample = sample_of(kept)
        meaning = meaning_of(sample, reading, findings)
        if path:
            findings.note(f"requests are the objects in {path}")
        if which:
            findings.note(f"of the spans only the {which} were taken: one request makes many")
        return chunks(
            entries.rows(meaning.columns.names, requests),
            meaning.columns,
            meaning.time,
            findings,
            names=sample.names,
            took=meaning.took,
            counts=meaning.counts,
        )


def sample_of(records: Sequence[Object]) -> Sample:
    """The first records as rows, with every field of any of them by its dotted path."""
    rows = [flat(record) for record in records]
    return Sample(list(dict.fromkeys(name for row in rows for name in row)), rows)


def _path_of(first: Sequence[Object], reading: Reading) -> tuple[str, Reading]:
    """Where the requests are: in inner arrays at this path, or nothing; and how to read them.

    Raises:
        TraceFileError: They may be in several places.
    """
    asked = reading.time_column
    if asked is not None and "[]." in asked:
        path, _, column = asked.rpartition("[].")
        return f"{path}[]", replace(reading, time_column=column)
    if "resourceMetrics" in first[0]:
        raise TraceFileError(
            "must have a record for each request, but has samples of metrics (resourceMetrics): "
            "give the traces or the logs"
        )
    outer = sample_of(first)
    # A report of one object has a date of its own, and its requests in arrays.
    if (asked in outer.names or has_time(outer)) and len(first) > 1:
        return "", reading
    inner: dict[str, list[Object]] = {}
    for entry in first[:10]:
        for path, record in inner_records(entry):
            inner.setdefault(path, []).append(record)
    timed = [
        path
        for path, records in inner.items()
        if asked in (sample := sample_of(records)).names or (asked is None and has_time(sample))
    ]
    found = [p for p in timed if not any(p != q and p.startswith(q) for q in timed)]
    if len(found) == 1:
        return found[0], reading
    if found and not has_time(outer):
        raise TraceFileError(
            f"must have one array of requests, but could be {' or '.join(found)}: name the time by "
            f"its whole path, as in --time-column {found[0]}.NAME"
        )
    return "", reading
