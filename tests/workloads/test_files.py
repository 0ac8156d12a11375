import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import (
    Constant,
    DescribedTrace,
    Diurnal,
    Gamma,
    Hawkes,
    ListedTrace,
    Mmpp,
    Part,
    Piecewise,
    Poisson,
    Spike,
    Superposition,
    Trace,
    TraceError,
    TraceFileError,
    WorkloadError,
    builtin_names,
    load,
    save,
    save_described,
)

GAMMA = {"process": "gamma", "cv": 2.0, "rate_rps": 100, "duration_s": 60, "seed": 7}


STEPS = {"process": "piecewise", "lengths_s": [1, 2], "levels": [3, 1], "rate_rps": 10,
         "duration_s": 60, "seed": 7}  # fmt: skip
SUM = {
    "process": "superposition",
    "parts": [
        {"process": "hawkes", "branching": 0.5, "decay_s": 0.1, "share": 0.7},
        {"process": "poisson", "share": 0.3},
    ],
    "rate_rps": 10,
    "duration_s": 60,
    "seed": 7,
}


def parts(changes):
    """SUM with a changed second part."""
    return SUM | {"parts": [SUM["parts"][0], SUM["parts"][1] | changes]}


@pytest.fixture
def write(tmp_path):
    def write(content, name="mine.json"):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def but(**changes):
    """GAMMA with changed fields; None leaves one out."""
    return {key: value for key, value in (GAMMA | changes).items() if value is not None}


def test_a_described_trace_is_read_with_its_process(write):
    spec = load(write(GAMMA))
    assert spec == DescribedTrace(
        process=Gamma(2.0), rate_rps=100.0, duration_s=60.0, seed=7, name="mine"
    )


def test_a_process_with_rows_is_read_with_its_rows(write):
    assert load(write(STEPS)).process == Piecewise((1.0, 2.0), (3.0, 1.0))


def test_a_superposition_is_read_with_its_parts(write):
    hawkes, poisson = Part(Hawkes(0.5, 0.1), 0.7), Part(Poisson(), 0.3)
    assert load(write(SUM)).process == Superposition((hawkes, poisson))


@pytest.mark.parametrize("content", [GAMMA, STEPS, SUM, parts({"share": 0.3000000001})])
@pytest.mark.parametrize("other", [{}, {"match_load": True, "name": "peak hour"}])
def test_a_description_that_was_saved_is_the_same_trace(write, tmp_path, content, other):
    spec = load(write(content | other))
    save_described(spec, tmp_path / "again.json")
    assert load(tmp_path / "again.json") == spec
    source = json.loads(json.dumps(spec.draw(10.0, 1.0, 0).source["process"]))
    assert source == spec.draw(10.0, 1.0, 0).source["process"]


def test_a_description_is_not_saved_where_there_is_no_folder(tmp_path):
    with pytest.raises(TraceFileError, match="cannot be written: there is no folder"):
        save_described(load("bursty"), tmp_path / "missing" / "trace.json")
    with pytest.raises(TraceFileError, match=r"name must end in \.json, but got \.csv"):
        save_described(load("bursty"), tmp_path / "trace.csv")


def test_a_listed_trace_is_read_with_its_columns(write):
    path = write({"arrival_s": [0, 0.5, 0.5], "input_tokens": [1, 2, 3], "duration_s": 2})
    spec = load(path)
    assert isinstance(spec, ListedTrace)
    trace = spec.trace
    assert trace.arrival_s.tolist() == [0.0, 0.5, 0.5]
    assert trace.input_tokens.tolist() == [1, 2, 3]
    assert trace.output_tokens is None
    assert trace.duration_s == 2.0
    assert trace.name == "mine"
    assert trace.source == {
        "kind": "recording",
        "path": str(path),
        "format": "dynbatch-json",
        "notes": [],
    }


def test_a_listed_trace_lasts_until_its_last_arrival_unless_it_says_otherwise(write):
    assert load(write({"arrival_s": [0.5, 3]})).trace.duration_s == 3.0


def test_a_name_in_the_file_goes_before_the_name_of_the_file(write):
    assert load(write(but(name="peak hour"))).name == "peak hour"
    assert load(write({"arrival_s": [1], "name": "peak hour"})).trace.name == "peak hour"


