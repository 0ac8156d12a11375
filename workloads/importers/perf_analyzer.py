"""NVIDIA perf_analyzer: its export of requests (ns), and its inputs with a schedule (ms)."""

import re
from collections.abc import Iterator, Sequence

from workloads.importers.contract import Chunk, Findings, Reading
from workloads.importers.json_records import Object, at_path
from workloads.importers.rows import Columns
from workloads.importers.stream import Head, Stream
from workloads.importers.timed_json import TimedJson

_EXPORT = re.compile(r'\s*\{\s*"experiments"\s*:')
_INPUTS = re.compile(r'\s*\{\s*"data"\s*:\s*\[\s*\{\s*"(payload|timestamp)"')


class PerfAnalyzer(TimedJson):
    """A JSON object with experiments that have requests, or with data that has timestamps."""

    format = "perf-analyzer"
    what = "perf_analyzer's export of requests, or its inputs with a schedule (JSON)"
    columns = Columns(time="timestamp")
    unit = "ns"

    def recognises(self, head: Head) -> bool:
        """By the envelope of the two files."""
        return bool(_EXPORT.match(head.text) or _INPUTS.match(head.text))

    def requests(self, line: Object) -> Sequence[Object]:
        """The requests of all experiments, or the entries to be sent."""
        return at_path(line, "experiments[].requests[]" if "experiments" in line else "data[]")

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, in the unit of the file that it is."""
        inputs = _INPUTS.match(stream.head.text)
        return self.timed(stream, reading.time_unit or ("ms" if inputs else "ns"), findings)
