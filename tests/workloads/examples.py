"""A small file in each format, what is in it, and the same with a bad entry."""

import io
import json
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Example:
    content: bytes
    arrival_s: list[float]
    input_tokens: list[int] | None = None
    output_tokens: list[int] | None = None
    # The same with one bad entry put in, what the message calls it, and what it says of it.
    broken: bytes = b""
    where: str = ""
    complaint: str = ""

    @property
    def is_text(self) -> bool:
        """Whether the file is lines, which can end otherwise or be in another order."""
        return self.where.startswith("line")


def lines(*texts):
    return "".join(f"{text}\n" for text in texts).encode()


def objects(*values):
    return lines(*(json.dumps(value) for value in values))


def with_bad_line(content, number, line):
    """`content` with `line` as its line `number`."""
    before = content.split(b"\n")
    return b"\n".join([*before[: number - 1], line, *before[number - 1 :]])


def parquet(metadata=None, **columns):
    file = io.BytesIO()
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata) if metadata else table, file)
    return file.getvalue()


def text_example(content, number, bad, complaint, *columns):
    return Example(
        content,
        *columns,
        broken=with_bad_line(content, number, bad),
        where=f"line {number}",
        complaint=complaint,
    )


def samples(*values):
    series = [{"metric": {"job": "api"}, "values": [list(value) for value in values]}]
    answer = {"status": "success", "data": {"resultType": "matrix", "result": series}}
    return json.dumps(answer).encode()


