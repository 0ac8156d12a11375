"""The contract of every importer, on a small file in its format."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.workloads.examples import (
    ACCESS_LOG,
    AZURE_LLM,
    EXAMPLES,
    PLAIN_CSV,
    VARIANTS,
    lines,
    objects,
    parquet,
    samples,
    with_bad_line,
)
from workloads import (
    IMPORTERS,
    ListedTrace,
    Reading,
    Trace,
    TraceError,
    TraceFileError,
    load,
    resolve,
)
from workloads.importers import choose
from workloads.importers.stream import Head

ALL = sorted(EXAMPLES)
RECORDED = sorted(name for name, example in EXAMPLES.items() if example.broken)
TEXT = sorted(name for name, example in EXAMPLES.items() if example.is_text)
WITH_HEADER = ["azure-functions", "azure-llm", "burstgpt", "csv"]


@pytest.fixture
def read(tmp_path):
    def read(content, name="mine", **reading):
        path = tmp_path / name
        path.write_bytes(content)
        return load(path, Reading(**reading))

    return read


@pytest.fixture
def refused(read):
    """What is said of a file that is refused, without its name."""

    def refused(content, **reading):
        with pytest.raises(TraceFileError) as caught:
            read(content, **reading)
        message = str(caught.value)
        assert "\n" not in message
        return message.partition("mine: ")[2]

    return refused


def columns(spec):
    trace = spec.trace
    return [
        None if column is None else column.tolist()
        for column in (trace.arrival_s, trace.input_tokens, trace.output_tokens)
    ]


def zstd(content):
    return pa.compress(content, codec="zstd", asbytes=True)


def test_every_importer_has_an_example_and_a_place_in_the_documentation():
    assert set(EXAMPLES) == set(IMPORTERS)
    documented = (Path(__file__).resolve().parents[2] / "docs" / "traces.md").read_text()
    assert [name for name in IMPORTERS if f"`{name}`" not in documented] == []


@pytest.mark.parametrize("name", ALL)
def test_content_is_recognised_by_its_importer_and_by_no_other(name):
    head = Head(EXAMPLES[name].content)
    rivals = [i for i in IMPORTERS.values() if i.generic == IMPORTERS[name].generic]
    assert [i.format for i in rivals if i.recognises(head)] == [name]
    assert choose(head, Reading(), []).format == name


@pytest.mark.parametrize("name", [name for name in ALL if name != "prometheus"])
def test_the_columns_are_those_of_the_file(read, name):
    example = EXAMPLES[name]
    spec = read(example.content)
    assert isinstance(spec, ListedTrace)
    assert columns(spec) == [example.arrival_s, example.input_tokens, example.output_tokens]
    assert spec.trace.duration_s == example.arrival_s[-1]
    assert spec.format == name
    assert spec.trace.source["format"] == name
    assert spec.trace.source["notes"] == list(spec.notes)


@pytest.mark.parametrize("name", VARIANTS)
def test_newer_releases_are_read_too(read, name):
    format_, content, arrival_s = VARIANTS[name]
    spec = read(content)
    assert (spec.format, spec.trace.arrival_s.tolist()) == (format_, arrival_s)


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.parametrize("name", ALL)
def test_compressed_files_give_the_same(read, name, pack):
    plain = read(EXAMPLES[name].content)
    packed = read(pack(EXAMPLES[name].content))
    assert packed.trace.fingerprint() == plain.trace.fingerprint()
    assert packed.notes == plain.notes


@pytest.mark.parametrize("name", RECORDED)
def test_a_bad_entry_is_an_error_that_names_it(refused, name):
    example = EXAMPLES[name]
    message = refused(example.broken)
    assert message.startswith(f"{example.where}: ")
    assert example.complaint in message


@pytest.mark.parametrize("name", RECORDED)
def test_a_bad_entry_that_may_be_skipped_is_counted(read, name):
    example = EXAMPLES[name]
    spec = read(example.broken, skip_bad=1)
    assert spec.trace.fingerprint() == read(example.content).trace.fingerprint()
    word = example.where.partition(" ")[0]
    (note,) = [note for note in spec.notes if "skipped" in note]
    assert note.startswith(f"1 bad {word} of ")
    assert f"the first: {example.where}: " in note
    assert example.complaint in note


@pytest.mark.parametrize("name", TEXT)
def test_one_bad_line_more_than_may_be_skipped_is_the_error(refused, name):
    example = EXAMPLES[name]
    number = int(example.where.split()[1])
    bad = example.broken.split(b"\n")[number - 1]
    twice = with_bad_line(example.broken, number + 1, bad)
    message = refused(twice, skip_bad=1)
    assert message.startswith(f"line {number + 1}: ")
    assert message.endswith("it is one more bad line than the 1 of skip_bad")


@pytest.mark.parametrize("name", TEXT)
def test_line_breaks_of_windows_blank_lines_and_a_byte_order_mark_change_nothing(read, name):
    content = EXAMPLES[name].content
    changed = b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n\r\n")
    assert columns(read(changed)) == columns(read(content))


@pytest.mark.parametrize("name", TEXT)
def test_the_last_line_needs_no_line_break(read, name):
    content = EXAMPLES[name].content
    assert columns(read(content.rstrip(b"\n"))) == columns(read(content))


@pytest.mark.parametrize("name", TEXT)
def test_a_line_number_counts_blank_lines_too(refused, name):
    example = EXAMPLES[name]
    number = int(example.where.split()[1])
    spaced = example.broken.replace(b"\n", b"\n\n")
    assert refused(spaced).startswith(f"line {2 * number - 1}: ")


@pytest.mark.parametrize("name", TEXT)
def test_a_last_line_cut_short_is_a_bad_line(refused, name):
    content = EXAMPLES[name].content.rstrip(b"\n")
    last = content.rpartition(b"\n")[2]
    cut = content[: len(content) - len(last) + 8]
    number = content.count(b"\n") + 1
    assert refused(cut).startswith(f"line {number}: ")


@pytest.mark.parametrize("name", TEXT)
def test_bytes_that_are_no_utf8_are_a_bad_line(refused, name):
    content = EXAMPLES[name].content
    number = content.count(b"\n") + 1
    bad = EXAMPLES[name].broken.split(b"\n")[int(EXAMPLES[name].where.split()[1]) - 1]
    assert refused(content + bad.replace(b"e", b"\xff") + b"\xff\n").startswith(f"line {number}: ")


@pytest.mark.parametrize("name", TEXT)
def test_utf16_is_refused_by_its_name(refused, name):
    content = b"\xff\xfe" + EXAMPLES[name].content.decode().encode("utf-16-le")
    message = refused(content, format=name)
    assert message == "must be UTF-8 text, but begins with the mark of UTF-16"


@pytest.mark.parametrize("name", TEXT)
def test_requests_out_of_order_are_sorted_and_said_to_be(read, name):
    head, *rest = EXAMPLES[name].content.splitlines(keepends=True)
    kept = [head] if name in WITH_HEADER else []
    requests = rest if name in WITH_HEADER else [head, *rest]
    spec = read(b"".join(kept + requests[::-1]))
    assert columns(spec) == columns(read(EXAMPLES[name].content))
    if name != "azure-functions":  # which is not in order as it is
        assert "has been sorted" in " ".join(spec.notes)


@pytest.mark.parametrize("name", ALL)
def test_an_empty_file_holds_no_trace(refused, name):
    assert refused(b"", format=name)
    assert refused(b"\n\n") == "must hold a trace, but is empty"


@pytest.mark.parametrize("name", WITH_HEADER)
def test_a_header_alone_holds_no_trace(refused, name):
    header = EXAMPLES[name].content.split(b"\n")[0]
    for content in (header, header + b"\n"):
        assert refused(content) == "must hold at least one request, but holds none"


@pytest.mark.parametrize("name", TEXT)
def test_a_file_of_bad_entries_alone_is_refused_even_if_all_may_be_skipped(refused, name):
    lines_ = EXAMPLES[name].content.split(b"\n")
    bad = EXAMPLES[name].broken.split(b"\n")[int(EXAMPLES[name].where.split()[1]) - 1]
    content = b"\n".join([*(lines_[:1] if name in WITH_HEADER else []), bad, bad])
    if name == "jsonl":
        content = content.replace(b"{", b'{"ts": "never"}')
    message = refused(content, format=name, skip_bad=9)
    assert message == "must hold at least one request, but all 2 lines are bad"


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_compressed_file_cut_short_is_refused(refused, pack):
    content = pack(AZURE_LLM + b"2023-11-16 18:15:52,1,1\n" * 1000)
    assert "must be a whole " in refused(content[: len(content) // 2])


def test_a_bad_value_is_found_among_many_blocks(read, refused, monkeypatch):
    monkeypatch.setattr("workloads.importers.stream.HEAD_BYTES", 4096)
    monkeypatch.setattr("workloads.importers.stream.Stream.blocks.__defaults__", (1000,))
    rows = [f"2023-11-16 18:{i // 60:02d}:{i % 60:02d},{i},1" for i in range(3000)]
    whole = lines("TIMESTAMP,ContextTokens,GeneratedTokens", *rows)
    assert columns(read(whole))[:2] == [list(map(float, range(3000))), list(range(3000))]
    for bad in (17, 1500, 2999):
        spoilt = [*rows[:bad], rows[bad].replace("16", "99", 1), *rows[bad + 1 :]]
        broken = lines("TIMESTAMP,ContextTokens,GeneratedTokens", *spoilt)
        assert refused(broken).startswith(f"line {bad + 2:,}: TIMESTAMP must be a date and time")
        assert len(read(broken, skip_bad=1).trace) == 2999


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
    assert spec.notes[0].startswith("prompt_tokens and input_tokens could each be")


def test_token_counts_that_some_requests_lack_are_not_kept_and_it_is_said(read):
    spec = read(lines("time_s,prompt_tokens,output_tokens", "1,,3.0", "4,5,6.0"))
    assert columns(spec)[1:] == [None, [3, 6]]
    assert spec.notes == ("input tokens are missing for 1 of 2 requests, so none were kept",)


def test_bytes_of_an_access_log_are_not_tokens(read):
    for content in (ACCESS_LOG, EXAMPLES["access-json"].content):
        assert columns(read(content))[1:] == [None, None]


def test_an_open_quote_does_not_swallow_the_lines_after_it(read, refused):
    content = with_bad_line(AZURE_LLM, 3, b'"2023-11-16 18:15:49,1,1')
    assert refused(content).startswith("line 3: a record must be one line")
    assert columns(read(content, skip_bad=1)) == columns(read(AZURE_LLM))


def test_a_clock_too_coarse_for_the_load_is_noted(read):
    seconds = [f"2023-11-16 18:15:{i // 10:02d},1,1" for i in range(100)]
    spec = read(lines("TIMESTAMP,ContextTokens,GeneratedTokens", *seconds))
    assert spec.notes == (
        "times are in steps of 1 s, and 90 of 100 requests arrive at the very instant of the one "
        "before: what lay between them was not recorded",
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


@pytest.mark.parametrize(("field", "value"), [("time_unit", "h"), ("skip_bad", -1)])
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
    assert len(said["notes"]) == 1