def test_a_path_may_be_a_string_or_a_path(write):
    path = write(GAMMA)
    assert load(str(path)) == load(path)


def test_a_draw_says_where_it_comes_from_and_repeats():
    spec = DescribedTrace(process=Gamma(2.0), utilization=0.5, duration_s=60.0, seed=7)
    trace = spec.draw(50.0, 10.0, seed=3)
    assert trace.duration_s == 10.0
    assert trace.name == "gamma"
    assert trace.source == {
        "kind": "process",
        "process": {"process": "gamma", "cv": 2.0},
        "rate_rps": 50.0,
        "duration_s": 10.0,
        "seed": 3,
    }
    assert trace.fingerprint() == spec.draw(50.0, 10.0, seed=3).fingerprint()
    assert trace.fingerprint() != spec.draw(50.0, 10.0, seed=4).fingerprint()


def test_the_built_ins_are_shapes_of_30_seconds_at_a_share_of_the_peak():
    shapes = {name: (load(name).process, load(name).utilization) for name in builtin_names()}
    assert shapes == {
        "bursty.json": (Mmpp(2.5, 0.1, 0.9), 0.7),
        # up to 0.9 at noon
        "diurnal.json": (Diurnal(30.0, 0.8, 15.0), 0.5),
        # from 0.27 up to 1.34, and back
        "flash-crowd.json": (Spike(5.0, 10.0, 1.0, 3.0, 6.0, 30.0), 0.5),
        "poisson.json": (Poisson(), 0.7),
        "steady.json": (Constant(), 0.7),
    }
    for name in builtin_names():
        spec = load(name)
        assert (spec.rate_rps, spec.duration_s) == (None, 30.0)
        assert spec.name == name.removesuffix(".json")