AZURE_LLM = lines(
    "TIMESTAMP,ContextTokens,GeneratedTokens",
    "2023-11-16 18:15:46.6805900,374,44",
    "2023-11-16 18:15:50.9951690,396,109",
    "2023-11-16 18:15:51.2224670,879,55",
)
AZURE_LLM_2024 = lines(
    "TIMESTAMP,ContextTokens,GeneratedTokens",
    "2024-05-10 00:00:00.009930+00:00,2162,5",
    "2024-05-10 00:00:01+00:00,2399,6",
)
BURSTGPT = lines(
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
    "5,ChatGPT,472,18,490,Conversation log",
    "45,ChatGPT,1087,230,1317,Conversation log",
    "118,GPT-4,417,0,417,API log",
)
BURSTGPT_NEW = lines(
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type",
    "5.25,12,3.1,ChatGPT,472,18,490,Conversation log",
    "45.5,12,0.2,ChatGPT,1087,230,1317,Conversation log",
)
AZURE_FUNCTIONS = lines(
    "app,func,end_timestamp,duration",
    "a1,f1,1.5,0.5",
    "a1,f2,2.25,2.0",
    "a2,f1,5.000000001,0.25",
)
MOONCAKE = objects(
    {"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]},
    {"timestamp": 3000, "input_length": 7322, "output_length": 490, "hash_ids": [0, 2]},
    {"timestamp": 3001.5, "input_length": 10, "output_length": 1, "hash_ids": []},
)
BAILIAN = objects(
    {"chat_id": 1, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 521,
     "output_length": 132, "type": "text", "turn": 1, "hash_ids": [7]},
    {"chat_id": 2, "parent_chat_id": 1, "timestamp": 61.5, "input_length": 600,
     "output_length": 9, "type": "text", "turn": 2, "hash_ids": [7, 8]},
)  # fmt: skip
AIPERF = objects(
    {"timestamp": 1000, "text": "Say something", "output_length": 12},
    {"session_id": "s", "turns": [
        {"timestamp": 1500, "text": "And now?", "output_length": 3},
        {"timestamp": 2500.25, "image": "cat.png", "output_length": 4},
    ]},
)  # fmt: skip
ACCESS_LOG = lines(
    '2001:db8::1 - - [16/Nov/2023:18:15:46 +0000] "GET /a HTTP/1.1" 200 512 "-" "curl/8"',
    '10.0.0.1 - bob smith [16/Nov/2023:19:15:47 +0100] "GET /"x" HTTP/1.1" 200 -',
    '10.0.0.1 - - [16/Nov/2023:13:15:49 -0500] "-" 400 0 "-" "Mozilla \\"5\\" [en]"',
)
ACCESS_JSON = objects(
    {"msec": "1700158546.500", "time_local": "16/Nov/2023:18:15:46 +0000", "status": "200",
     "request": "GET / HTTP/1.1", "request_time": "0.250", "body_bytes_sent": "512"},
    {"msec": "1700158547.000", "time_local": "16/Nov/2023:18:15:47 +0000", "status": "200",
     "request": "GET / HTTP/1.1", "request_time": "0.125", "body_bytes_sent": "0"},
)  # fmt: skip
CADDY = objects(
    {"level": "info", "ts": 1646861401.5241, "status": 200, "size": 5, "duration": 0.0001,
     "request": {"method": "GET", "uri": "/"}},
    {"level": "info", "ts": 1646861402.5242, "status": 200, "size": 5, "duration": 0.0002,
     "request": {"method": "GET", "uri": "/"}},
)  # fmt: skip
PLAIN_CSV = lines(
    "id;timestamp_ms;prompt_tokens;completion_tokens",
    "a;1700158546500;3;4",
    'b;1700158547750;5;"6"',
)
PLAIN_JSONL = objects(
    {"ts": "2023-11-16T18:15:46.5Z", "prompt_tokens": 3, "path": "/v1"},
    {"ts": "2023-11-16T18:15:46.75Z", "prompt_tokens": 4, "path": "/v1"},
)

K6 = lines(
    "metric_name,timestamp,metric_value,status",
    "http_reqs,1772355600,1,200",
    "http_req_duration,1772355600,12.5,200",
    "http_reqs,1772355602,1,200",
    "vus,1772355602,1,",
)
PERF_ANALYZER = json.dumps({"experiments": [{"requests": [
    {"timestamp": 1772355600000000000, "response_timestamps": [1772355600100000000]},
    {"timestamp": 1772355601000000001, "response_timestamps": []},
]}]}).encode()  # fmt: skip
ENVOY_LOG = lines(
    '[2026-03-01T09:00:00.310Z] "GET / HTTP/2" 200 - 154 0 226 100 "10.0.0.1" "ua" "id1" "svc" "a"',
    '[2026-03-01T09:00:01.560Z] "GET /x HTTP/2" 503 UF 0 91 3 - "-" "ua" "id2" "svc" "b"',
)
_ASKED = '"GET https://a.example:443/ HTTP/1.1" "curl" E TLSv1.2 arn "Root=1" "a" "arn" 1'
ELB_LOG = lines(
    f"https 2026-03-01T09:00:01.9Z app/lb/1 10.0.0.1:2817 10.0.0.2:80 0.0 0.8 0.0 200 200 0 57 "
    f'{_ASKED} 2026-03-01T09:00:01.1Z "forward" "-" "-"',
    f"https 2026-03-01T09:00:02.5Z app/lb/1 10.0.0.1:2817 10.0.0.2:80 0.0 0.9 0.0 200 200 0 57 "
    f'{_ASKED} 2026-03-01T09:00:01.6Z "forward" "-" "-"',
)
SQUID_LOG = lines(
    "1772355600.680    180 10.0.0.1 TCP_MISS/200 1024 GET http://a.example/ - HIER_DIRECT/1 -",
    "1772355602.000   1000 10.0.0.1 TCP_TUNNEL/200 39 CONNECT a.example:443 - HIER_DIRECT/1 -",
)
LOGFMT = lines(
    'time=2026-03-01T09:00:00.5Z level=info msg="done, \\"well\\"" duration=12ms',
    "time=2026-03-01T09:00:01Z level=info msg=done duration=1.5s",
)
SYSLOG = lines(
    '<34>1 2026-03-01T09:00:00.5Z host app 1 - [a@1 b="]"][c@1 d="e"] GET /',
    "<34>1 2026-03-01T09:00:01Z host app - - - ",
)
HAPROXY_LOG = lines(*(
    f"lb haproxy[14]: 10.0.0.1:33317 [01/Mar/2026:09:00:0{s}.655] in static/srv1 10/0/30/69/109 "
    '200 2750 - - ---- 1/1/1/1/0 0/0 "GET / HTTP/1.1"'
    for s in (1, 4)
))  # fmt: skip
W3C_LOG = lines(
    "#Fields: date time s-ip cs-method cs-uri-stem sc-status time-taken",
    "2026-03-01 09:00:00 10.0.0.1 GET / 200 250",
    "2026-03-01 09:00:02 10.0.0.1 GET / 200 1500",
)

RECORDING = lines(
    '{"dynbatch_recording": 1, "started": "2026-03-01T09:30:00.000000+00:00", '
    '"columns": ["arrival_ns", "input_tokens"]}',
    "0,12",
    "1500000,7",
    "2000000001,900",
    "# end 2000000001",
)

EXAMPLES = {
    "dynbatch-json": Example(
        b'{"arrival_s": [0.0, 0.5], "input_tokens": [1, 2]}', [0.0, 0.5], [1, 2]
    ),
    "dynbatch-recording": text_example(
        RECORDING, 3, b"soon,1", 'arrival_ns must be a number of nanoseconds, but got "soon"',
        [0.0, 0.0015, 2.000000001], [12, 7, 900],
    ),
    "parquet": Example(
        parquet(time_us=[10_000_000, 10_250_000], input_tokens=[3, 4]),
        [0.0, 0.25],
        [3, 4],
        broken=parquet(time_us=[10_000_000, 10_100_000, 10_250_000], input_tokens=[3, -1, 4]),
        where="row 2",
        complaint='input_tokens must be a whole number of tokens, but got "-1"',
    ),
    "azure-llm": text_example(
        AZURE_LLM, 3, b"yesterday,1,1", 'TIMESTAMP must be a date and time, but got "yesterday"',
        [0.0, 4.314579, 4.541877], [374, 396, 879], [44, 109, 55],
    ),
    "burstgpt": text_example(
        BURSTGPT, 4, b"7,GPT-4,x,1,1,API log",
        'Request tokens must be a whole number of tokens, but got "x"',
        [0.0, 40.0, 113.0], [472, 1087, 417], [18, 230, 0],
    ),
    "azure-functions": text_example(
        AZURE_FUNCTIONS, 2, b"a,f,3.5,-1", 'duration must be >= 0 and in reach, but got "-1"',
        [0.0, 0.75, 4.500000001],
    ),
    "mooncake": text_example(
        MOONCAKE, 2, b'{"timestamp": "soon", "input_length": 1, "hash_ids": []}',
        'timestamp must be a number of milliseconds, but got "soon"',
        [0.0, 3.0, 3.0015], [6758, 7322, 10], [500, 490, 1],
    ),
    "bailian": text_example(
        BAILIAN, 2, b'{"chat_id": 3, "timestamp": 61.2, "input_length": -5}',
        'input_length must be a whole number of tokens, but got "-5"',
        [0.0, 0.386], [521, 600], [132, 9],
    ),
    "aiperf": text_example(
        AIPERF, 3, b'{"delay": 100, "text": "later"}', "a request must have a timestamp",
        [0.0, 0.5, 1.50025], None, [12, 3, 4],
    ),
    "access-log": text_example(
        ACCESS_LOG, 2, b"!! rotated !!", "a line must be like client - - [time]", [0.0, 1.0, 3.0]
    ),
    "access-json": text_example(
        ACCESS_JSON, 2, b'{"msec": "-"}', 'msec must be a number of seconds, but got "-"',
        [0.0, 0.625],
    ),
    "perf-analyzer": Example(PERF_ANALYZER, [0.0, 1.000000001]),
    "k6": text_example(
        K6, 3, b"http_reqs,soon,1,200", "timestamp must be a", [0.0, 2.0]
    ),
    "envoy-log": text_example(
        ENVOY_LOG, 2, b"!! rotated !!", "a line must be like [2026-03-01T09", [0.0, 1.25]
    ),
    "elb-log": text_example(
        ELB_LOG, 2, b"!! rotated !!", "a line must be like https 2026-03", [0.0, 0.5]
    ),
    "squid-log": text_example(
        SQUID_LOG, 2, b"!! rotated !!", "a line must be like 1772355600.680 134", [0.0, 0.5]
    ),
    "haproxy-log": text_example(
        HAPROXY_LOG, 2, b"!! rotated !!", "a line must be like ... haproxy[1]", [0.0, 3.0]
    ),
    "w3c-log": text_example(
        W3C_LOG, 3, b"2026-03-01 soon 10.0.0.1 GET / 200 1", "must be a date and time", [0.0, 2.0]
    ),
    "logfmt": text_example(
        LOGFMT, 2, b"!! rotated !!", "a line must be like time=2026-03-01", [0.0, 0.5]
    ),
    "syslog": text_example(
        SYSLOG, 2, b"!! rotated !!", "a line must be like <34>1 2026-03-01", [0.0, 0.5]
    ),
    "prometheus": Example(
        samples((1700000000, "10"), (1700000015, "10"), (1700000030, "12")),
        [],
        broken=samples(
            (1700000000, "10"), (1700000015, "10"), (1700000030, "12"), (1700000045, "1.5")
        ),
        where="sample 4",
        complaint="a sample must be [seconds, a whole number of requests as text] of a counter",
    ),
    "csv": text_example(
        PLAIN_CSV, 3, b"c;now;1;1", 'timestamp_ms must be a number of milliseconds, but got "now"',
        [0.0, 1.25], [3, 5], [4, 6],
    ),
    "jsonl": text_example(
        PLAIN_JSONL, 2, b"{", "a line must be a JSON object, but at column 2", [0.0, 0.25], [3, 4]
    ),
}  # fmt: skip

VARIANTS = {
    "azure-llm of 2024": ("azure-llm", AZURE_LLM_2024, [0.0, 0.99007]),
    "burstgpt with sessions": ("burstgpt", BURSTGPT_NEW, [0.0, 40.25]),
    "caddy": ("access-json", CADDY, [0.0, 1.0]),
}

# The formats that are lines, and those of them that begin with a line of names.
TEXT = sorted(name for name, example in EXAMPLES.items() if example.is_text)
WITH_HEADER = [
    "azure-functions", "azure-llm", "burstgpt", "csv", "dynbatch-recording", "k6", "w3c-log",
]  # fmt: skip

# The same instants in another zone, for the formats whose stamps have one.
OTHER_ZONE = {
    "azure-llm": (
        AZURE_LLM_2024,
        AZURE_LLM_2024.replace(b"00:00:01+00:00", b"02:00:01+02:00"),
    ),
    "access-log": (
        ACCESS_LOG,
        ACCESS_LOG.replace(b"16/Nov/2023:18:15:46 +0000", b"17/Nov/2023:03:15:46 +0900"),
    ),
    "access-json": (
        lines('{"time_iso8601": "2026-03-01T09:00:01+00:00", "status": 200, "uri": "/"}'),
        lines('{"time_iso8601": "2026-03-01T04:00:01-05:00", "status": 200, "uri": "/"}'),
    ),
    "csv": (
        lines("ts;n", "2026-03-01T09:00:01Z;1", "2026-03-01T09:00:02Z;1"),
        lines("ts;n", "2026-03-01T10:00:01+01:00;1", "2026-03-01T01:00:02-0800;1"),
    ),
    "logfmt": (LOGFMT, LOGFMT.replace(b"T09:00:00.5Z", b"T10:00:00.5+01:00")),
    "syslog": (SYSLOG, SYSLOG.replace(b"T09:00:00.5Z", b"T10:00:00.5+01:00")),
    "jsonl": (
        PLAIN_JSONL,
        PLAIN_JSONL.replace(b"2023-11-16T18:15:46.5Z", b"2023-11-16T23:45:46.5+05:30"),
    ),
    "parquet": (
        parquet(ts=pa.array([1700158546000, 1700158547000], pa.timestamp("ms", "UTC"))),
        parquet(ts=pa.array([1700158546000, 1700158547000], pa.timestamp("ms", "Asia/Tokyo"))),
    ),
}
# The same times by number, in a unit that the option or the name says.
IN_UNITS = {
    "csv": lambda name, *times: lines(f"id,{name}", *(f"a,{time}" for time in times)),
    "jsonl": lambda name, *times: objects(*({"id": "a", name: time} for time in times)),
    "logfmt": lambda name, *times: lines(*(f"id=a {name}={time}" for time in times)),
    "parquet": lambda name, *times: parquet(**{name: list(times)}),
    "access-json": lambda name, *times: objects(
        *({name: time, "status": 200, "method": "GET"} for time in times)
    ),
    "mooncake": lambda name, *times: objects(
        *({name: time, "input_length": 1, "hash_ids": []} for time in times)
    ),
    "bailian": lambda name, *times: objects(
        *({name: time, "input_length": 1, "chat_id": 1} for time in times)
    ),
    "aiperf": lambda name, *times: objects(*({name: time, "text": "a"} for time in times)),
    "perf-analyzer": lambda name, *times: json.dumps(
        {"experiments": [{"requests": [{name: time} for time in times]}]}
    ).encode(),
}


def columns(spec):
    """What a listed trace holds, as lists."""
    trace = spec.trace
    return [
        None if column is None else column.tolist()
        for column in (trace.arrival_s, trace.input_tokens, trace.output_tokens)
    ]
