"""AIPerf's own inputs with a schedule: single_turn, multi_turn, and mooncake_trace with texts.

`timestamp` is in milliseconds. A turn may have a `delay` after the answer before it instead;
such a turn has no arrival time to be read (ai-dynamo/aiperf, dataset/loader/models.py).
"""

from collections.abc import Sequence

from workloads import schema
from workloads.importers.contract import BadEntryError
from workloads.importers.json_records import Object
from workloads.importers.rows import Columns
from workloads.importers.stream import Head
from workloads.importers.timed_json import TimedJson, refuse_delays

_CONTENT = {
    "text", "texts", "image", "images", "audio", "audios", "video", "videos",
    "text_input", "messages", "payload",
}  # fmt: skip


class AiPerf(TimedJson):
    """JSON lines with a timestamp and something to send, or with a list of such turns."""

    format = "aiperf"
    what = "AIPerf single-turn and multi-turn schedules (JSON lines)"
    columns = Columns(time="timestamp", output="output_length", optional=True)
    unit = "ms"

    def recognises(self, head: Head) -> bool:
        """By what is to be sent, beside the timestamp."""
        line = head.first_object
        turns = line.get("turns")
        first = turns[0] if isinstance(turns, list) and turns else line
        if not isinstance(first, dict) or "input_length" in first:
            return False
        return bool({"timestamp", "delay"} & first.keys() and _CONTENT & first.keys())

    def requests(self, line: Object) -> Sequence[Object]:
        """The line's turns, or the line itself."""
        turns = line.get("turns", [line])
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise BadEntryError(f"turns must be a list of objects, but got {schema.shown(turns)}")
        for turn in turns:
            refuse_delays(turn)
        return turns
