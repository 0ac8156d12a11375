"""What the names of columns and fields say: times, units, durations, tokens, counts.

A name is read word by word, so that startTimeMs, "Start Time (ms)" and START_TIME_MS say the same.
`metrics.input_length.value` goes by its last part that is more than "value".
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from workloads.importers.units import TimeUnit

_WORD = re.compile(
    r"(?<![a-zA-Z])[pqPQ]\(?\d{2,4}(?![a-zA-Z])|\d+(?:\.\d+)?%|\d+(?:th|st|nd|rd)(?![a-z])"
    r"|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+"
)


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


_SPELLINGS: Final[dict[TimeUnit, str]] = {
    "s": "s sec secs second seconds",
    "ms": "ms msec msecs milli millis millisec millisecs millisecond milliseconds",
    "us": "us usec usecs micro micros microsec microsecs microsecond microseconds",
    "ns": "ns nsec nsecs nano nanos nanosec nanosecs nanosecond nanoseconds",
}
UNIT_WORDS: Final[dict[str, TimeUnit]] = {
    word: unit for unit, spellings in _SPELLINGS.items() for word in spellings.split()
}
# Units that are not read: passing over them would be wrong by a factor.
LARGE_UNITS = _set("minutes mins hours hrs days")

# Words that say how a time is written, not what happened then.
_SHORT = {"ts": "timestamp", "req": "request", "dt": "date"}
_MANNER = _set("at epoch in iso iso8601 8601 local unix utc gmt")
TIME_STEMS = _set("""
    arrival arrival_date arrival_datetime arrival_time arrival_timestamp arrivals arrived
    asctime begin begin_time begin_timestamp create_time create_timestamp created created_timestamp
    creation_time creation_timestamp date date_time datetime dispatch_time dispatched enqueue_time
    enqueued event_date event_time event_timestamp invocation_time invocation_timestamp issue_time
    issued log_date log_time log_timestamp logged occurred queued receive_time received
    received_time received_timestamp request_arrival request_arrival_time request_begin
    request_creation_time request_date request_datetime request_received request_received_timestamp
    request_sent request_start request_start_time request_start_timestamp request_timestamp
    requested send_time sent start start_date start_datetime start_time start_timestamp started
    started_date started_date_time submission_time submit_time submit_timestamp submitted t time
    time_generated time_of_request time_stamp time_start time_stamps timestamp timestamp_start
    timestamps
""")
DURATION_STEMS = _set("""
    duration elapsed elapsed_time exec_time execution_time handling_time latency process_time
    processing_time request_duration request_latency request_processing_time request_time
    response_duration response_latency response_time rt runtime service_time taken time_taken took
    total_duration total_time turnaround_time
""")
INPUT_NAMES = _set("""
    input_tokens input_length input_len input_token_count input_sequence_length input_seq_len isl
    num_input_tokens num_prefill_tokens num_prompt_tokens n_input_tokens n_prompt_tokens
    prefill_tokens prompt_token_count prompt_tokens prompt_length prompt_len request_tokens
    context_tokens contexttokens
""")
OUTPUT_NAMES = _set("""
    output_tokens output_length output_len output_token_count output_sequence_length output_seq_len
    osl num_output_tokens num_decode_tokens num_completion_tokens num_generated_tokens
    n_output_tokens n_completion_tokens n_decode_tokens decode_tokens candidates_token_count
    completion_token_count completion_tokens response_tokens generated_tokens generatedtokens
""")

_COUNTED = _set("""
    arrivals calls count counts hits invocations pageviews queries reqs requests views visits
""")
_COUNT_WORDS = _COUNTED | _set("""
    api arrival call hit http invocation n num number of page query req request view visit
""")
_PERHAPS_COUNT = frozenset(
    {"value", "val", "sum", "total", "metric_value", "sample_count", "y", "doc_count"}
)
_GAUGE_WORDS = _set("""
    active backlog bandwidth clients concurrency concurrent connections cpu depth gauge inflight
    load memory mem open outstanding pending percent players pods queued rate replicas running
    sessions temperature threads throughput tps usage used users utilisation utilization vus waiting
    workers
""")
_QUANTILE = re.compile(
    r"[pq]\(?\d{2,4}|\d{2,3}(\.\d+)?(%|th|st|nd|rd)|quantiles?|percentiles?|median"
)
_MEAN_WORDS = _set("avg average mean std stddev stdev")
_RATES = frozenset({"rps", "qps", "rpm", "rps_mean"})
_PER_S = frozenset({"s", "sec", "second", "min", "minute"})
_METRIC_NAMES = _set("""
    metric metric_name metricname measurement measurement_name field name_of_metric