def test_a_built_in_needs_no_extension(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("bursty") == load("bursty.json")
    (tmp_path / "bursty").mkdir()  # a folder is no trace, so it hides none
    assert load("bursty") == load("bursty.json")


def test_a_file_of_the_users_hides_the_built_in_of_that_name(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(but(name="mine"), "bursty.json")
    assert load("bursty.json").name == "mine"
    assert load("bursty").name == "bursty"


def test_a_missing_file_is_answered_with_the_built_ins(tmp_path):
    with pytest.raises(TraceFileError) as caught:
        load(tmp_path / "burtsy.json")
    message = str(caught.value)
    assert message == (
        f"{tmp_path / 'burtsy.json'} does not exist; "
        "the built-in traces are bursty.json, diurnal.json, flash-crowd.json, poisson.json, "
        "steady.json"
    )


def test_a_folder_is_not_a_trace_file(tmp_path):
    with pytest.raises(TraceFileError, match="is a folder, not a trace file"):
        load(tmp_path)


@pytest.mark.parametrize("path", ["", "x" * 5000, "null\0byte"])
def test_a_path_that_cannot_exist_is_an_error_of_ours(path):
    with pytest.raises(TraceFileError):
        load(path)


def test_a_file_that_may_not_be_read_is_said_to_be_so(write, monkeypatch):
    path = write(GAMMA)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(TraceFileError, match=r"mine\.json cannot be read: Permission denied"):
        load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # not JSON at all
        ("", "must be JSON, but at line 1, column 1: Expecting value"),
        ('{"process":\n "poisson",,}', "must be JSON, but at line 2, column 12: "),
        (b"\x89PNG\r\n\x1a\n\x00", "must be UTF-8 text, but byte 0 is 0x89"),
        ("[" * 100_000, "must be a flat JSON object, but is nested too deeply"),
        ('{"arrival_s": [' + "9" * 5000 + "]}", "must be JSON with numbers in reach, but got: "),
        # JSON, but no object
        ("[0.1, 0.2]", "must be a JSON object, but got a list of 2"),
        ("null", "must be a JSON object, but got null"),
        # neither form, or both
        ({}, 'must have either "process", to describe arrivals, or "arrival_s", to list them, '
             "but has neither"),
        (GAMMA | {"arrival_s": [1]}, "but has both"),
        # numbers that JSON does not know, or that no float can hold
        ('{"arrival_s": [0, NaN]}', "must hold finite numbers only, but got NaN"),
        ('{"arrival_s": [0], "duration_s": Infinity}', "but got Infinity"),
        ('{"arrival_s": [0], "duration_s": -Infinity}', "but got -Infinity"),
        ('{"arrival_s": [0, 1e999]}', "arrival_s must be finite, but arrival 1 is inf"),
        # arrivals that are none
        ({"arrival_s": []}, "arrival_s must list at least one arrival, but got []"),
        ({"arrival_s": {}}, "arrival_s must be a valid list, but got an object with 0 fields"),
        ({"arrival_s": 3}, "arrival_s must be a valid list, but got 3"),
        ({"arrival_s": [0, "a", "b"]}, 'arrival_s[1] must be a valid number, but got "a"'),
        ({"arrival_s": [0, True]}, "arrival_s[1] must be a valid number, but got true"),
        ({"arrival_s": [0, [1]]}, "arrival_s[1] must be a valid number, but got a list of 1"),
        ({"arrival_s": [2, 1]},
         "arrival_s must be non-decreasing, but arrival 1 (1.0 s) comes after 2.0 s"),
        ({"arrival_s": [-2, 1]}, "arrival_s must be >= 0, but arrival 0 is -2.0"),
        ({"arrival_s": [0, 5], "duration_s": 4},
         "duration_s must reach the last arrival at 5 s, but got 4"),
        # token counts that do not fit
        ({"arrival_s": [0, 1], "input_tokens": [1]},
         "input_tokens must have one entry for each of the 2 arrivals, but got 1"),
        ({"arrival_s": [0], "input_tokens": [-1]},
         "input_tokens[0] must be greater than or equal to 0, but got -1"),
        ({"arrival_s": [0], "output_tokens": [1.5]},
         "output_tokens[0] must be a valid integer, but got 1.5"),
        ({"arrival_s": [0], "output_tokens": [2**70]},
         "output_tokens[0] must be less than or equal to 2147483647, but got 118059"),
        # fields nobody knows, or that are no file's business
        ({"arrival_s": [0], "seed": 7},
         "fields must be among arrival_s, duration_s, input_tokens, name, notes, output_tokens, "
         "resolution_s, "
         'but got "seed"'),
        ({"arrival_s": [0], "path": "x"}, 'but got "path"'),
        (but(burst_s=1), "fields must be among cv, duration_s, match_load, name, process, "
                         'rate_rps, seed, utilization, but got "burst_s"'),
        (but(**{"two\nlines": 1}), r'but got "two\nlines"'),
        # processes
        (but(process="fractal"), "process must be one of poisson, gamma, weibull, pareto, "
                                   "constant, mmpp, on_off, hawkes, diurnal, ramp, spike, "
                                   'piecewise, superposition, but got "fractal"'),
        (but(process=["gamma"]), "superposition, but got a list of 1"),
        (STEPS | {"levels": 3}, "levels must be a valid tuple, but got 3"),
        (STEPS | {"levels": [1, "x"]}, 'levels[1] must be a valid number, but got "x"'),
        (STEPS | {"levels": [1]}, "levels must be as many as lengths_s, 2, but got 1"),
        # superpositions
        (SUM | {"parts": 3}, "parts must be a valid tuple, but got 3"),
        (SUM | {"parts": []}, "the number of parts must be between 2 and 100, but got 0"),
        (SUM | {"parts": [3]}, "parts[0]: must be an object, but got 3"),
        (parts({"cv": 3.0}), 'parts[1]: poisson must have no parameters, but got "cv"'),
        (parts({"process": "gamma", "cv": 0}), "parts[1]: cv must be between 0.01 and 100, but"),
        (parts({"process": "gamma"}), "parts[1]: cv is required"),
        (parts({"process": None}), "parts[1]: process must be one of poisson, gamma, "),
        (parts({"share": None}), "parts[1]: share must be a valid number, but got null"),
        (parts({"share": 0.2}), "the shares of the parts must add up to 1, but got 0.9"),
        (parts(SUM), "parts[1]: process must not be superposition: list its parts instead"),
        (but(match_load=1), "match_load must be a valid boolean, but got 1"),
        (but(cv=None), "cv is required"),
        (but(cv="2"), 'cv must be a valid number, but got "2"'),
        (but(cv=0), "cv must be between 0.01 and 100, but got 0"),
        # load, length, seed
        (but(rate_rps=None), "exactly one of rate_rps and utilization must be given, "
                             "but got neither"),
        (but(utilization=0.5), "exactly one of rate_rps and utilization must be given, "
                               "but got both"),
        (but(rate_rps=0), "rate_rps must be > 0 and finite, but got 0"),
        (but(rate_rps=None, utilization=-1), "utilization must be > 0 and finite, but got -1"),
        (but(duration_s=0), "duration_s must be > 0 and finite, but got 0"),
        (but(duration_s=10**400), "duration_s must be a valid number, but got 1000"),
        (but(seed=-1), "seed must be >= 0, but got -1"),
        (but(seed=1.0), "seed must be a valid integer, but got 1.0"),
        (but(name=7), "name must be a valid string, but got 7"),
        # several at once
        (but(duration_s=None, seed="x"),
         'duration_s is required; seed must be a valid integer, but got "x"'),
    ],
)  # fmt: skip
def test_a_malformed_file_is_refused_in_one_line_that_names_it(write, content, message):
    path = write(content)
    with pytest.raises(TraceFileError) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "\n" not in text
    assert len(text) < len(str(path)) + 220


