"""Access logs as lines of text: of web servers, proxies and load balancers.

What each stamps is from its own documentation. Where a log says the start, that is the arrival;
where it says the end and how long a request took to the millisecond, the difference is.
"""

import re

from workloads.importers.log_lines import Form, LogLines

_ISO = rb"\d{4}-\d\d-\d\dT[\d:.]+Z"


class AccessLog(LogLines):
    """Lines in the common or combined log format, or of S3, which are nearly that.

    `host ident user [day/month/year:hour:minute:second zone] "request" status bytes`, with
    whatever after it. The request is greedy: a client may have put quotes into it.
    """

    format = "access-log"
    what = "Apache or nginx access log, common or combined"
    example = 'host - - [time] "request" status bytes'
    forms = (
        Form(
            re.compile(rb'\S.* \[(?P<time>[^\[\]"]+)\] ".*" (?:\d{3}|-) (?:\d+|-)(?:\s.*)?'),
            ("log",),
            "an access log may stamp a request's start (Apache) or its end (nginx); the stamp was "
            "taken as the arrival",
        ),
        Form(
            re.compile(rb'\S+ \S+ \[(?P<time>[^\[\]"]+)\] \S+ .* "[^"]*" (?:\d{3}|-) .*'), ("log",)
        ),
    )


class EnvoyLog(LogLines):
    """Envoy's and Istio's default format, which begins with %START_TIME%."""

    format = "envoy-log"
    what = "Envoy or Istio access log in its default text format"
    example = '[2026-03-01T09:00:00.310Z] "GET / HTTP/2" 200 ...'
    forms = (Form(re.compile(rb"\[(?P<time>" + _ISO + rb')\] ".*" (?:\d{1,3}|-) .*'), ("zoned",)),)


class LoadBalancerLog(LogLines):
    """AWS load balancers: an application one says when it was asked, a classic one stamps that."""

    format = "elb-log"
    what = "AWS load balancer log, application or classic"
    example = "https 2026-03-01T09:00:00.186641Z app/lb/1 10.0.0.1:2817 10.0.0.2:80 0.0 0.0 0.0 200"
    forms = (
        Form(
            re.compile(
                rb"(?:https?|h2|grpcs|wss?) " + _ISO + rb' \S+ \S+ \S+ (?:-?[\d.]+ ){3}.*"'
                rb" -?\d+ (?P<time>" + _ISO + rb")(?: .*)?"
            ),
            ("zoned",),
            "arrivals are the request_creation_time",
        ),
        Form(
            re.compile(rb"(?:https?|h2|grpcs|wss?) (?P<time>" + _ISO + rb") .*"),
            ("zoned",),
            "the stamp was taken for the arrival, but is when the balancer answered: these lines "
            "have no request_creation_time",
        ),
        Form(
            re.compile(rb"(?P<time>" + _ISO + rb") \S+ \S+:\d+ \S+ (?:-?[\d.]+ ){3}.*"), ("zoned",)
        ),
    )


class SquidLog(LogLines):
    """Squid's native format: when the request was done, and how many milliseconds it took."""

    format = "squid-log"
    what = "Squid access log in its native format"
    example = "1772355600.680 134 10.0.0.1 TCP_MISS/200 1024 GET http://a.example/ ..."
    forms = (
        Form(
            re.compile(rb"(?P<time>\d{9,10}\.\d{3}) +(?P<took>\d+) \S+ [A-Z_]+/\d{3} \d+ \S+ .*"),
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
                rb"(?:.* )?\S+:\d+ \[(?P<time>\d\d/\w{3}/\d{4}:[\d:]+\.\d{3})\] \S+ \S+"
                rb" [-+]?\d+(?:/[-+]?\d+)+ .*"
            ),
            ("log_local",),
        ),
    )