""")


def words(name: str) -> list[str]:
    """The words of a name, in lower case."""
    plain = leaf(name).replace("\u00b5", "u").replace("\u03bc", "u")
    return [word.lower() for word in _WORD.findall(plain)]


def leaf(name: str) -> str:
    """The last part of a dotted path, or the one before a mere "value"."""
    parts = [part for part in name.split(".") if part]
    if len(parts) > 1 and parts[-1].lower() == "value":
        parts.pop()
    return parts[-1] if parts else name


def plain(name: str) -> str:
    """A name's words in lower case, with underscores between them."""
    return "_".join(words(name))


def unit_in_name(name: str) -> TimeUnit | None:
    """The unit of time that is one of a name's words: timestamp_ms, timeUnixNano, t(us)."""
    found = {UNIT_WORDS[word] for word in _split_unit(words(name)) if word in UNIT_WORDS}
    return found.pop() if len(found) == 1 else None


def large_unit_in_name(name: str) -> str | None:
    """A unit of a minute or more that a name has as its last word."""
    last = words(name)[-1:]
    return last[0] if last and last[0] in LARGE_UNITS else None


def is_time_name(name: str) -> bool:
    """Whether a column is called as columns of arrival times are, whatever the unit."""
    return time_stem(name) is not None


def time_stem(name: str) -> str | None:
    """What a name of a time is without its unit; "epoch" for one that is nothing else."""
    given = _split_unit(words(name))
    passed_over = UNIT_WORDS.keys() | _MANNER | LARGE_UNITS
    left = [_SHORT.get(word, word) for word in given if word not in passed_over]
    stem = "_".join(left)
    if stem in TIME_STEMS:
        return stem
    return "epoch" if not left and {"epoch", "unix"} & set(given) else None


def is_duration_name(name: str) -> bool:
    """Whether a column is called as durations of requests are."""
    left = [word for word in _split_unit(words(name)) if word not in UNIT_WORDS]
    return "_".join(word for word in left if word != "in") in DURATION_STEMS


def is_count_name(name: str) -> bool:
    """Whether a column says how many requests a row stands for: requests, hit_count."""
    given = words(name)
    return bool(_COUNTED & set(given)) and set(given) <= _COUNT_WORDS


def may_be_count_name(name: str) -> bool:
    """Whether a column may hold counts, or as well anything else: value, sum, requests_total."""
    given = words(name)
    return plain(name) in _PERHAPS_COUNT or bool(_COUNTED & set(given) and given[-1] == "total")


def is_gauge_name(name: str) -> bool:
    """Whether a column holds a state, or a rate, of many requests: cpu, active_requests."""
    return bool(_GAUGE_WORDS & set(words(name)))


def is_metric_name(name: str) -> bool:
    """Whether a column names the metric that a row is a sample of."""
    return name.strip() == "__name__" or plain(name) in _METRIC_NAMES


def is_summary_name(name: str) -> bool:
    """Whether a column only makes sense over many requests: p99, 95%, requests/s."""
    given = words(name)
    if any(_QUANTILE.fullmatch(word) for word in given):
        return True
    per_s = given[0:1] in (["requests"], ["req"], ["reqs"]) and bool(_PER_S & set(given[1:]))
    return per_s or bool(_RATES & set(given))


def is_mean_name(name: str) -> bool:
    """Whether a column is a mean or a spread; one request may have one, a summary has several."""
    return bool(_MEAN_WORDS & set(words(name)))


def choose_tokens(
    names: Sequence[str], known: frozenset[str], note: Callable[[str], None]
) -> str | None:
    """The one column of `names` that is called so; several are noted, and none is taken."""
    found = [name for name in names if plain(name) in known]
    if len(found) > 1:
        note(f"{' and '.join(found)} could each be a request's tokens: none was kept")
        return None
    return found[0] if found else None


def _split_unit(given: list[str]) -> list[str]:
    """With a unit split off that was written without a gap: timestampms, tsns."""
    if len(given) != 1:
        return given
    for ending in sorted(UNIT_WORDS, key=len, reverse=True):
        stem = given[0].removesuffix(ending)
        if len(ending) > 1 and stem != given[0] and stem in TIME_STEMS | DURATION_STEMS:
            return [stem, ending]
    return given
