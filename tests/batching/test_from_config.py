"""A batcher from a config file has what the file says, by the rules of `dynbatch --config`."""

import inspect

import pytest

from batching import ConfigError, DynamicBatcher, FaultTolerance, VirtualClock
from batching.config_file import read_config
from bench.errors import InputError
from bench.settings import (
    IGNORED,
    TABLES,
    BatcherSettings,
    ModelSettings,
    load_settings,
)

EVERYTHING = """
[model]
model = "affine:5,0.1"
device = "cpu"
dtype = "fp32"

[batcher]
policy = "adaptive"
max_batch_size = 16
batch_timeout_ms = 2.5
min_wait_ms = 1
preferred_batch_sizes = [4, 8]
slo_ms = 50
max_queue_size = 100
deadline_ms = 200
execute_timeout_ms = 1000
replicas = 2
in_flight = 2

[replay]
trace = "poisson.json"

[slo]
slo = ["p99<=50ms"]

[recommendation]
sentence = "no measurable gain"
"""
# Literals of every TOML type, on both sides of every limit of any key.
LITERALS = [
    "true", "'x'", "'8'", "-1", "0", "1", "2", "3", "1024", "1025", "65536", "65537", "-0.5", "0.0",
    "0.5", "nan", "inf", "-inf", "1e300", "1" + "0" * 400, "[]", "[1]", "[2, 4]", "[0]", "[true]",
    "[1.0]", "['a']", "{}", "{a = 1}", "1979-05-27",
]  # fmt: skip


def config(tmp_path, text):
    path = tmp_path / "recommended.toml"
    path.write_text(text)
    return path


def test_paths_in_the_file_are_relative_to_it(tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "mine.py").write_text(
        "from batching import load_model, RealClock\n"
        "def make():\n    return load_model('affine:1,0', clock=RealClock())\n"
    )
    path = config(tmp_path / "conf", '[model]\nmodel = "mine.py:make"\nweights = "w.pt"\n')
    monkeypatch.chdir("/")
    assert read_config(path).model["model"] == f"{tmp_path}/conf/mine.py:make"
    assert read_config(path).model["weights"] == tmp_path / "conf" / "w.pt"
    path.write_text('[model]\nmodel = "mine.py:make"\n')
    with DynamicBatcher.from_config(path) as batcher:
        assert batcher.submit(1.0).result(10) == 1.0


class Spy(DynamicBatcher):
    """Remembers what it was built with."""

    def __init__(self, run, **knobs):
        self.run, self.knobs = run, knobs
        super().__init__(run, **knobs)


def same(payloads):
    return payloads


def test_every_knob_of_the_config_schema_reaches_the_batcher(tmp_path):
    path = config(tmp_path, EVERYTHING)
    batcher = Spy.from_config(path)
    wanted = load_settings(path, {}).batcher.model_dump()
    assert {key for key, value in wanted.items() if value is not None} == set(
        BatcherSettings.model_fields
    ), "the example sets every knob there is"
    limit_ms = wanted.pop("execute_timeout_ms")
    assert batcher.knobs.pop("faults") == FaultTolerance(execute_timeout_ms=limit_ms)
    assert batcher.knobs == {**wanted, "device": "cpu", "dtype": "fp32"}
    assert batcher.run.name == "affine:5,0.1"


@pytest.mark.parametrize(
    ("table", "key"),
    [("batcher", key) for key in BatcherSettings.model_fields]
    + [("model", key) for key in ModelSettings.model_fields],
)
def test_a_value_is_taken_here_exactly_if_the_command_line_takes_it_and_means_the_same(
    tmp_path, table, key
):
    taken = 0
    for literal in LITERALS:
        path = config(tmp_path, f"[{table}]\n{key} = {literal}\n")
        try:
            wanted = getattr(getattr(load_settings(path, {}), table), key)
        except InputError:
            with pytest.raises(ConfigError, match=rf"\[{table}\] {key} must be .*, but got") as e:
                read_config(path)
            assert "\n" not in str(e.value)
        else:
            taken += 1
            found = getattr(read_config(path), table)[key]
            assert (found, type(found)) == (wanted, type(wanted)), literal
    assert 0 < taken < len(LITERALS)


def test_what_a_file_leaves_out_has_the_default_of_the_command_line():
    parameters = inspect.signature(DynamicBatcher).parameters
    defaults = BatcherSettings().model_dump(exclude={"execute_timeout_ms"})
    assert {key: parameters[key].default for key in defaults} == defaults
    assert BatcherSettings().execute_timeout_ms == FaultTolerance().execute_timeout_ms
    model = ModelSettings()
    for key in ("device", "dtype", "engine", "captured_batch_sizes", "channels_last"):
        assert parameters[key].default == getattr(model, key), key


def test_tables_for_others_are_left_alone(tmp_path):
    for table in (*TABLES, *IGNORED, "slo"):
        if table not in {"model", "batcher"}:
            found = read_config(config(tmp_path, f"[{table}]\nwhatever = 1\n"))
            assert (found.model, found.batcher) == ({}, {})


def test_a_function_of_the_callers_own_is_served_with_the_files_knobs(tmp_path):
    path = config(tmp_path, "[batcher]\nmax_batch_size = 3\nbatch_timeout_ms = 0\n")
    with DynamicBatcher.from_config(str(path), same) as batcher:
        requests = [batcher.submit(i) for i in range(7)]
        assert [request.result() for request in requests] == list(range(7))


def test_the_files_model_is_run_on_the_clock_that_is_given(tmp_path):
    clock = VirtualClock()
    path = config(tmp_path, '[model]\nmodel = "affine:5,1"\n[batcher]\nbatch_timeout_ms = 0\n')
    with DynamicBatcher.from_config(path, clock=clock, warm_up_budget_s=0) as batcher:
        started_s = clock.now()
        batcher.submit(None)
    assert clock.now() - started_s == pytest.approx(0.006)


def test_an_argument_of_the_caller_wins_over_the_file(tmp_path):
    path = config(tmp_path, EVERYTHING)
    faults = FaultTolerance(max_retries=1)
    batcher = Spy.from_config(path, same, max_batch_size=8, replicas=1, faults=faults)
    assert batcher.knobs["max_batch_size"] == 8
    assert batcher.knobs["replicas"] == 1
    assert batcher.knobs["faults"] is faults
    assert batcher.knobs["max_queue_size"] == 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = ", "must be TOML"),
        ("[server]\nport = 1\n", r"must hold the tables \[model\], \[batcher\], .* but got 'serv"),
        ("batcher = 3\n", "but got 'batcher'"),
        ("[batcher]\nsize = 3\n", r"\[batcher\] takes policy, max_batch_size, .*, but got 'size'"),
        ("[model]\nname = 'x'\n", r"\[model\] takes model, device, .*, but got 'name'"),
        ("[batcher]\nmax_batch_size = 0\n", "must be a whole number 1..65536, but got 0"),
        ("[batcher]\nreplicas = 2.0\n", "must be a whole number 1..1024, but got 2.0"),
        ("[batcher]\nbatch_timeout_ms = '5'\n", "must be a finite number >= 0, but got '5'"),
        ("[batcher]\nmax_batch_size = 8\n", r"\[model\] must name a model, but it has none"),
        ("[model]\nmodel = 'nonesuch'\n", "model must be one of"),
    ],
)
def test_a_bad_file_is_one_line_that_says_what_was_expected(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        DynamicBatcher.from_config(config(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        DynamicBatcher.from_config(tmp_path / "none.toml", same)
