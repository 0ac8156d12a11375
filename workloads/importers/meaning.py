"""What the columns of a file of unknown origin mean, and whether its rows are requests at all.

The rules, and why each may be trusted; whatever they take for granted is noted, and what they
cannot tell is an error that names the option which does:

1. A row is no request where a column can only be of many (p99, requests/s, several means), or
   where one names a metric and another has its value.
2. The time is the one column that is called so and has such values. Of several, the only one with
   dates is it: a small number beside a date is a duration or an offset. A day and a time of day
   are one time.
3. A number's unit is the one in the column's name, or else the only one that makes a date of it,
   or else seconds. Where name and number contradict each other, the user is asked.
   Of a date that ends with its year, a number above 12 says what comes first, or else the user.
4. A stamp is the arrival as it is. Durations are taken off only where the format says that it
   stamps the end: nginx ($request_time, seconds with three decimals) and Caddy (ts, duration,
   request); or where the user does.
5. A column called requests, hits or the like, at equal steps, counts the requests of each step.
   Where it may be a gauge as well (value, cpu; or numbers alone at steps of 5 s or more, as
   monitors sample and requests hardly ever come), the user is asked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from workloads import schema
from workloads.errors import TraceFileError
from workloads.importers import dates, names
from workloads.importers.contract import Findings, Reading
from workloads.importers.convert import DURATION, Times
from workloads.importers.counts import Counts, equal_step_s
from workloads.importers.rows import Columns, Where, shortened
from workloads.importers.sample import Sample
from workloads.importers.units import TimeUnit, unit_of_date, unit_of_epoch

NO_COUNT = "none"
# Only monitors stamp at equal steps of this length; what is shorter may be a synthetic load.
_LEAST_SAMPLED_S = 5.0
# nginx and Caddy give up earlier unless told otherwise; a longer duration is one in another unit.
_LONGEST_S = 600.0
# Of a log's fields as many as a reader may choose one from.
_MOST_LISTED = 30
_REQUEST_WORDS = frozenset({
    "id", "ip", "status", "code", "method", "path", "url", "uri", "user", "session", "bytes",
    "size", "model", "tokens", "length", "len", "host", "port", "client", "seed", "index", "seq",
})  # fmt: skip
_START_WORDS = frozenset({"start", "started", "begin", "arrival", "arrived", "received", "sent"})
_NGINX = frozenset({
    "msec", "time_local", "time_iso8601", "remote_addr", "remote_user", "body_bytes_sent",
    "http_user_agent", "http_referer", "request_uri", "request_method", "request_length",
    "upstream_response_time", "upstream_addr", "server_name",
})  # fmt: skip


@dataclass(frozen=True)
class Meaning:
    """How the rows of a file are read."""

    columns: Columns
    time: Times
    took: Times | None = None
    counts: Counts | None = None


def meaning_of(
    sample: Sample,
    reading: Reading,
    findings: Findings,
    *,
    choose: Callable[[Sample], str | None] = lambda _: None,
    day: str | None = None,
) -> Meaning:
    """What the columns mean, by the rules above and by what the user said; the rest is noted.

    Args:
        sample: The first rows.
        reading: What the user said.
        findings: Is told what was assumed.
        choose: The time column that the format prescribes, where it does.
        day: The column with the day of that time, where the format has one.

    Raises:
        TraceFileError: The rows are no requests, or the columns may mean this or that.
    """
    where = _where(sample, reading)
    whole, sample = sample, sample.chosen(where)
    if reading.count_column is None:
        _refuse_summaries(sample)
        if not where:
            _refuse_metrics(sample)
    time = reading.time_column or choose(sample)
    time = choose_time(sample, time)
    day = day or _day_of(sample, time)
    count = _count_column(sample, time, day, reading)
    took = (
        None
        if count is not None
        else _took(sample if sample.rows else whole, time, reading, findings)
    )
    columns = Columns(
        time=time,
        day=day,
        input=names.choose_tokens(sample.names, names.INPUT_NAMES, findings.note),
        output=names.choose_tokens(sample.names, names.OUTPUT_NAMES, findings.note),
        took=None if took is None else took.name,
        count=count,
        where=where,
        optional=True,
    )
    return Meaning(
        columns,
        Times(
            time,
            unit=_unit_of_time(sample, time, reading),
            note=findings.note,
            order=_date_order(sample, day or time, reading, findings.note),
        ),
        took,
        None if count is None else Counts(count, at_end=reading.stamp == "end"),
    )


def _date_order(
    sample: Sample, name: str, reading: Reading, note: Callable[[str], None] = lambda _: None
) -> dates.DateOrder | None:
    """What comes first in a column's dates, where they end with their year.

    Raises:
        TraceFileError: They may be read either way.
    """
    if reading.date_order is not None:
        return reading.date_order
    try:
        order = dates.order_of(sample.values(name))
    except ValueError as error:
        raise TraceFileError(
            f"{name} must say which of its numbers is the month, but {schema.shown(str(error))} "
            "may be read either way: give --date-order day or --date-order month for what comes "
            "first"
        ) from None
    if order is not None:
        note(f"the dates of {name} have the {order} first, as a number above 12 tells")
    return order


def _unit_of_time(sample: Sample, time: str, reading: Reading) -> TimeUnit | None:
    # nginx's $msec is seconds with three decimals.
    is_nginx = time == "msec" and _has_three_decimals(sample.first(time))
    return reading.time_unit or ("s" if is_nginx else None)


def _has_three_decimals(value: str) -> bool:
    _, point, decimals = value.partition(".")
    return bool(point) and len(decimals) == 3


def choose_time(sample: Sample, asked: str | None) -> str:
    """The column with the arrival times: the one asked for, or the only one that can be meant.

    Raises:
        TraceFileError: No such column, none that looks like it, or several.
    """
    listed = _listed(sample)
    if asked is not None:
        if asked not in sample.names:
            raise TraceFileError(
                f"time_column must be one of {listed}, but got {schema.shown(asked)}"
            )
        return asked
    pair = _day_and_time(sample)
    if pair is not None:
        return pair[1]
    likely = [name for name in sample.names if _may_be_time(sample, name)]
    clocks = [name for name in sample.names if sample.has(name, dates.TIME_OF_DAY)]
    if not likely and not clocks:  # the values are bad, and which of them will be said
        likely = [name for name in sample.names if names.is_time_name(name)]
    # A log may have many times deep inside; the record's own goes before those.
    outer = [name for name in likely if "." not in name] or likely
    dated = [name for name in outer if _is_dated(sample.first(name))]
    likely = dated if len(dated) == 1 else outer
    if len(likely) == 1:
        return likely[0]
    if likely:
        raise TraceFileError(
            f"must have one column of arrival times, but could be {' or '.join(likely)}: "
            f"name it with --time-column"
        )
    if clocks:
        raise TraceFileError(
            f"must have a column of arrival times, but {shortened(clocks)} says no date: put the "
            "day into it, or into a column called date"
        )
    raise TraceFileError(
        f"must have a column of arrival times, but has {listed}: name it with --time-column"
    )


def has_time(sample: Sample) -> bool:
    """Whether a column may be that of the arrival times."""
    return any(_may_be_time(sample, name) for name in sample.names)


def _may_be_time(sample: Sample, name: str) -> bool:
    """Whether a column is called as times are, and has such values; some may be bad."""
    values = sample.values(name)[:10]
    if names.is_time_name(name):
        return not values or any(dates.is_number(v) or dates.is_date(v) for v in values)
    # API Gateway's requestTime is a date; elsewhere a name like this is a duration.
    return names.is_duration_name(name) and bool(values) and dates.is_date(values[0])


def _is_dated(value: str) -> bool:
    if dates.is_number(value):
        return unit_of_epoch(float(value)) is not None or unit_of_date(float(value)) is not None
    return dates.is_date(value)


def _listed(sample: Sample) -> str:
    """All columns there are, or all that fit on a line."""
    return shortened(sample.names, most=_MOST_LISTED)


def _day_and_time(sample: Sample) -> tuple[str, str] | None:
    """The columns of a day and of a time of day, if there are just these two."""
    timed = [name for name in sample.names if names.is_time_name(name) and sample.first(name)]
    days = [name for name in timed if sample.has(name, dates.DAY)]
    clocks = [name for name in timed if sample.has(name, dates.TIME_OF_DAY)]
    if len(days) == 1 and len(clocks) == 1 and len(timed) == 2:
        return days[0], clocks[0]
    return None


def _day_of(sample: Sample, time: str) -> str | None:
    """The column with the day of a time of day."""
    if not sample.has(time, dates.TIME_OF_DAY):
        return None
    days = [
        name for name in sample.names if names.is_time_name(name) and sample.has(name, dates.DAY)
    ]
    return days[0] if len(days) == 1 else None


def _where(sample: Sample, reading: Reading) -> tuple[Where, ...]:
    for column in reading.conditions:
        if column not in sample.names:
            raise TraceFileError(
                f"where must name one of {_listed(sample)}, but got {schema.shown(column)}"
            )
    return tuple(Where(column, value) for column, value in reading.conditions.items())


def _refuse_summaries(sample: Sample) -> None:
    found = [name for name in sample.names if names.is_summary_name(name)]
    means = [name for name in sample.names if names.is_mean_name(name)]
    found = found or (means if len(means) > 1 else [])
    if found:
        raise TraceFileError(
            f"must have a row for each request, but {shortened(found[:3])} can only be of many: a "
            "summary has no arrivals. Give the tool's log of single requests; or --count-column "
            f"NAME for requests in each step, --count-column {NO_COUNT} if each row is one request"
        )


def _refuse_metrics(sample: Sample) -> None:
    labels = [name for name in sample.names if names.is_metric_name(name)]
    values = [name for name in sample.names if names.plain(name) in {"value", "metric_value"}]
    if not labels or not values or not sample.values(values[0]):
        return
    seen = list(dict.fromkeys(sample.values(labels[0])))
    raise TraceFileError(
        f"must have a row for each request, but has one for each {values[0]} of a metric "
        f"({shortened(seen[:6])}): choose those that are one a request, --where "
        f"{labels[0]}={seen[0] if len(seen) == 1 else 'NAME'}"
    )


def _took(sample: Sample, time: str, reading: Reading, findings: Findings) -> Times | None:
    """The durations that are to be taken off, if any are."""
    durations = [name for name in sample.names if name != time and _is_duration(sample, name)]
    durations = [name for name in durations if "." not in name] or durations
    if reading.stamp == "start":
        return None
    if reading.takes_durations_off:
        name = _asked_duration(sample, durations, reading)
        text = sample.first(name)
        unit = reading.duration_unit or names.unit_in_name(name)
        unit = unit or _unit_of_format(sample, time, name)
        if unit is None and not dates.is_span(text):
            raise TraceFileError(
                f"{name} must be in a known unit to be taken off, but is a number like "
                f"{schema.shown(text)}: give --duration-unit"
            )
        return Times(name, DURATION, unit)
    for name in durations:
        unit = _unit_of_format(sample, time, name)
        if unit is not None:
            _check_likely(sample, name)
            return Times(name, DURATION, unit)
    if durations and not _START_WORDS & set(names.words(time)):
        findings.note(
            f"{time} was taken for the arrival as it is; if it is the end of a request, --stamp "
            f"end takes {durations[0]} off (--duration-unit says its unit)"
        )
    return None


def _asked_duration(sample: Sample, durations: list[str], reading: Reading) -> str:
    if reading.duration_column is not None:
        if reading.duration_column not in sample.names:
            raise TraceFileError(
                f"duration_column must be one of {_listed(sample)}, "
                f"but got {schema.shown(reading.duration_column)}"
            )
        return reading.duration_column
    if len(durations) == 1:
        return durations[0]
    found = " or ".join(durations) if durations else f"none is called so of {_listed(sample)}"
    raise TraceFileError(
        f"stamp end must come with one column of durations, but {'it could be ' * bool(durations)}"
        f"{found}: name it with --duration-column"
    )


def _is_duration(sample: Sample, name: str) -> bool:
    value = sample.first(name)
    return names.is_duration_name(name) and (dates.is_number(value) or dates.is_span(value))


def _unit_of_format(sample: Sample, time: str, name: str) -> TimeUnit | None:
    """The unit of a duration whose format is known to stamp the end, or None."""
    there = set(sample.names)
    if name == "request_time" and len(_NGINX & (there | {time}) - {name}) > 0:
        return "s" if _has_three_decimals(sample.first(name)) else None
    caddy = time == "ts" and any(field.startswith("request.") for field in there)
    return "s" if name == "duration" and caddy else None


def _check_likely(sample: Sample, name: str) -> None:
    values = [float(value) for value in sample.values(name) if dates.is_number(value)]
    if values and median(values) > _LONGEST_S:
        raise TraceFileError(
            f"{name} must be in seconds here, but {median(values):g} s is longer than any request: "
            "give --duration-unit, or --stamp start"
        )


def _count_column(sample: Sample, time: str, day: str | None, reading: Reading) -> str | None:
    """The column that says how many requests each row stands for, if there is one.

    Raises:
        TraceFileError: There may be one, or not.
    """
    asked = reading.count_column
    if asked is not None:
        if asked != NO_COUNT and asked not in sample.names:
            raise TraceFileError(
                f"count_column must be one of {_listed(sample)} or {NO_COUNT}, "
                f"but got {schema.shown(asked)}"
            )
        return None if asked == NO_COUNT else asked
    others = [
        name
        for name in sample.names
        if name not in {time, day}
        and all(map(dates.is_number, sample.values(name)[:50]))
        and sample.values(name)
    ]
    sure = [name for name in others if names.is_count_name(name)]
    likely = sure or [name for name in others if names.may_be_count_name(name)]
    if not likely and not any(_is_of_request(name) for name in sample.names):
        likely = [name for name in others if names.is_gauge_name(name)]
    step_s = _equal_step_s(sample, time, day, reading)
    if step_s is not None and len(sure) == 1:
        return sure[0]
    # Of a metric that was chosen, a value of 1 is a request; another is a count.
    is_metric = bool(reading.where) and any(
        float(value) != 1.0 for name in likely for value in sample.values(name)
    )
    if sure or (likely and (step_s is not None or is_metric)):
        raise _ask(likely, step_s)
    if step_s is not None and _only_samples(sample, time, others) and step_s >= _LEAST_SAMPLED_S:
        raise _ask(others, step_s)
    return None


def _only_samples(sample: Sample, time: str, others: list[str]) -> bool:
    """Whether a row is a date and numbers, of which none is a property of a request."""
    filled = {name for name in sample.names if sample.values(name)}
    return (
        bool(others)
        and filled == {time, *others}
        and _is_dated(sample.first(time))
        and not any(_is_of_request(name) for name in others)
    )


def _is_of_request(name: str) -> bool:
    """Whether a column is called as the properties of single requests are."""
    return bool(_REQUEST_WORDS & set(names.words(name))) or names.is_duration_name(name)


def _equal_step_s(sample: Sample, time: str, day: str | None, reading: Reading) -> float | None:
    import numpy as np
    import pyarrow as pa

    rows = [row for row in sample.rows if row.get(time, "").strip()]
    texts = [f"{row.get(day, '')} {row[time]}".strip() if day else row[time] for row in rows]
    order = _date_order(sample, day or time, reading)
    times = Times(time, unit=_unit_of_time(sample, time, reading), order=order)
    values, bad = times.convert(pa.array([t.encode() for t in texts], pa.binary()), len(texts))
    return None if len(bad) == len(texts) else equal_step_s(np.delete(values, bad))


def _ask(likely: list[str], step_s: float | None) -> TraceFileError:
    at = "" if step_s is None else f" at equal steps of {step_s:g} s"
    return TraceFileError(
        f"must have a row for each request, but {shortened(likely)}{at} may be counts or a gauge: "
        f"--count-column {likely[0]} if it counts the requests of each step, --count-column "
        f"{NO_COUNT} if each row is one request"
    )
