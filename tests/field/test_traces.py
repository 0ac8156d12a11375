"""Logs and exports as people have them: each is read right, or refused with the way out.

Every row stands for a kind; the files in data/ and their siblings are our own, with the traits of
public ones. What is expected was worked out by hand from what the tool says of its fields.
"""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from tests.field.trace_siblings import READ, REFUSED
from tests.workloads.examples import lines, objects, parquet
from workloads import Reading, TraceFileError, load

DATA = Path(__file__).parent / "data"


@pytest.fixture
def read(tmp_path):
    def read(content, **reading):
        path = tmp_path / "mine"
        path.write_bytes(content)
        return load(path, Reading(**reading))

    return read


def arrivals(spec):
    return spec.trace.arrival_s.tolist()


# File, what to say beside it, and the arrivals that it has.
FILES = [
    ("01_rails_lograge_ms.jsonl", {}, [0.0, 0.1, 1.2]),
    ("01_rails_lograge_ms.jsonl", {"stamp": "start"}, [0.0, 0.1, 1.2]),
    # 100 - 58.33, 200 - 3.1 and 1300 - 812 ms
    ("01_rails_lograge_ms.jsonl", {"stamp": "end", "duration_unit": "ms"}, [0.0, 0.15523, 0.44633]),
    ("01_rails_lograge_ms.jsonl", {"duration_unit": "ms"}, [0.0, 0.15523, 0.44633]),
    ("02_istio_json_start_ms.jsonl", {}, [0.0, 0.1, 1.1]),
    ("03_k6.csv", {}, [0.0, 2.0]),
    ("06_unit_camel.csv", {}, [0.0, 0.02, 0.04]),
    ("06_unit_msec.csv", {}, [0.0, 0.02]),
    ("07_multiline_failure.jtl", {}, [0.0, 0.138, 0.315]),
    ("08_array_of_objects.json", {}, [0.0, 1.0]),
    ("09_perf_analyzer_export.json", {}, [0.0, 1.0]),
    ("09_perf_analyzer_inputs.json", {}, [0.0, 1.0]),
    ("10_aiperf_export.jsonl", {}, [0.0, 0.1]),
    ("11_envoy_text.log", {}, [0.0, 1.0]),
    ("12_bigquery_utc.csv", {}, [0.0, 0.31941]),
    ("13_duplicate_column.csv", {}, [0.0, 1.0]),
    ("13_excel_sep.csv", {}, [0.0, 1.0]),
    ("14_vidur.csv", {}, [0.0, 0.5]),
    ("15_caddy_duration_string.log", {}, [0.0, 0.3]),
    ("15_caddy_duration_string.log", {"stamp": "start"}, [0.0, 1.0]),
]


@pytest.mark.parametrize(("name", "reading", "arrival_s"), FILES)
def test_a_field_file_has_its_arrivals_and_says_what_was_taken_for_them(name, reading, arrival_s):
    spec = load(DATA / name, Reading(**reading))
    assert arrivals(spec) == arrival_s
    assert spec.notes[0].startswith(f"{len(arrival_s)} rows")
    assert "each taken as one request at its" in spec.notes[0]


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("08_array_of_objects.json", [[1, 2], None]),
        ("10_aiperf_export.jsonl", [[550, 12], None]),
        ("14_vidur.csv", [[374, 396], [44, 109]]),
    ],
)
def test_a_field_file_has_its_tokens(name, tokens):
    trace = load(DATA / name).trace
    columns = (trace.input_tokens, trace.output_tokens)
    assert [None if c is None else c.tolist() for c in columns] == tokens


def test_counts_in_steps_are_asked_about_and_then_spread_in_their_steps():
    path = DATA / "04_counts_per_interval.csv"
    with pytest.raises(TraceFileError, match="--count-column value if it counts the requests"):
        load(path)
    table = pd.read_csv(path, parse_dates=["timestamp"])
    spec = load(path, Reading(count_column="value"))
    start = table.timestamp.iloc[0]
    steps = (start + pd.to_timedelta(spec.trace.arrival_s, "s")).floor("5min").value_counts()
    assert steps.sort_index().tolist() == table["value"].tolist() == [94, 56, 187, 95]
    assert spec.trace.duration_s == 1200.0
    assert spec.notes[0].startswith("4 rows, whose value counts 432 requests in steps of 300 s")
    assert len(load(path, Reading(count_column="none")).trace) == 4


