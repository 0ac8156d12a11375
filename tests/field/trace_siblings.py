"""Siblings of the files in data/: the same trait in what other tools write."""
# ruff: noqa: E501 - a line of a log is as long as it is

import json

import pyarrow as pa
import pytest

from tests.workloads.examples import lines, objects, parquet


def day(time, form="{}"):
    return form.format(f"2026-03-01T09:00:{time}")


def stamped(**fields):
    """Three requests at 0, 0.1 and 1.2 s, with an ISO stamp among other fields."""
    return objects(*({"@timestamp": day(t), **fields} for t in ("00.100Z", "00.200Z", "01.300Z")))


# What it is, the content, what to say beside it, and the arrivals.
READ = [
    # A duration in whatever unit beside a stamp that may be the start or the end.
    ("Express and pino, ms", objects(*(
        {"level": 30, "time": t, "responseTime": 512, "req": {"method": "GET", "url": "/"}}
        for t in (1772355600100, 1772355600200, 1772355601300))), {}, [0.0, 0.1, 1.2]),
    ("Elastic Common Schema, ns", stamped(event={"duration": 812000000}, url={"path": "/"}, http={"request": {"method": "GET"}}), {}, [0.0, 0.1, 1.2]),
    ("Serilog, ms", objects(*({"@t": day(t), "Elapsed": 812.5, "RequestPath": "/", "StatusCode": 200}
        for t in ("00.1Z", "00.2Z", "01.3Z"))), {}, [0.0, 0.1, 1.2]),
    ("Google's load balancer, text", objects(*(
        {"timestamp": day(t), "httpRequest": {"latency": "0.512s", "status": 200}}
        for t in ("00.1Z", "01.3Z"))), {}, [0.0, 1.2]),
    ("the same, the end", objects(*(
        {"timestamp": day(t), "httpRequest": {"latency": took, "status": 200}}
        for t, took in (("00.6Z", "0.5s"), ("01.3Z", "100ms")))), {"stamp": "end"}, [0.0, 1.1]),
    ("API Gateway, whose requestTime is a time", objects(*(
        {"requestId": "a", "requestTime": f"01/Mar/2026:09:00:0{s} +0000", "responseLatency": "26"}
        for s in (0, 2))), {}, [0.0, 2.0]),
    ("Envoy, start_time beside duration", objects(*(
        {"start_time": day(t), "duration": 26, "method": "GET", "response_code": 200}
        for t in ("00.1Z", "01.2Z"))), {}, [0.0, 1.1]),
    ("Traefik, StartUTC beside Duration in ns", objects(*(
        {"StartUTC": day(t), "time": day("59Z"), "Duration": 26000000, "RequestMethod": "GET",
         "RequestPath": "/", "DownstreamStatus": 200} for t in ("00.1Z", "01.2Z"))),
        {}, [0.0, 1.1]),
    ("nginx, a custom format", objects(*(
        {"timestamp": f"2026-03-01T09:00:0{s}+00:00", "request_time": "0.250", "status": "200",
         "remote_addr": "10.0.0.1", "request_uri": "/"} for s in (1, 2))), {}, [0.0, 1.0]),
    ("nginx's stamps less its durations", objects(
        {"msec": "1772355600.500", "request_time": "0.500", "status": "200", "request": "GET /"},
        {"msec": "1772355601.500", "request_time": "1.200", "status": "200", "request": "GET /"}),
        {}, [0.0, 0.3]),
    ("a request_time that is not nginx's", objects(*(
        {"timestamp": day(t), "request_time": 812, "status": 200, "remote_addr": "10.0.0.1",
         "method": "GET"} for t in ("00.1Z", "01.3Z"))), {}, [0.0, 1.2]),
    ("Caddy, minutes in text", objects(
        {"ts": 1772355700.5, "duration": "1m30.5s", "status": 200, "request": {"uri": "/"}},
        {"ts": 1772355611.5, "duration": "250\u00b5s", "status": 200, "request": {"uri": "/"}}),
        {}, [0.0, 1.49975]),
    ("CSV with both, told apart", lines("end_time,latency_ms", "2026-03-01 09:00:01,1000",
        "2026-03-01 09:00:02,500"), {"time_column": "end_time", "stamp": "end"}, [0.0, 1.5]),

    # Rows of many metrics.
    ("k6 as JSON", objects(
        {"type": "Metric", "metric": "http_reqs", "data": {"name": "http_reqs", "type": "counter"}},
        {"type": "Point", "metric": "http_reqs", "data": {"time": day("01.5Z"), "value": 1}},
        {"type": "Point", "metric": "http_req_duration", "data": {"time": day("01.5Z"), "value": 9}},
        {"type": "Point", "metric": "http_reqs", "data": {"time": day("03Z"), "value": 1}}),
        {}, [0.0, 1.5]),
    ("a metric chosen of a long table", lines("metric,time_ms,value", "reqs,1000,1", "cpu,1000,0.3",
        "reqs,2500,1", "cpu,3000,0.2"), {"where": "metric=reqs"}, [0.0, 1.5]),

    ("a flag that is called as a time is", lines("sent,ts,x", "yes,1,a", "no,2.5,b"), {}, [0.0, 1.5]),
    ("requests with a sampling temperature", lines("timestamp,max_tokens,temperature",
        *(f"2026-03-01 09:00:{7 * i:02d},100,0.{i}" for i in range(3))), {}, [0.0, 7.0, 14.0]),

    # A unit in the name.
    *((f"a column {name!r}", lines(f"n,{name}", f"a,{first}", f"b,{second}"), {}, [0.0, 0.02])
      for name, first, second in [
        ("timestamp(ms)", 0, 20), ("Time [ms]", 10, 30), ("ts_us", 0, 20000), ("t_ns", 5, 20000005),
        ("epochMillis", 1772355600000, 1772355600020), ("created_at_ms", 5, 25),
        ("timeUnixNano", 1772355600000000000, 1772355600020000000), ("ts(us)", 0, 20000),
        ("unix_nano", 1772355600000000000, 1772355600020000000), ("ArrivalTimeSec", 1, 1.02), ("START_TS_US", 0, 20000),
        ("req_ts_millis", 0, 20), ("requestReceivedTimestampMs", 5, 25),
        ("startTimeNanos", 0, 20000000), ("timestampms", 0, 20), ("Start Time (\u00b5s)", 0, 20000),
        ("time_in_milliseconds", 0, 20), ("epoch", 1772355600.0, 1772355600.02),
      ]),
    ("a field timeUnixNano", objects({"timeUnixNano": "1772355600000000001"},
        {"timeUnixNano": "1772355600020000001"}), {}, [0.0, 0.02]),
    ("a unit in the name of a column that was named", lines("elapsed_ns,x", "0,1", "20000000,1"),
        {"time_column": "elapsed_ns"}, [0.0, 0.02]),

    # Counts, where the name leaves no doubt.
    ("visits per day, all in one step", lines("date,visits", "2026-03-01,0", "2026-03-02,0",
        "2026-03-03,1"), {}, [pytest.approx(2 * 86400, abs=86400)]),

    # CSV as spreadsheets and loggers write it.
    ("a record over three lines, with commas and quotes", lines(
        "timestamp,message,code", '1,"a, ""b""', "", 'c",200', "2.5,d,200"), {}, [0.0, 1.5]),
    ("a record over two lines at the end", lines("ts,message", "1,a", '2,"b', 'c"'), {}, [0.0, 1.0]),
    ("remarks before the header", lines("# made by us", "# units: s", "ts,x", "0,1", "1,1"),
        {}, [0.0, 1.0]),
    ("a header that is a remark", lines("# ts,x", "0,1", "1.5,1"), {}, [0.0, 1.5]),
    ("sep=\\t", b"sep=\t\r\nts\tx\r\n0\t1\r\n2\t1\r\n", {}, [0.0, 2.0]),
    ("no header", lines("1772355600000000000,200,12", "1772355601000000000,200,9"),
        {"columns": ("timestamp", "code", "latency")}, [0.0, 1.0]),
    ("no header, the unit told", lines("a;5", "b;25"),
        {"columns": ("id", "start"), "time_unit": "ms"}, [0.0, 0.02]),
    ("an index without a name", lines("id,timestamp,", "0,1.5,x", "1,2.5,y"), {}, [0.0, 1.0]),
    ("the index that pandas writes", lines(",timestamp,x", "0,1.5,x", "1,2.5,y"), {}, [0.0, 1.0]),
    ("two columns of a name that is not needed", lines("a,time_s,a,a", "1,0,2,3", "1,3,2,3"),
        {}, [0.0, 3.0]),
    ("day and time in two columns", lines("date,time,x", "2026-03-01,23:59:59.5,1",
        "2026-03-02,00:00:01,1"), {}, [0.0, 1.5]),

    # Dates as they come.
    *((f"dates such as {first}", lines("timestamp;x", f"{first};1", f"{second};1"), {}, [0.0, gap])
      for first, second, gap in [
        ("2026-03-01 09:00:00 UTC", "2026-03-01 09:00:01.5 UTC", 1.5),
        ("2026/03/01 09:00:00", "2026/03/01 09:00:02", 2.0),
        ("2026-03-01 09:00:00,680", "2026-03-01 09:00:01,000", 0.32),
        ("2026-03-01 09:00:00 +0000", "2026-03-01 10:00:02 +0100", 2.0),
        ("2026-03-01T09:00:00.000+0000", "2026-03-01T09:00:01.000+0000", 1.0),
        ("2026-03-01 09:00:00.5 +0000 UTC", "2026-03-01 09:00:01 +0000 UTC", 0.5),
        ("20260301T090000Z", "20260301T090003Z", 3.0),
        ("2026-03-01T09:00:00.123456789012Z", "2026-03-01T09:00:01.123456789012Z", 1.0),
        ("Sun, 01 Mar 2026 09:00:00 GMT", "Sun, 01 Mar 2026 09:00:05 GMT", 5.0),
        ("01/Mar/2026:09:00:00 +0000", "01/Mar/2026:09:00:05 +0000", 5.0),
        ("2026-03-01 09:00:00 GMT", "2026-03-01 09:00:05 GMT", 5.0),
      ]),

    # JSON in other shapes.
    ("a pretty array", json.dumps([{"ts": 1.5}, {"ts": 2.5}], indent=2).encode(), {}, [0.0, 1.0]),
    ("pretty objects, one after another", b"".join(json.dumps({"ts": t, "x": {"y": 1}}, indent=2)
        .encode() + b"\n" for t in (1, 3)), {}, [0.0, 2.0]),
    ("an array inside an object", json.dumps({"Records": [
        {"eventTime": day("00Z"), "awsRegion": "x"}, {"eventTime": day("07Z")}]}).encode(),
        {}, [0.0, 7.0]),
    ("a HAR, by the whole path", json.dumps({"log": {
        "pages": [{"startedDateTime": day("00Z")}],
        "entries": [{"startedDateTime": day("01.25Z"), "time": 40.5, "request": {"method": "GET"}},
                    {"startedDateTime": day("02Z"), "time": 3, "request": {"method": "GET"}}]}}).encode(),
        {"time_column": "log.entries[].startedDateTime"}, [0.0, 0.75]),
    ("Mooncake's fields in an array", json.dumps([
        {"timestamp": t, "input_length": 5, "output_length": 1, "hash_ids": [1]} for t in (0, 3000)
        ]).encode(), {}, [0.0, 3.0]),
    ("an access log in an array", json.dumps([
        {"@timestamp": day(t), "method": "GET", "status": 200, "duration": 812} for t in ("00Z", "01Z")
        ]).encode(), {}, [0.0, 1.0]),
    ("the servers' spans of OTLP", objects({"resourceSpans": [{"scopeSpans": [{"spans": [
        {"traceId": "a", "spanId": "1", "kind": 2, "startTimeUnixNano": "1772355600000000000"},
        {"traceId": "a", "spanId": "2", "parentSpanId": "1", "kind": 3,
         "startTimeUnixNano": "1772355600100000000"},
        {"traceId": "b", "spanId": "3", "kind": 2, "startTimeUnixNano": "1772355601000000000",
         "events": [{"timeUnixNano": "1772355601000000001"}]}]}]}]}), {}, [0.0, 1.0]),
    ("Zipkin's spans without a parent", json.dumps([
        {"traceId": "a", "id": "1", "timestamp": 1772355600000000, "duration": 5},
        {"traceId": "a", "id": "2", "parentId": "1", "timestamp": 1772355600100000},
        {"traceId": "b", "id": "3", "timestamp": 1772355600500000}]).encode(), {}, [0.0, 0.5]),
    ("OTLP's log records", objects(*({"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"timeUnixNano": t, "body": {"stringValue": "GET /"}}]}]}]}
        for t in ("1772355600000000000", "1772355602000000000"))), {}, [0.0, 2.0]),

    # Text logs.
    ("Istio, a failed request", lines(
        f'[{day("00.000Z")}] "GET / HTTP/1.1" 503 UF 0 91 10 - "-" "c" "i" "a" "-" x',
        f'[{day("02.250Z")}] "- - -" 0 DC 0 0 1 - "-" "-" "-" "-" "-"'), {}, [0.0, 2.25]),
    ("an application load balancer", lines(*(
        f'https 2026-03-01T09:00:09.9Z app/lb/1 10.0.0.1:2817 10.0.0.2:80 0.086 0.048 0.037 200 200 0 57 '
        f'"GET https://a.example:443/ HTTP/1.1" "curl" ECDHE TLSv1.2 arn:aws:x "Root=1" "a.example" '
        f'"arn" 1 {day(t)} "waf,forward" "-" "-" "10.0.0.2:80" "200" "-" "-"'
        for t in ("00.5Z", "02.75Z"))), {}, [0.0, 2.25]),
    ("a classic load balancer", lines(*(
        f'{day(t)} lb 10.0.0.1:2817 10.0.0.2:80 0.000073 0.001048 0.000057 200 200 0 29 '
        '"GET http://a.example:80/ HTTP/1.1" "curl" - -' for t in ("00.5Z", "02Z"))), {}, [0.0, 1.5]),
    ("Squid: the end less milliseconds", lines(
        "1772355600.680    180 10.0.0.1 TCP_MISS/200 1024 GET http://a.example/ - HIER_DIRECT/1 text/html",
        "1772355602.000   1000 10.0.0.1 TCP_TUNNEL/200 39 CONNECT a.example:443 - HIER_DIRECT/1 -"),
        {}, [0.0, 0.5]),
    ("Squid, as stamped", lines(
        "1772355600.680    180 10.0.0.1 TCP_MISS/200 1024 GET http://a.example/ - HIER_DIRECT/1 text/html",
        "1772355602.000   1000 10.0.0.1 TCP_TUNNEL/200 39 CONNECT a.example:443 - HIER_DIRECT/1 -"),
        {"stamp": "start"}, [0.0, 1.32]),
    ("HAProxy", lines(*(
        f"Mar  1 09:00:0{s} lb haproxy[14]: 10.0.0.1:33317 [01/Mar/2026:09:00:0{s}.655] in static/srv1 "
        '10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1.example} "GET / HTTP/1.1"' for s in (1, 4))),
        {}, [0.0, 3.0]),
    ("S3", lines(*(
        f'79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be bucket [01/Mar/2026:09:00:0{s} '
        '+0000] 10.0.0.1 arn 3E57427F REST.GET.OBJECT a.txt "GET /a.txt HTTP/1.1" 200 - 113 - 7 - "-" '
        '"S3Console/0.4" -' for s in (0, 3))), {}, [0.0, 3.0]),
    ("IIS", lines("#Software: Microsoft Internet Information Services 10.0", "#Date: 2026-03-01 09:00:00",
        "#Fields: date time s-ip cs-method cs-uri-stem sc-status time-taken",
        "2026-03-01 09:00:00 10.0.0.1 GET / 200 250", "#Date: 2026-03-01 09:00:02",
        "2026-03-01 09:00:02 10.0.0.1 GET / 200 1500"), {}, [0.0, 2.0]),
    ("IIS, the durations taken off", lines(
        "#Fields: date time s-ip cs-method cs-uri-stem sc-status time-taken",
        "2026-03-01 09:00:00 10.0.0.1 GET / 200 250", "2026-03-01 09:00:02 10.0.0.1 GET / 200 1500"),
        {"stamp": "end"}, [0.0, 0.75]),
    ("CloudFront", lines("#Version: 1.0", "#Fields: date time x-edge-location sc-bytes time-taken",
        "2026-03-01\t09:00:00\tFRA2\t182\t0.250", "2026-03-01\t09:00:03\tFRA2\t182\t0.001"),
        {}, [0.0, 3.0]),

    # Parquet as pandas and Spark write it.
    ("a dictionary of times", parquet(ts=pa.array(["2026-03-01 09:00:00", "2026-03-01 09:00:02"])
        .dictionary_encode()), {}, [0.0, 2.0]),
    ("durations since the start", parquet(arrival=pa.array([0, 1500], pa.duration("ms"))),
        {}, [0.0, 1.5]),
    ("a duration that is taken off", parquet(
        end=pa.array([1772355600_500, 1772355601_500], pa.timestamp("ms")),
        took=pa.array([500, 1200], pa.duration("ms"))),
        {"time_column": "end", "stamp": "end"}, [0.0, 0.3]),
    ("a time inside a struct", parquet(meta=pa.array([{"ts": 1.5, "n": 1}, {"ts": 2.0, "n": 2}])),
        {}, [0.0, 0.5]),

    # Dates that end with their year, and zones by name.
    ("a day above 12, later on", lines("timestamp,x", "01/03/2026 09:00:00,1", "01/03/2026 09:00:02,1",
        "13/03/2026 09:00:00,1"), {}, [0.0, 2.0, 12 * 86400.0]),
    ("a month that is second, with blanks and commas", lines("timestamp;x", "12/31/2026, 9:05:00;1",
        "12/31/2026, 10:05:00;1"), {}, [0.0, 3600.0]),
    ("the same date as a day", lines("timestamp,x", "1/3/2026 09:00,1", "2/3/2026 09:00,1"),
        {"date_order": "day"}, [0.0, 86400.0]),
    ("the same date as a month", lines("timestamp,x", "1/3/2026 09:00,1", "2/3/2026 09:00,1"),
        {"date_order": "month"}, [0.0, 31 * 86400.0]),
    ("dots, fractions and a zone", objects({"ts": "31.12.2026 23:59:59,5 +0100", "n": 1},
        {"ts": "01.01.2027 00:00:01,5 +0100", "n": 1}), {}, [0.0, 2.0]),
    ("a day of its own", lines("date,time,x", "31/12/2026,23:59:59,1", "01/01/2027,00:00:01,1"),
        {}, [0.0, 2.0]),
    ("more rows than are done one by one", lines("timestamp,id",
        *(f"{1 + i // 60}/{1 + i // 1800}/2026 09:{i % 60:02d}:00,1" for i in range(1800))),
        {"date_order": "day"}, [86400.0 * (i // 60) + 60.0 * (i % 60) for i in range(1800)]),
    ("zones that mean one offset", lines("timestamp,x", "2026-03-29 01:59:59 CET,1",
        "2026-03-29 03:00:01 CEST,1"), {}, [0.0, 2.0]),
    ("Java's zone beside its offset", lines("timestamp,x",
        "2026-03-29T01:59:59.5+01:00[Europe/Paris],1", "2026-03-29T03:00:01.5+02:00[Europe/Paris],1"),
        {}, [0.0, 2.0]),

    # Lines of fields.
    ("logfmt, whose duration is taken off", lines("ts=2026-03-01T09:00:00.512Z level=info duration=512ms",
        "ts=2026-03-01T09:00:01.1Z level=info duration=100ms"), {"stamp": "end"}, [0.0, 1.0]),
    ("logfmt with seconds, of which some are chosen", lines('msg="GET /, ok" ts=1772355600.5 status=200',
        'msg="GET /" ts=1772355601 status=500', "msg=x ts=1772355602.5 status=200"),
        {"where": "status=200"}, [0.0, 2.0]),
    ("syslog without a year or a priority", lines("Mar  1 09:00:00 host app[1]: GET /, ok",
        "Dec 31 09:00:00 host app[1]: GET /"), {}, [0.0, 305 * 86400.0]),
    ("syslog, before the end of February", lines("<34>Jan 31 09:00:00 host app: a",
        "<34>Feb  1 09:00:00 host app: b"), {}, [0.0, 86400.0]),
    ("rsyslog's own times, one program of two", lines("2026-03-01T09:00:00.5+01:00 host app[1]: a",
        "2026-03-01T09:00:00.7+01:00 host cron[2]: b", "2026-03-01T09:00:01+01:00 host app[1]: c"),
        {"where": "app=app"}, [0.0, 0.5]),
    ("Heroku's router", lines(*(f'2026-03-01T09:00:0{s}.5+00:00 heroku[router]: at=info method=GET path="/" '
        f"host=a service=18ms status={200 + s}" for s in (0, 1, 3))), {}, [0.0, 1.0, 3.0]),
    ("HAProxy behind syslog", lines("Mar  1 09:00:00 lb haproxy[1]: 10.0.0.1:33317 "
        "[01/Mar/2026:09:00:00.655] front back/srv 10/0/30/69/109 200 2750"), {}, [0.0]),

    # Pairs of a time and a value.
    ("pairs, each a request", b'[[1772355600.5, "3"], [1772355602, "1"]]', {"count_column": "none"},
        [0.0, 1.5]),
    ("pairs of a counter, of which one request came", b'[[1772355600, "3"], [1772355615, "3"],\n'
        b'[1772355630, 4]]', {"format": "prometheus"}, [24.554425309]),
]  # fmt: skip


# What it is, the content, and the cause and the way out that the refusal names.
REFUSED = [
    # Rows that are not requests.
    ("Locust's history", lines("Timestamp,User Count,Type,Name,Requests/s,Failures/s,50%,95%",
        "1772355600,5,,Aggregated,4.2,0,12,30", "1772355601,5,,Aggregated,4.4,0,12,31"),
        ["Requests/s", "only be of many"]),
    ("k6 without http_reqs", lines("metric_name,timestamp,metric_value", "vus,1,1", "vus,2,1"),
        ["http_reqs", "--where"]),
    ("a long table of metrics", lines("time,metric,value", "1,cpu,0.5", "1,rps,20"),
        ["metric (cpu, rps)", "--where metric="]),
    ("InfluxDB's table", lines("_time,_measurement,_field,_value", "2026-03-01T09:00:00Z,cpu,idle,9",
        "2026-03-01T09:00:00Z,cpu,user,3"), ["--where"]),
    ("vLLM's result", objects({"date": "20260301-090000", "request_throughput": 4.2,
        "mean_ttft_ms": 20.1, "p99_ttft_ms": 50.5}), ["p99_ttft_ms", "only be of many"]),
    ("GuideLLM's table", lines("Start Time,Request Latency mean,Request Latency median",
        "2026-03-01 09:00:00,1.5,1.4"), ["Request Latency median", "only be of many"]),
    ("OTLP's metrics", objects({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
        {"sum": {"dataPoints": [{"timeUnixNano": "1", "asInt": 4}]}}]}]}]}), ["samples of metrics"]),
    ("one scrape", b"# HELP http_requests_total All.\n# TYPE http_requests_total counter\n"
        b"http_requests_total 4\n", ["range query"]),

    # Counts and gauges.
    ("a gauge", lines("timestamp,cpu_percent", *(f"2026-03-01 09:0{m}:00,{m}.5" for m in range(5))),
        ["cpu_percent", "--count-column none"]),
    ("numbers of no name at steps of a minute", lines("timestamp,foo,bar",
        *(f"2026-03-01 09:0{m}:00,{m},1" for m in range(5))), ["--count-column foo"]),
    ("counts with a step missing", lines("timestamp,value", *(f"2026-03-01 09:0{m}:00,{m}"
        for m in (0, 1, 2, 4, 5))), ["--count-column value"]),
    ("CloudWatch's points, out of order", json.dumps({"Label": "RequestCount", "Datapoints": [
        {"Timestamp": f"2026-03-01T09:{m:02d}:00Z", "Sum": m, "Unit": "Count"} for m in (10, 0, 5)
        ]}).encode(), ["--count-column Sum"]),
    ("values of months, which are not equally long", lines("date,value",
        *(f"2026-{m:02d}-01,{m}" for m in range(1, 7))), ["--count-column value"]),
    ("a gauge of requests", objects(*({"ts": 1772355600 + s, "active_requests": 5}
        for s in range(4))), ["active_requests", "--count-column none"]),
    ("a rate at steps of a second", lines("timestamp,throughput",
        *(f"{1772355600 + s},{3 * s}" for s in range(4))), ["--count-column throughput"]),
    ("a count without equal steps", lines("time,request_count", "0,5", "1,7", "9.3,2"),
        ["--count-column request_count"]),
    ("a counter that goes on and on", lines("time,http_requests_total",
        *(f"{1772355600 + 15 * i},{i * 9}" for i in range(5))), ["--count-column"]),

    # A unit that contradicts the number, or is none that is read.
    ("milliseconds in a column of seconds", lines("timestamp_s,x", "1772355600123,1"), ["--time-unit"]),
    ("seconds in a column of milliseconds", lines("ts_ms,x", "1772355600,1"), ["--time-unit"]),
    ("minutes", lines("time_minutes,x", "1,1", "2,1"), ["minutes", "--time-unit"]),
    ("Caddy with nanoseconds", objects({"ts": 1772355600.5, "duration": 500000000, "status": 200,
        "request": {"uri": "/"}}), ["--duration-unit"]),

    # Dates that may be two.
    ("day or month first", lines("timestamp,x", "01/03/2026 09:00:00,1", "12/03/2026 09:00:00,1"),
        ["01/03/2026 09:00:00", "--date-order day", "--date-order month"]),
    ("day or month first, in a column of its own", lines("date,time,x", "1.3.2026,09:00:00,1"),
        ["--date-order day"]),
    ("a year of two digits", lines("timestamp,x", "31/12/26 09:00:00,1"), ["four"]),
    ("hours of half a day", lines("timestamp,x", "12/31/2026 9:00:00 PM,1"), ["00 to 23"]),
    ("a zone that is two", lines("timestamp,x", "2026-03-01 09:00:00 EST,1"), ["EST", "-05:00"]),
    ("a zone that has two offsets", lines("timestamp,x", "2026-03-01 09:00:00 Europe/Paris,1"),
        ["Europe/Paris", "write the offset"]),
    ("a time without its day", lines("time_s,x", "09:00:00,1"), ["says no date"]),

    # Lines that are not all requests, or not all of one year.
    ("syslog of several programs", lines("Mar  1 09:00:00 host app[1]: a", "Mar  1 09:00:00 host cron: b"),
        ["app, cron", "--where app=app"]),
    ("syslog over a year's end", lines("Dec 31 09:00:00 host app[1]: a", "Jan  1 09:00:00 host app[1]: b"),
        ["Dec 31", "Jan 1", "RSYSLOG_FileFormat"]),
    ("syslog over February's end", lines("Feb 28 09:00:00 host app: a", "Mar  1 09:00:00 host app: b"),
        ["split the file"]),
    ("syslog that goes back by months", lines("Dec 31 09:00:00 host app: a", "Mar  1 09:00:00 host app: b"),
        ["split the file"]),
    ("logfmt without a time", lines("level=info msg=a", "level=info msg=b"), ["level, msg", "--time-column"]),
    ("pairs of a time and a value", b'[[1772355600, "3"], [1772355615, "7"]]',
        ["--count-column value", "--trace-format prometheus", "--count-column none"]),

    # Shapes.
    ("no header", lines("1772355600.5,200,12", "1772355601.5,200,9"), ["--columns time,c2,c3"]),
    ("no header, dates", lines("GET,2026-03-01 09:00:00", "GET,2026-03-01 09:00:01"),
        ["--columns c1,time"]),
    ("requests in two arrays", json.dumps({"ok": [{"start": 1}], "failed": [{"start": 2}]}).encode(),
        ["ok[] or failed[]", "--time-column ok[]."]),
    ("a time asked for twice", lines("ts,ts", "1,2"), ["one column"]),
    ("a tar archive", b"a.csv".ljust(257, b"\0") + b"ustar  \0".ljust(300, b"\0"), ["tar archive"]),
    ("7z", b"7z\xbc\xaf\x27\x1c" + b"\0" * 20, ["7z", "unpack it first"]),
    ("times in the text of an application's log", lines("2026-03-01 09:00:00,680 INFO started",
        "2026-03-01 09:00:01,680 INFO done"), ["--"]),
]  # fmt: skip
