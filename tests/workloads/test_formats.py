"""What is particular to one format or another, and what is refused as ambiguous."""

import json

import numpy as np
import pyarrow as pa
import pytest

from tests.workloads.examples import (
    ACCESS_LOG,
    AZURE_LLM,
    EXAMPLES,
    PLAIN_CSV,
    TEXT,
    WITH_HEADER,
    columns,
    lines,
    objects,
    parquet,
    samples,
    with_bad_line,
)
from workloads import ListedTrace, Reading, Trace, TraceError, TraceFileError, resolve


def test_no_digit_of_an_epoch_is_lost(read):
    content = lines("timestamp_ns", "1700158546123456789", "1700158546123456790")
    assert read(content).trace.arrival_s.tolist() == [0.0, 1e-9]
    content = lines("timestamp", "1700158546.123456789", "1700158546.12345679")
    assert read(content).trace.arrival_s.tolist() == [0.0, 1e-9]
    content = objects({"time": 1, "x": 1}).replace(b"1,", b"1700158546.123456789,", 1)
    content += content.replace(b"789", b"790")
    assert read(content).trace.arrival_s.tolist() == [0.0, 1e-9]


@pytest.mark.parametrize(
    ("column", "values", "unit", "arrival_s"),
    [
        # the name says the unit
        ("time_ms", (5, 7), None, [0.0, 0.002]),
        ("arrival_s", (0.5, 0.75), None, [0.0, 0.25]),
        ("time_seconds", (1, 2), None, [0.0, 1.0]),
        # the option goes before the name and before the magnitude
        ("time_ms", (5, 7), "s", [0.0, 2.0]),
        ("time", (1700158546123, 1700158546223), "us", [0.0, 0.0001]),
        # no other unit gives a date in reach
        ("time", (1700158546, 1700158547), None, [0.0, 1.0]),
        ("time", (1700158546123, 1700158546223), None, [0.0, 0.1]),
        ("time", (1700158546123456, 1700158546223456), None, [0.0, 0.1]),
        ("time", (1700158546123456789, 1700158546223456789), None, [0.0, 0.1]),
        # exponents, signs, blanks, and more digits than nanoseconds have
        ("time", ("-1.5e1", " +2. ", "0.1000000000000000055511151231257827"), None,
         [0.0, 15.1, 17.0]),
    ],
)  # fmt: skip
def test_numbers_are_read_in_the_unit_that_name_option_or_size_say(
    read, column, values, unit, arrival_s
):
    content = lines(column, *values)
    assert read(content, time_unit=unit).trace.arrival_s.tolist() == arrival_s


@pytest.mark.parametrize(
    "value",
    ["1e30", "9" * 19, "1e999999999", "nan", "inf", "0x10", "1_000", "١", "1,5", "--1", "1 2"],
)
def test_what_is_no_number_in_reach_is_not_made_one(refused, value):
    assert refused(lines("time;n", "1;1", f"{value};1")).startswith("line 3: time must be a number")


def test_local_times_and_times_with_a_zone_do_not_mix(refused):
    content = AZURE_LLM + b"2023-11-16 18:16:00+00:00,1,1\n"
    assert refused(content).startswith("line 5: TIMESTAMP must be a date and time")


def test_several_possible_time_columns_are_an_error_that_names_the_remedy(read, refused):
    content = lines("start_time,time,n", "1,2,3", "4,6,7")
    assert refused(content) == (
        "must have one column of arrival times, but could be start_time or time: "
        "name it with --time-column"
    )
    assert read(content, time_column="time").trace.arrival_s.tolist() == [0.0, 4.0]
    assert refused(content, time_column="when").startswith("time_column must be one of")
    assert "name it with --time-column" in refused(lines("a,b", "1,2"))


def test_two_columns_of_one_name_are_refused(refused):
    twice = lines("TIMESTAMP,ContextTokens,GeneratedTokens,TIMESTAMP", "2023-11-16,1,1,2023-11-16")
    assert refused(twice).startswith('must have one column "TIMESTAMP"')


def test_token_columns_that_cannot_be_told_apart_are_not_kept(read):
    spec = read(lines("time,prompt_tokens,input_tokens", "1,2,3", "4,5,6"))
    assert spec.trace.input_tokens is None
    assert spec.notes[1].startswith("prompt_tokens and input_tokens could each be")


