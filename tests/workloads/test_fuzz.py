import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workloads import PROCESSES, DescribedTrace, Trace, WorkloadError, load, resolve

many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([0, -1, 0.1, 2.5, 1e-300, 1e300, 2**70, 10**400])
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)
sensible = st.sampled_from([0.01, 0.3, 1, 2.5, 20])
numbers = st.lists(sensible, max_size=4) | st.lists(sensible, max_size=4).map(sorted)
parts = st.lists(
    st.fixed_dictionaries(
        {
            "process": st.sampled_from(["poisson", "superposition"]) | values,
            "share": st.just(0.5) | values,
        },
        optional={"cv": values},
    )
    | values,
    max_size=3,
)
fields = {
    "process": st.sampled_from([*PROCESSES, "fractal"]),
    "arrival_s": numbers,
    "input_tokens": st.lists(st.integers(-1, 9), max_size=4),
    "output_tokens": st.lists(st.integers(0, 9), max_size=4),
    "cv": sensible,
    "burst_factor": sensible,
    "burst_s": sensible,
    "calm_s": sensible,
    "on_s": sensible,
    "off_s": sensible,
    "shape": sensible,
    "alpha": sensible,
    "branching": sensible,
    "decay_s": sensible,
    "period_s": sensible,
    "amplitude": sensible,
    "peak_at_s": sensible,
    "start_factor": sensible,
    "over_s": sensible,
    "lengths_s": numbers,
    "levels": numbers,
    "parts": parts,
    "match_load": st.booleans(),
    "rate_rps": sensible,
    "utilization": sensible,
    "duration_s": sensible,
    "seed": st.integers(-1, 9),
    "name": st.text(max_size=3),
}
# Mostly right, with a wrong value or a stray field here and there: what slips past a first check.
near_misses = st.one_of(
    st.fixed_dictionaries({}, optional={k: v | v | v | values for k, v in fields.items()}),
    *(
        st.fixed_dictionaries(
            {key: fields[key] | fields[key] | values for key in needed},
            optional={"utilization": sensible | values, "name": values},
        )
        for needed in (
            ("arrival_s",),
            ("arrival_s", "input_tokens"),
            ("process", "rate_rps", "duration_s", "seed"),
            ("process", "cv", "rate_rps", "duration_s", "seed"),
            ("process", "on_s", "off_s", "rate_rps", "duration_s", "seed"),
            ("process", "branching", "decay_s", "match_load", "rate_rps", "duration_s", "seed"),
            ("process", "lengths_s", "levels", "match_load", "rate_rps", "duration_s", "seed"),
            ("process", "parts", "rate_rps", "duration_s", "seed"),
            ("process", "burst_factor", "burst_s", "calm_s", "rate_rps", "duration_s", "seed"),
        )
    ),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "trace.json"


def check(path, raw):
    """Load and play `raw`; anything but a trace or an error of ours is a failure."""
    path.write_bytes(raw)
    refusal = ""
    try:
        spec = load(path)
        if isinstance(spec, DescribedTrace):
            load_rps = spec.rate_rps or 100 * spec.utilization
            if 1e5 < load_rps * spec.duration_s <= 1e8:
                return  # a fine trace, but a slow test
        resolved = resolve(spec, peak_rps=lambda: 100.0, tail_s=1.0)
        assert isinstance(resolved.trace, Trace)
        assert resolved.requests >= 1
        json.dumps(resolved.describe(), allow_nan=False)
    except WorkloadError as error:
        refusal = str(error)
    assert "\n" not in refusal


@many
@given(value=values)
def test_any_json_value_is_a_trace_or_an_error_of_ours(path, value):
    check(path, json.dumps(value).encode())


@many
@given(value=near_misses)
def test_any_near_miss_of_a_trace_is_a_trace_or_an_error_of_ours(path, value):
    check(path, json.dumps(value).encode())


@many
@given(raw=st.binary(max_size=50))
def test_any_bytes_are_a_trace_or_an_error_of_ours(path, raw):
    check(path, raw)
