"""Access logs as servers are set up to write them: durations at the end of a line, and its fields.

Each line is one of four kinds of request at four times; what a log adds at the end is the case.
"""
# ruff: noqa: E501 - a line of a log is as long as it is

import pytest

from tests.workloads.examples import lines
from workloads import Reading, TraceFileError, load

# Second, method, target, status, and how long it took, ms.
REQUESTS = [
    (0, "POST", "/v1/predict?model=a", 200, 500),
    (0, "GET", "/health", 200, 1),
    (2, "POST", "/v1/predict", 503, 1250),
    (4, "POST", "/v1/chat", 200, 30),
]
AS_STAMPED = [0.0, 0.0, 2.0, 4.0]
# The stamps less the durations, from the first on: -0.5, -0.001, 0.75 and 3.97 s, sorted.
LESS_DURATIONS = [0.0, 0.499, 1.25, 4.47]


def log(end, before="10.0.0.1 - -", agent="curl 421 12 x"):
    """The lines of REQUESTS, each with `end` of its milliseconds behind the combined format."""
    return lines(*(
        f'{before} [01/Mar/2026:09:00:0{second} +0000] "{method} {target} HTTP/1.1" {status} 12 '
        f'"-" "{agent}"{end(ms)}'
        for second, method, target, status, ms in REQUESTS
    ))  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def read(content, **reading):
        path = tmp_path / "access.log"
        path.write_bytes(content)
        return load(path, Reading(**reading))

    return read


# What nginx's $request_time is called, and how it is written.
NAMED = [
    ("rt", lambda ms: f' rt={ms / 1e3:.3f} uct="0.001" uht="0.020" urt="0.120"'),
    ("rt", lambda ms: f' "203.0.113.9" rt="{ms / 1e3:.3f}"'),
    ("request_time", lambda ms: f" request_time={ms / 1e3:.3f} upstream_response_time=-"),
    ("request_time", lambda ms: f" pipe=. request_time={ms / 1e3:.3f}s"),
    ("request_time", lambda ms: f" 421 {ms / 1e3:.3f} [default-app-80] [] 10.0.0.7:80 12 0.004 200 f2"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "end"), NAMED)
def test_a_duration_that_the_line_names_is_taken_off_the_stamp_and_it_is_said(read, name, end):
    spec = read(log(end))
    assert spec.trace.arrival_s.tolist() == pytest.approx(LESS_DURATIONS)
    assert f"each taken as one request at its time - {name};" in spec.notes[0]
    assert read(log(end), stamp="end").trace.fingerprint() == spec.trace.fingerprint()
    assert read(log(end), duration_column=name).trace.fingerprint() == spec.trace.fingerprint()
    assert read(log(end), stamp="start").trace.arrival_s.tolist() == AS_STAMPED


