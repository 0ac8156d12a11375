"""Access logs as lines of text: of web servers, proxies and load balancers.

What each stamps is from its own documentation. Where a log says the start, that is the arrival;
where it says the end and how long a request took to the millisecond, the difference is. What the
fields are called is one vocabulary for all: client, host, user, method, path, status.
"""

import re

from workloads.importers.log_lines import Form, LogLines

_ISO = rb"\d{4}-\d\d-\d\dT[\d:.]+Z"
# A client may have put quotes into its request without the server's marking them.
_REQUEST = rb'"(?P<request>(?:[^"\\]|\\.)*|.*)"'
_COMMON = (
    rb'(?P<who>\S.*) \[(?P<time>[^\[\]"]+)\] ' + _REQUEST + rb" (?P<status>\d{3}|-) "
    rb"(?P<bytes>\d+|-)"
)
_COMBINED = _COMMON + rb' "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)"'
_QUOTED = rb'"(?:[^"\\]|\\.)*"'


class AccessLog(LogLines):
    """Lines in the common or combined log format, or of S3, which are nearly that.

    `client ident user [day/month/year:hour:minute:second zone] "request" status bytes`, with
    whatever after it. Two put fields of their own there: ingress-nginx its $request_time, and
    Traefik, which stamps the start, how long a request took.
    """

    format = "access-log"
    what = "Apache or nginx access log, common or combined"
    example = 'client - - [time] "request" status bytes'
    usual = 2
    forms = (
        Form(
            re.compile(
                _COMBINED + rb" (?P<request_length>\d+) (?P<request_time>\d+\.\d{3})"
                rb" \[(?P<upstream_name>[^\]]*)\] \[[^\]]*\] (?P<upstream>.*)"
            ),
            ("log",),
            took=("request_time", "s"),
        ),
        Form(
            re.compile(
                _COMBINED + rb' \d+ "(?P<router>[^"]*)" "(?P<upstream>[^"]*)" (?P<duration>\d+ms)'
            ),
            ("log",),
            starts=True,
        ),
        Form(
            re.compile(_COMMON + rb"(?:\s+(?P<rest>.*))?"),
            ("log",),
            "an access log may stamp a request's start (Apache) or its end (nginx); the stamp was "
            "taken as the arrival",
            before_rest=7,
        ),
        Form(
            re.compile(
                rb'(?P<owner>\S+) (?P<bucket>\S+) \[(?P<time>[^\[\]"]+)\] (?P<client>\S+)'
                rb" (?:\S+ \S+ (?P<operation>\S+) (?P<key>\S+)|.*)"
                rb' "(?P<request>[^"]*)" (?P<status>\d{3}|-) .*'
            ),
            ("log",),
            starts=True,
        ),
    )


class EnvoyLog(LogLines):
    """Envoy's and Istio's default format, which begins with %START_TIME%."""

    format = "envoy-log"
    what = "Envoy or Istio access log in its default text format"
    example = '[2026-03-01T09:00:00.310Z] "GET / HTTP/2" 200 ...'
    forms = (
        Form(
            re.compile(
                rb"\[(?P<time>" + _ISO + rb")\] " + _REQUEST + rb" (?P<status>\d{1,3}|-) "
                rb"(?:(?P<flags>\S+) (?:.* )?\d+ (?P<bytes>\d+) (?P<duration_ms>\d+) \S+ "
                + _QUOTED
                + rb' "(?P<agent>[^"]*)" '
                + _QUOTED
                + rb' "(?P<host>[^"]*)" '
                + _QUOTED
                + rb"(?: .*)?|.*)"
            ),
            ("zoned",),
            starts=True,
        ),
    )


class LoadBalancerLog(LogLines):
    """AWS load balancers: an application one says when it was asked, a classic one stamps that."""

    format = "elb-log"
    what = "AWS load balancer log, application or classic"
    example = "https 2026-03-01T09:00:00.186641Z app/lb/1 10.0.0.1:2817 10.0.0.2:80 0.0 0.0 0.0 200"
    _served = (
        rb"(?P<client>\S+) (?P<target>\S+) (?:-?[\d.]+ ){3}"
        rb'(?:(?P<status>\S+) \S+ \S+ (?P<bytes>\S+) "(?P<request>[^"]*)"(?: "(?P<agent>[^"]*)")?'
        rb")?.*"
    )
    forms = (
        Form(
            re.compile(
                rb"(?:https?|h2|grpcs|wss?) " + _ISO + rb" \S+ " + _served + rb'"'
                rb" -?\d+ (?P<time>" + _ISO + rb")(?: .*)?"
            ),
            ("zoned",),
            "arrivals are the request_creation_time",
            starts=True,
        ),
        Form(
            re.compile(
                rb"(?:https?|h2|grpcs|wss?) (?P<time>" + _ISO + rb")(?: \S+ " + _served + rb"| .*)"
            ),
            ("zoned",),
            "the stamp was taken for the arrival, but is when the balancer answered: these lines "
            "have no request_creation_time",
        ),
        Form(
            re.compile(rb"(?P<time>" + _ISO + rb") \S+ (?=\S+:\d+ )" + _served),
            ("zoned",),
            starts=True,
        ),
    )


class SquidLog(LogLines):
    """Squid's native format: when the request was done, and how many milliseconds it took."""

    format = "squid-log"
    what = "Squid access log in its native format"
    example = "1772355600.680 134 10.0.0.1 TCP_MISS/200 1024 GET http://a.example/ ..."
    forms = (
        Form(
            re.compile(
                rb"(?P<time>\d{9,10}\.\d{3}) +(?P<elapsed>\d+) (?P<client>\S+)"
                rb" (?P<result>[A-Z_]+)/(?P<status>\d{3}) (?P<bytes>\d+) (?P<request>\S+ \S+).*"
            ),
            ("number",),
            took=("elapsed", "ms"),
        ),
    )


class HaProxyLog(LogLines):
    """HAProxy's HTTP and TCP formats, with when the connection or request was accepted."""

    format = "haproxy-log"
    what = "HAProxy log, HTTP or TCP"
    example = (
        "... haproxy[1]: 10.0.0.1:33317 [01/Mar/2026:09:00:00.655] front back/srv 10/0/30/69/109"
    )
    forms = (
        Form(
            re.compile(
                rb"(?:.* )?(?P<client>\S+):\d+ \[(?P<time>\d\d/\w{3}/\d{4}:[\d:]+\.\d{3})\]"
                rb" (?P<frontend>\S+) (?P<backend>\S+) [-+]?\d+(?:/[-+]?\d+)+"
                rb' (?:(?P<status>-1|\d{3}) \+?(?P<bytes>\d+) [^"]*"(?P<request>[^"]*)"?.*|.*)'
            ),
            ("log_local",),
            starts=True,
        ),
    )