def test_token_counts_that_some_requests_lack_are_not_kept_and_it_is_said(read):
    spec = read(lines("time_s,prompt_tokens,output_tokens", "1,,3.0", "4,5,6.0"))
    assert columns(spec)[1:] == [None, [3, 6]]
    assert spec.notes == (
        "2 rows, each taken as one request at its time_s, tokens prompt_tokens in and "
        "output_tokens out",
        "input tokens are missing for 1 of 2 requests, so none were kept",
    )


def test_bytes_of_an_access_log_are_not_tokens(read):
    for content in (ACCESS_LOG, EXAMPLES["access-json"].content):
        assert columns(read(content))[1:] == [None, None]


def test_an_open_quote_does_not_swallow_the_lines_after_it(read, refused):
    content = with_bad_line(AZURE_LLM, 3, b'"2023-11-16 18:15:49,1,1')
    assert refused(content).startswith("line 3: its quotes are open")
    assert columns(read(content, skip_bad=1)) == columns(read(AZURE_LLM))


def test_a_clock_too_coarse_for_the_load_is_noted(read):
    seconds = [f"2023-11-16 18:15:{i // 10:02d},1,1" for i in range(100)]
    spec = read(lines("TIMESTAMP,ContextTokens,GeneratedTokens", *seconds))
    assert spec.notes[1:] == (
        "times are in steps of 1 s, and 90 of 100 requests arrive at the very instant of the one "
        "before: what lay between them was not recorded, so nothing is known of bursts shorter "
        "than 1 s",
    )


def test_lengths_without_block_hashes_need_a_unit(read, refused):
    content = objects(
        {"timestamp": 0, "input_length": 1, "output_length": 2},
        {"timestamp": 10, "input_length": 3, "output_length": 4},
    )
    assert "give --time-unit ms or s" in refused(content)
    assert read(content, time_unit="ms").trace.arrival_s.tolist() == [0.0, 0.01]
    assert read(content, time_unit="s").trace.arrival_s.tolist() == [0.0, 10.0]
    assert read(content, format="mooncake").trace.arrival_s.tolist() == [0.0, 0.01]


def test_a_turn_that_waits_for_an_answer_has_no_arrival(refused):
    content = objects(
        {"timestamp": 0, "input_length": 1, "session_id": "a"},
        {"delay": 10, "input_length": 3, "session_id": "a"},
    )
    assert refused(content).startswith("line 2: a request must have a timestamp, but this has a de")


@pytest.mark.parametrize("name", sorted({*TEXT} - {*WITH_HEADER}))
def test_a_first_line_that_is_bad_does_not_hide_the_format(read, refused, name):
    content = b'{"cut off at the tur\n' + EXAMPLES[name].content
    assert refused(content).startswith("line 1: ")
    assert read(content, skip_bad=1).format == name


def test_options_that_mean_nothing_to_a_format_are_refused(refused):
    assert refused(AZURE_LLM, time_unit="ms").startswith("time_unit must go with one of")
    assert refused(AZURE_LLM, time_column="n").startswith("time_column must go with one of")
    assert refused(AZURE_LLM, format="azure").startswith("trace_format must be one of dynbatch-js")


def test_a_format_that_is_named_is_the_one_that_reads(read, refused):
    assert read(AZURE_LLM, format="csv").format == "csv"
    assert "must have one column" in refused(PLAIN_CSV, format="burstgpt")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("time_unit", "h"), ("duration_unit", "h"), ("stamp", "middle"), ("where", "=a"),
        ("max_unpacked_gb", 0), ("skip_bad", -1),
    ],
)  # fmt: skip
def test_a_reading_checks_itself(field, value):
    with pytest.raises(TraceFileError, match=f"{field} must be .*, but got {value}"):
        Reading(**{field: value})


def test_what_is_no_trace_is_refused_with_the_known_formats(refused):
    assert refused(b"\x89PNG\r\n\x1a\n\0").startswith("must be a trace in a known format")
    assert refused(b"1.5\n2.5\n").startswith("must be a trace in a known format")