# A number at the end without a name; its field; the unit to give; what the note says to give.
UNNAMED = [
    ("nginx's $request_time", lambda ms: f" {ms / 1e3:.3f}", "field_10", "s", "s"),
    ("quoted", lambda ms: f' "{ms / 1e3:.3f}"', "field_10", "s", "s"),
    ("two of nginx, of which one may be missing", lambda ms: f" {ms / 1e3:.3f} -", "field_10", "s", "s"),
    ("Apache's %D", lambda ms: f" {1000 * ms}", "field_10", "us", "s|ms|us"),
    ("Apache's %D, and bytes", lambda ms: f" 17 {1000 * ms}", "field_11", "us", "s|ms|us"),
    ("Apache's %D/%T in stars", lambda ms: f" [{1000 * ms}]", "field_10", "us", "s|ms|us"),
    ("a number with its unit", lambda ms: f" {ms}ms", "field_10", None, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("end", "field", "unit", "advice"), [r[1:] for r in UNNAMED], ids=[r[0] for r in UNNAMED]
)
def test_a_number_without_a_name_is_not_guessed_at_and_the_note_says_how_to_use_it(
    read, end, field, unit, advice
):
    spec = read(log(end))
    assert spec.trace.arrival_s.tolist() == AS_STAMPED
    (note,) = [note for note in spec.notes if "numbers without a name" in note]
    remedy = f"--stamp end --duration-column {field}"
    assert note.endswith(remedy if advice is None else f"{remedy} --duration-unit {advice}")
    told = read(log(end), stamp="end", duration_column=field, duration_unit=unit)
    assert told.trace.arrival_s.tolist() == pytest.approx(LESS_DURATIONS)
    assert not any("numbers without a name" in note for note in told.notes)


def test_a_duration_behind_the_common_format_counts_fields_as_they_stand(read):
    content = lines(*(
        f'a - - [01/Mar/2026:09:00:0{second} +0000] "GET / HTTP/1.1" 200 5 {took}'
        for second, took in ((1, 250_000), (2, 1_000_000))
    ))  # fmt: skip
    spec = read(content, stamp="end", duration_column="field_8", duration_unit="us")
    assert spec.trace.arrival_s.tolist() == pytest.approx([0.0, 0.25])


def test_the_end_is_asked_for_and_no_duration_named_lists_the_fields_there_are(read):
    with pytest.raises(TraceFileError, match=r"none is called so of time, client, .*, field_10: "):
        read(log(lambda ms: f" {ms / 1e3:.3f}"), stamp="end")
    with pytest.raises(TraceFileError, match="give --duration-unit"):
        read(log(lambda ms: f" {ms / 1e3:.3f}"), duration_column="field_10")


def test_a_traefik_log_stamps_the_start_and_its_duration_stays(read):
    spec = read(log(lambda ms: f' 7 "router" "http://10.0.0.1:80" {ms}ms'))
    assert spec.trace.arrival_s.tolist() == AS_STAMPED
    assert not any("stamp" in note for note in spec.notes)


@pytest.mark.parametrize(
    ("where", "arrival_s"),
    [
        ("path=/v1/predict", [0.0, 2.0]),  # with a query and without
        ("method=POST", [0.0, 2.0, 4.0]),
        ("status=503", [0.0]),
        (("method=POST", "status=200"), [0.0, 4.0]),
        ("client=10.0.0.1", AS_STAMPED),
        ("agent=curl 421 12 x", AS_STAMPED),  # which has what looks like a status in it
        ("shard=b", [0.0, 4.0]),
    ],
)
@pytest.mark.parametrize(
    "before", ["10.0.0.1 - -", "Mar  1 09:00:00 web nginx[7]: 10.0.0.1 - bob smith", "a:80 10.0.0.1 - -"]
)  # fmt: skip
def test_lines_are_chosen_by_the_parts_of_the_request(read, before, where, arrival_s):
    content = log(lambda ms: f" shard={'b' if ms in {500, 30} else 'a'}", before)
    assert read(content, where=where).trace.arrival_s.tolist() == arrival_s


ELB = (
    'https 2026-03-01T09:00:09.9Z app/lb/1 10.0.0.1:2817 10.0.0.2:80 0.1 0.1 0.1 200 200 0 57 "POST '
    'https://a.example:443/v1/predict?x=1 HTTP/1.1" "curl" E T arn "R" "-" "-" 1 2026-03-01T09:00:00Z "-"'
)
ENVOY = '[2026-03-01T09:00:00Z] "POST /v1/predict?x HTTP/1.1" 200 - 0 91 10 9 "-" "c" "i" "a.example" "u"'
ISTIO = (
    '[2026-03-01T09:00:00Z] "POST /v1/predict HTTP/1.1" 200 - via_upstream - "-" 0 91 10 9 "-" "c" '
    '"i" "a.example" "10.0.0.1:80" inbound|80|| 127.0.0.6:1 10.0.0.2:80 10.0.0.3:1 - default'
)
SQUID = (
    "1772355600.680 180 10.0.0.1 TCP_MISS/200 1024 POST http://a.example/v1/predict - DIRECT/1 -"
)
HAPROXY = (
    "Mar  1 09:00:01 lb haproxy[14]: 10.0.0.1:33317 [01/Mar/2026:09:00:01.655] front back/srv1 "
    '10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1.example} "POST /v1/predict HTTP/1.1"'
)
S3 = (
    "79a5 bucket [01/Mar/2026:09:00:00 +0000] 10.0.0.1 arn 3E57 REST.POST.OBJECT a.txt "
    '"POST /v1/predict HTTP/1.1" 200 - 113 - 7 - "-" "S3Console/0.4" -'
)


@pytest.mark.parametrize("line", [ELB, ENVOY, ISTIO, SQUID, HAPROXY, S3])
def test_every_text_log_calls_the_parts_of_a_request_alike(read, line):
    named = ("method=POST", "path=/v1/predict", "status=200")
    assert len(read(lines(line, line), where=named).trace) == 2
    with pytest.raises(TraceFileError, match="none of its 2 rows has path /v1/chat"):
        read(lines(line, line), where="path=/v1/chat")


@pytest.mark.parametrize("line", [ELB, ENVOY, ISTIO, SQUID])
def test_the_host_that_was_asked_is_a_field_where_it_is_in_the_log(read, line):
    assert len(read(lines(line), where="host=a.example").trace) == 1


def test_a_field_that_is_not_there_is_an_error_that_lists_all_there_are(read):
    with pytest.raises(TraceFileError) as caught:
        read(log(lambda ms: f" rt={ms / 1e3:.3f} shard=a"), where="uri=/v1")
    assert str(caught.value).endswith(
        "where must name one of time, client, ident, user, method, path, protocol, request, "
        'status, bytes, referer, agent, rt, shard, but got "uri"'
    )


def test_a_log_of_which_some_lines_cannot_be_read_says_how_many_and_the_way_out(read):
    content = lines("", "!! rotated !!") + log(lambda _: "") * 30 + lines("??", "??")
    with pytest.raises(TraceFileError) as caught:
        read(content)
    message = str(caught.value)
    assert "access.log: line 2: a line must be like " in message
    assert message.endswith("3 of the 123 lines read so far are bad: --skip-bad 3 leaves them out")
    assert len(read(content, skip_bad=3).trace) == 120


def test_a_table_whose_values_are_bad_all_over_is_not_to_be_skipped_through(read):
    content = lines("time_ms,x", *["soon,1"] * 50)
    with pytest.raises(TraceFileError) as caught:
        read(content, format="csv")
    assert "50 of the 50 lines read so far are bad: is it of another format" in str(caught.value)
    assert "--skip-bad" not in str(caught.value)
    content = lines("time_ms,x", *["1,1", "soon,1"] * 5000)
    with pytest.raises(TraceFileError, match="more than 1,000 lines are bad: --skip-bad N "):
        read(content)
