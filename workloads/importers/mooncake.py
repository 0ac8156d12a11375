"""Mooncake's traces (Qin et al., FAST 2025), and what others write in the same fields.

`timestamp` is in milliseconds from the start, `input_length` and `output_length` in tokens.
AIPerf's mooncake_trace and fixed schedules are the same. vLLM's timed-trace replay takes such
lines in seconds too (vllm pull request 39795), so lines without anything that only Mooncake and
AIPerf write are read once the user has said the unit or the format.
"""

from collections.abc import Iterator, Sequence

from workloads.errors import TraceFileError
from workloads.importers.contract import Chunk, Findings, Reading
from workloads.importers.json_records import Object
from workloads.importers.stream import Head, Stream
from workloads.importers.timed_json import TimedJson, refuse_delays

_ONLY_HERE = {"hash_ids", "session_id", "delay", "extra"}


class Mooncake(TimedJson):
    """JSON lines with timestamp, input_length, output_length and hash_ids."""

    format = "mooncake"
    what = "Mooncake and AIPerf traces (JSON lines)"
    unit = "ms"

    def recognises(self, head: Head) -> bool:
        """By timestamp and input_length, without the chat_id of a Bailian trace."""
        fields = head.first_object.keys()
        return {"timestamp", "input_length"} <= fields and "chat_id" not in fields

    def requests(self, line: Object) -> Sequence[Object]:
        """The line itself, unless its time depends on an answer."""
        refuse_delays(line)
        return (line,)

    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests, once their unit is beyond doubt."""
        sure = reading.format or reading.time_unit or _ONLY_HERE & stream.head.first_object.keys()
        if not sure:
            raise TraceFileError(
                "timestamp must be in a known unit, but without hash_ids it may be milliseconds "
                "(Mooncake, AIPerf) or seconds (other tools): give --time-unit ms or s"
            )
        return super().read(stream, reading, findings)