def test_a_column_of_wrong_entries_is_one_complaint(write):
    with pytest.raises(TraceFileError) as caught:
        load(write({"arrival_s": ["x"] * 10_000}))
    assert str(caught.value).count("must be") == 1


def test_made_in_code_the_forms_check_themselves_too():
    with pytest.raises(TraceError, match="exactly one of rate_rps and utilization"):
        DescribedTrace(process=Poisson(), duration_s=1.0, seed=0)
    with pytest.raises(TraceError, match="at least one arrival"):
        ListedTrace(Trace([], 1.0))
    with pytest.raises(WorkloadError, match="seed must be >= 0"):
        load("poisson").draw(1.0, 1.0, seed=-1)


@st.composite
def traces(draw):
    arrival_s = sorted(draw(st.lists(st.floats(0, 1e9), min_size=1, max_size=20)))
    tokens = st.none() | st.lists(
        st.integers(0, 2**31 - 1), min_size=len(arrival_s), max_size=len(arrival_s)
    )
    return Trace(
        arrival_s,
        arrival_s[-1] + draw(st.floats(0, 1e3)),
        input_tokens=draw(tokens),
        output_tokens=draw(tokens),
        name=draw(st.text(st.characters(exclude_categories=["Cs"]))),
    )


@settings(deadline=None)
@given(trace=traces())
def test_a_saved_trace_comes_back_bit_by_bit(trace, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "saved.json"
    save(trace, path)
    back = load(path).trace
    assert back.fingerprint() == trace.fingerprint()
    assert np.array_equal(back.arrival_s, trace.arrival_s)
    assert (back.duration_s, back.name) == (trace.duration_s, trace.name)


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "trace.json"
    save(Trace(np.array([1.0]), 1.0), path)
    save(Trace(np.array([2.0]), 2.0), path)
    assert load(path).trace.arrival_s.tolist() == [2.0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "trace.json"
    save(Trace(np.array([1.0]), 1.0), path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(TraceFileError, match="cannot be written: No space left on device"):
        save(Trace(np.array([2.0]), 2.0), path)
    assert load(path).trace.arrival_s.tolist() == [1.0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_trace_is_not_saved_where_there_is_no_folder(tmp_path):
    with pytest.raises(TraceFileError, match="cannot be written: there is no folder"):
        save(Trace(np.array([1.0]), 1.0), tmp_path / "missing" / "trace.json")


def test_a_trace_is_not_saved_into_a_file_or_over_a_folder(write, tmp_path):
    (tmp_path / "folder.json").mkdir()
    for path in (write(GAMMA) / "trace.json", tmp_path / "folder.json"):
        with pytest.raises(TraceFileError, match="cannot be written"):
            save(Trace(np.array([1.0]), 1.0), path)


def test_a_file_whose_name_is_no_text_is_read_all_the_same(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.json"
    try:
        Path(os.fsdecode(path)).write_text('{"arrival_s": [1]}')
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert load(os.fsdecode(path)).trace.name == "caf\ufffd"


def test_a_trace_without_arrivals_is_not_saved(tmp_path):
    with pytest.raises(TraceFileError, match="only a trace with arrivals can be saved"):
        save(Trace(np.array([]), 1.0), tmp_path / "trace.json")