def test_of_a_histogram_only_the_bucket_of_all_requests_is_read():
    spec = load(DATA / "05_prom_bucket.json")
    assert (len(spec.trace), spec.trace.duration_s) == (200, 30.0)
    assert 'of the 3 buckets only le="+Inf" was read' in spec.notes[0]


@pytest.mark.parametrize(
    ("content", "reading", "arrival_s"), [row[1:] for row in READ], ids=[row[0] for row in READ]
)
def test_what_people_have_is_read_right(read, content, reading, arrival_s):
    assert arrivals(read(content, **reading)) == arrival_s


@pytest.mark.parametrize(
    ("content", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_would_be_read_wrongly_is_refused_with_the_way_out(read, content, says):
    with pytest.raises(TraceFileError) as caught:
        read(content)
    message = str(caught.value)
    assert [part for part in says if part not in message] == []
    assert "\n" not in message


@pytest.mark.parametrize(
    "name", ["requests", "request_count", "RequestCount", "num_requests", "hits", "visits", "count"]
)
def test_a_column_called_as_counts_are_is_one_at_equal_steps(read, name):
    rows = [f"2026-03-01 09:{5 * i:02d}:00,{n}" for i, n in enumerate((94, 56, 187, 95))]
    spec = read(lines(f"timestamp,{name}", *rows))
    assert (len(spec.trace), spec.trace.duration_s) == (432, 1200.0)
    assert f"whose {name} counts 432 requests" in spec.notes[0]


def test_the_counts_of_groups_in_a_step_add_up_and_a_stamp_may_be_the_steps_end(read):
    content = lines(
        "time_s,path,requests", "60,/a,3", "60,/b,2", "120,/a,1", "180,/a,4", "240,/b,0"
    )
    begin, end = read(content), read(content, stamp="end")
    for spec in (begin, end):
        counted = pd.cut(spec.trace.arrival_s, [0, 60, 120, 180, 240], right=False).value_counts()
        assert counted.tolist() == [5, 1, 4, 0]
    assert "steps of 60 s that begin at its time" in begin.notes[0]
    assert "steps of 60 s that end at its time" in end.notes[0]


def test_rows_that_are_chosen_and_not_there_are_an_error_that_says_so(read):
    content = lines("metric,time_ms,x", "reqs,1000,5", "cpu,1000,1")
    with pytest.raises(TraceFileError, match="but none of its 2 rows has metric gpu"):
        read(content, where="metric=gpu")
    note = read(content, where="metric=cpu").notes[0]
    assert note.startswith("1 row of 2, those with metric cpu, taken as one request at its time_ms")


WEB = lines("t,path,status,method", "1,/predict,200,POST", "2,/health,200,GET",
            "3,/predict,503,POST", "5,/predict,200,GET", "9,/predict,200,POST")  # fmt: skip


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (("status=200",), [0.0, 1.0, 4.0, 8.0]),
        (("status=200", "path=/predict"), [0.0, 4.0, 8.0]),
        (("path=/predict", "method=POST", "status=200"), [0.0, 8.0]),
    ],
)
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_of_several_conditions_all_must_hold(read, where, found, form):
    rows = [line.split(",") for line in WEB.decode().split()]
    fields = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    content = {
        "csv": WEB,
        "jsonl": objects(*fields),
        "parquet": parquet(**{name: [row[name] for row in fields] for name in rows[0]}),
    }[form]
    spec = read(content, where=where, time_column="t")
    assert arrivals(spec) == found
    said = " and ".join(sorted(text.replace("=", " ") for text in where))
    note = spec.notes[0].partition("those with ")[2].partition(",")[0]
    assert " and ".join(sorted(note.split(" and "))) == said


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (("status=200", "path=/none"), "none of its 5 rows has status 200 and path /none"),
        (("status=200", "code=1"), "where must name one of .*, but got .*code"),
        (("status=200", "status=503"), "where must name each column once, but got status=200, "),
        (("status=200", "path"), "where must be COLUMN=VALUE, but got status=200, path"),
    ],
)
def test_conditions_that_cannot_all_hold_are_an_error(read, where, said):
    with pytest.raises(TraceFileError, match=said):
        read(WEB, where=where)


