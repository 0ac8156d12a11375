"""Alibaba's Bailian traces of Qwen serving (qwen-bailian-usagetraces-anon).

The fields are Mooncake's and some more, but `timestamp` is in seconds.
"""

from workloads.importers.stream import Head
from workloads.importers.timed_json import TimedJson


class Bailian(TimedJson):
    """JSON lines with chat_id, parent_chat_id, timestamp, input_length, output_length, turn."""

    format = "bailian"
    what = "Alibaba Bailian (Qwen) usage traces (JSON lines)"
    unit = "s"

    def recognises(self, head: Head) -> bool:
        """By chat_id beside the timestamp and the length."""
        return {"chat_id", "timestamp", "input_length"} <= head.first_object.keys()
