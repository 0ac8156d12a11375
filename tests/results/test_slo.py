"""The grammar of objectives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.errors import InvalidInputError
from results.run.metrics import Latency
from results.run.slo import (
    Kind,
    Slo,
    goodput_limit_s,
    objectives,
)
from tests.results.made import same_draws


@pytest.mark.parametrize(
    ("text", "metric", "limit", "shown"),
    [
        ("p99<=50ms", "latency_s.p99", 0.05, "p99<=50ms"),
        ("p99.9<0.2s", "latency_s.p99_9", 0.2, "p99.9<0.2s"),
        ("latency_s.p99_9 <= 3 us", "latency_s.p99_9", 3e-6, "p99.9<=3us"),
        ("mean<=10ms", "latency_s.mean", 0.01, "mean<=10ms"),
        ("throughput>=1000", "throughput_rps", 1000.0, "throughput>=1000"),
        ("throughput_rps>=1e3req/s", "throughput_rps", 1000.0, "throughput>=1000req/s"),
        ("busy_fraction<=0.8", "device.busy_fraction", 0.8, "busy_fraction<=0.8"),
        ("device.busy_fraction>=25%", "device.busy_fraction", 0.25, "busy_fraction>=25%"),
        ("rejected<=1%", "counts.rejected", 0.01, "rejected<=1%"),
        ("counts.ok>=0.999", "counts.ok", 0.999, "ok>=0.999"),
        ("queued<5ms", "breakdown_s.queued", 0.005, "queued<5ms"),
        ("slip.p99<=1ms", "slip_s.p99", 0.001, "slip.p99<=1ms"),
    ],
)
def test_a_metric_of_run_json_is_limited_in_its_own_units(text, metric, limit, shown):
    slo = Slo.parse(text)
    assert slo.metric == metric
    assert slo.limit == pytest.approx(limit, rel=1e-15)
    assert str(slo) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be 'metric op value"),
        ("p99", "must be 'metric op value"),
        ("p99==5ms", "must be 'metric op value"),
        ("p99<=-5ms", "must be 'metric op value"),
        ("p99<=nanms", "must be 'metric op value"),
        ("p98<=5ms", "must be one of mean, p50, p90, .* but got 'p98'"),
        ("max<=5ms", "but got 'max'"),  # no number of requests bounds it
        ("offered_rps>=5", "but got 'offered_rps'"),  # asked for, not achieved
        ("p99>=5ms", "p99 must be limited by <= or <"),
        ("throughput<=5", "throughput must be limited by >= or >"),
        ("p99<=5", "must be one of ns, us, µs, ms, s, but got none"),
        ("p99<=5kg", "but got 'kg'"),
        ("rejected<=5ms", "must be one of none, %, but got 'ms'"),
        ("p99<=0ms", "must be > 0 and finite"),
        ("p99<=1e999s", "must be > 0 and finite"),
        ("rejected<=101%", "must be between 0 and 100 %"),
    ],
)
def test_anything_else_is_refused_in_one_line_that_says_what_there_is(text, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        Slo.parse(text)
    assert "\n" not in str(caught.value)


@same_draws
@given(st.sampled_from(list(objectives().values())), st.floats(0.001, 1.0), st.data())
def test_what_is_written_reads_back_the_same(objective, value, data):
    unit = data.draw(st.sampled_from(list(objective.units)))
    op = data.draw(st.sampled_from(objective.operators))
    slo = Slo(objective.key, op, value, unit)
    assert Slo.parse(str(slo)) == slo


def test_every_percentile_of_the_record_can_be_limited():
    percentiles = [name for name in Latency.model_fields if name not in ("mean", "max")]
    levels = [objectives()[f"latency_s.{name}"].level for name in percentiles]
    assert levels == [0.5, 0.9, 0.95, 0.99, 0.999]


def test_every_objective_has_a_short_name_of_its_own():
    names = [objective.name for objective in objectives().values()]
    assert len(set(names)) == len(names)
    assert {o.kind for o in objectives().values()} == set(Kind)


def test_a_strict_limit_excludes_the_limit_itself():
    assert Slo.parse("p99<=1s").holds(1.0)
    assert not Slo.parse("p99<1s").holds(1.0)
    assert Slo.parse("throughput>=5").holds(5.0)
    assert not Slo.parse("throughput>5").holds(5.0)


@pytest.mark.parametrize("kinds", [tuple(Kind), (Kind.LATENCY,), (Kind.ENDING, Kind.RATE)], ids=str)
def test_what_a_refusal_lists_is_what_is_taken(kinds):
    with pytest.raises(InvalidInputError) as refused:
        Slo.parse("speed<=1ms", kinds)
    listed = str(refused.value).partition("one of ")[2].partition(", but")[0].split(", ")
    taken = {objective.name: objective for objective in objectives().values()}
    assert listed == [name for name, objective in taken.items() if objective.kind in kinds]
    for name in listed:
        unit = next(iter(taken[name].units))
        assert Slo.parse(f"{name}{taken[name].operators[0]}1{unit}", kinds).metric
    for name in taken.keys() - set(listed):
        with pytest.raises(InvalidInputError, match=f"but got '{name}'"):
            Slo.parse(f"{name}>=1", kinds)


def test_goodput_counts_by_the_limit_on_the_highest_percentile():
    slos = tuple(map(Slo.parse, ("p50<=5ms", "p99<=50ms", "mean<=1ms", "rejected<=1%")))
    assert goodput_limit_s(slos) == 0.05
    assert goodput_limit_s(slos[2:]) is None