def test_k6_rows_of_the_metric_that_also_meet_the_conditions(read):
    content = lines("metric_name,timestamp,metric_value,url",
                    "http_reqs,1772355600,1,/a", "http_req_duration,1772355600,3,/a",
                    "http_reqs,1772355601,1,/b", "http_reqs,1772355604,1,/a")  # fmt: skip
    assert arrivals(read(content, where="url=/a")) == [0.0, 4.0]
    assert arrivals(read(content, where=("metric_name=http_reqs", "url=/b"))) == [0.0]


def test_a_metric_that_was_chosen_may_still_be_counts(read):
    content = lines("metric,time_ms,value", "reqs,1000,5", "cpu,1000,1", "reqs,2500,4")
    with pytest.raises(TraceFileError, match="--count-column value"):
        read(content, where="metric=reqs")
    assert len(read(content, where="metric=reqs", count_column="value").trace) == 9


def prometheus(*series):
    result = [
        {"metric": labels, "values": [[1772355600 + 15 * i, str(v)] for i, v in enumerate(values)]}
        for labels, values in series
    ]
    return json.dumps(
        {"status": "success", "data": {"resultType": "matrix", "result": result}}
    ).encode()


def test_the_buckets_of_several_jobs_count_each_request_once(read):
    series = [
        ({"__name__": "rt_seconds_bucket", "job": job, "le": le}, (0, n // 2, n))
        for job in ("a", "b")
        for le, n in (("0.1", 40), ("+Inf", 100))
    ]
    assert len(read(prometheus(*series)).trace) == 200
    # as an expression over buckets answers, which has no name
    assert len(read(prometheus(*(({"le": s[0]["le"]}, s[1]) for s in series[:2]))).trace) == 100


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"__name__": "rt_seconds_bucket", "le": "0.5"}, "query rt_seconds_count"),
        ({"__name__": "rt_seconds_sum"}, "query rt_seconds_count"),
        ({"__name__": "rt_seconds", "quantile": "0.9"}, "query rt_seconds_count"),
        ({"__name__": "http_response_bytes_total"}, "adds up something else"),
        ({"__name__": "process_cpu_seconds_total"}, "adds up something else"),
        ({"__name__": "vllm:num_requests_running"}, "called as gauges are"),
    ],
)
def test_series_that_count_no_requests_are_refused(read, labels, says):
    with pytest.raises(TraceFileError, match=says):
        read(prometheus((labels, (0, 10, 20))))


def test_series_of_several_metrics_are_not_added_up(read):
    content = prometheus(({"__name__": "a_total"}, (0, 1)), ({"__name__": "b_total"}, (0, 1)))
    with pytest.raises(TraceFileError, match="one counter of requests, but holds a_total, b_total"):
        read(content)


def test_a_gauge_that_only_rises_is_noted(read):
    spec = read(prometheus(({"__name__": "jobs_done"}, (0, 3))))
    assert '"jobs_done" is not called as counters are' in spec.notes[0]


def test_a_file_that_unpacks_to_more_than_it_may_is_refused_as_it_streams(read):
    content = gzip.compress(b"timestamp,x\n" + b"1,1\n" * 1_000_000)
    with pytest.raises(TraceFileError, match=r"at most 0\.001 GB when .* raise --max-unpacked-gb"):
        read(content, max_unpacked_gb=0.001)
    assert len(read(content, max_unpacked_gb=0.005).trace) == 1_000_000
    plain = b"timestamp,x\n" + b"1,1\n" * 1_000_000  # it is on the disk already
    assert len(read(plain, max_unpacked_gb=0.001).trace) == 1_000_000


def test_names_of_columns_are_shown_without_what_a_terminal_would_obey(read):
    spec = read(b'{"ts": 1, "\\u001b[2J": 5}\n')
    assert "\x1b" not in spec.notes[0]
    assert "\\u001b[2J" in spec.notes[0]