def test_a_counter_becomes_arrivals_within_its_steps_and_it_is_said(read):
    content = samples((1700000000, "100"), (1700000015, "130"), (1700000030, "130"),
                      (1700000045, "20"), (1700000060, "21"))  # fmt: skip
    spec = read(content)
    per_step = np.histogram(spec.trace.arrival_s, [0, 15, 30, 45, 60])[0]
    assert per_step.tolist() == [30, 0, 20, 1]  # a restart counts from 0
    assert spec.trace.duration_s == 60.0
    assert spec.notes == (
        "the counter restarted from 0 at 1 steps",
        "51 requests, as 1 series of an expression counted them",
        "arrivals are rebuilt uniformly at random within each step of 15 s (seed 0): "
        "bursts shorter than a step are lost",
    )
    assert read(content).trace.fingerprint() == spec.trace.fingerprint()


def test_the_series_of_a_counter_are_added_up(read):
    answer = json.loads(samples((0, "0"), (10, "5")))
    answer["data"]["result"] *= 3
    assert len(read(json.dumps(answer).encode()).trace) == 15


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # a gauge, or a rate
        (samples(*((i, str(5 + (-1) ** i)) for i in range(20))), "query the counter itself"),
        (samples((0, "0.5"), (1, "1")), "sample 1: a sample must be"),
        # a counter of bytes
        (samples((0, "0"), (1, "1000000000000")), "must count at most 200,000,000 requests"),
        (samples((0, "1")), "a series must have two samples"),
        (samples((5, "1"), (5, "2")), "sample 2: a sample must come after the one before"),
        (samples((0, "NaN"), (1, "2")), "sample 1: a sample must be"),
        (samples((0, "7"), (1, "7")), "must hold at least one request, but holds none"),
        (b'{"status": "error", "data": {"resultType": 1}, "error": "no"}', "status must be succ"),
        (b'{"status": "success", "data": {"resultType": "vector", "result": []}}',
         'resultType must be matrix, the answer of query_range, but got "vector"'),
    ],
)  # fmt: skip
def test_what_is_no_counter_is_refused(refused, content, message):
    assert message in refused(content)


def test_parquet_keeps_the_digits_of_timestamps(read):
    stamps = pa.array([1700158546123456789, 1700158546123456799], pa.timestamp("ns", "UTC"))
    assert read(parquet(ts=stamps)).trace.arrival_s.tolist() == [0.0, 1e-8]
    texts = ["2023-11-16 18:15:46", "2023-11-16 18:15:47"]
    assert read(parquet(date=texts)).trace.arrival_s.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (EXAMPLES["parquet"].content[:-9], "must be a whole Parquet file"),
        (parquet(time=[[1], [2]]), '"time" must be a column of times or numbers'),
        (parquet(time=[1, None]), "row 2: time must be a number of seconds, but got nothing"),
        (parquet(n=[1]), "must have a column of arrival times"),
        (parquet({"dynbatch": "{}"}, arrival_s=[1.0]), "metadata must have name and duration_s"),
        (parquet({"dynbatch": '{"name": "", "duration_s": 1}'}, n=[1]), "have a column arrival_s"),
        (parquet({"dynbatch": '{"name": "", "duration_s": 9}'}, arrival_s=[1.0, None]),
         "arrival_s must have no gaps, but has 1"),
        (parquet({"dynbatch": '{"name": "", "duration_s": 9}'}, arrival_s=[2.0, 1.0]),
         "arrival_s must be non-decreasing"),
    ],
)  # fmt: skip
def test_parquet_that_holds_no_trace_is_refused(refused, content, message):
    assert message in refused(content)


def test_a_listed_trace_of_dates_is_refused_and_not_waited_for():
    spec = ListedTrace(Trace([1700158546.0, 1700158547.0], 1700158547.0))
    with pytest.raises(TraceError, match="arrival_s must count from the start of trace, but its"):
        resolve(spec)


def test_a_run_keeps_how_its_recording_was_read(read):
    said = resolve(read(EXAMPLES["azure-functions"].content)).describe()
    assert said["format"] == "azure-functions"
    assert said["notes"][0] == (
        "3 rows, each taken as one request at its end_timestamp - duration; other columns: "
        "app, func"
    )
