"""One schema for the file and the command line; the command line wins."""

from pathlib import Path

import pytest

from bench.errors import InputError
from bench.settings import load_settings


def settings_of(tmp_path, text, **options):
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_settings(path, options)


def test_the_defaults_are_mlp_on_the_bursty_trace():
    settings = load_settings(None, {})
    assert settings.model.model == "mlp"
    assert settings.replay.trace == "bursty.json"
    assert settings.batcher.policy == "timeout"


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(tmp_path):
    settings = settings_of(
        tmp_path,
        '[batcher]\nmax_batch_size = 8\nbatch_timeout_ms = 3\n[model]\nmodel = "resnet50"\n',
        max_batch_size=4,
        model=None,
    )
    assert settings.batcher.max_batch_size == 4
    assert settings.batcher.batch_timeout_ms == 3
    assert settings.model.model == "resnet50"
    assert settings.batcher.policy == "timeout"


def test_a_rate_on_the_command_line_replaces_a_utilization_in_the_file(tmp_path):
    settings = settings_of(tmp_path, "[replay]\nutilization = 0.5\n", rate=100.0)
    assert settings.replay.rate == 100.0
    assert settings.replay.utilization is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = ", "must be TOML"),
        (
            "[server]\nport = 1\n",
            r"must hold the tables \[model\], \[batcher\], \[replay\], \[slo\]",
        ),
        ("model = 3\n", "but got 'model'"),
        ("[batcher]\nsize = 3\n", r"\[batcher\] takes policy, max_batch_size"),
        ("[batcher]\nmax_batch_size = 0\n", "max_batch_size must be greater than or equal to 1"),
        ("[batcher]\nmax_batch_size = 'x'\n", "max_batch_size must be a valid integer"),
        ("[batcher]\nbatch_timeout_ms = nan\n", "batch_timeout_ms must be a finite number"),
        ("[batcher]\nmax_batch_size = true\n", "max_batch_size must be a valid integer, but got"),
        ("[batcher]\nslo_ms = '5'\n", "slo_ms must be a valid number"),
        ("[batcher]\npreferred_batch_sizes = [0]\n", "must be greater than or equal to 1"),
        ("[replay]\nrate = -1\n", "rate must be greater than 0, but got -1"),
        ("[replay]\nclient = 'http'\n", "client must be 'thread' or 'loop', but got 'http'"),
        ("[replay]\nrate = 1\nutilization = 0.5\n", "--rate or as --utilization, but got both"),
        ("[slo]\nslo = ['p98<=5ms']\n", r"\[slo\] the metric of an SLO must be one of mean, p50"),
        ("[slo]\nslo = 'p99<=5ms'\n", "slo must be a valid tuple, but got 'p99<=5ms'"),
        ("[slo]\nuntil_decided = 'yes'\n", "until_decided must be a valid boolean"),
        ("[slo]\nslo = ['goodput>=5']\n", "must come with one on a percentile of latency"),
        ("[slo]\nuntil_decided = true\n", "until_decided must have an SLO to decide"),
        ("[slo]\nmax_duration = 9\n", "max_duration goes with until_decided, but got it alone"),
        (
            "[slo]\nslo = ['busy_fraction<=0.9']\nuntil_decided = true\n",
            "until_decided: the metric .* must be one of .* goodput, but got 'busy_fraction'",
        ),
        (
            "[slo]\nslo = ['p99<=5ms']\nuntil_decided = true\nmax_duration = 9\n"
            "[replay]\nduration = 9\n",
            "max_duration must be more than the duration of 9 s, but got 9",
        ),
    ],
)
def test_a_bad_file_is_one_line_that_says_what_was_expected(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        settings_of(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "said", "meant"),
    [
        ("model.model", "models/mine.py:make", "conf/models/mine.py:make"),
        ("model.model", "../mine.py:make", "mine.py:make"),
        ("model.model", "resnet50", "resnet50"),
        ("model.model", "package.module:make", "package.module:make"),
        ("model.model", "onnx:m.onnx", "onnx:conf/m.onnx"),
        ("model.model", "onnx:../m.onnx:seq=8,w=4", "onnx:m.onnx:seq=8,w=4"),
        ("batcher.policy", "mine.py:Policy", "conf/mine.py:Policy"),
        ("model.weights", "w.pt", Path("conf/w.pt")),
        ("replay.trace", "day.json", "conf/day.json"),
        ("replay.trace", "bursty.json", "bursty.json"),
        ("replay.trace", "poisson", "poisson"),
    ],
)
def test_paths_in_a_file_are_relative_to_it(tmp_path, monkeypatch, where, said, meant):
    table, key = where.split(".")
    monkeypatch.chdir(tmp_path)
    Path("conf").mkdir()
    Path("conf/c.toml").write_text(f'[{table}]\n{key} = "{said}"\n')
    assert getattr(getattr(load_settings(Path("conf/c.toml"), {}), table), key) == meant


def test_a_trace_beside_the_file_hides_a_built_in(tmp_path):
    (tmp_path / "bursty.json").write_text("{}")
    settings = settings_of(tmp_path, '[replay]\ntrace = "bursty.json"\n')
    assert settings.replay.trace == str(tmp_path / "bursty.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        load_settings(tmp_path / "none.toml", {})


def test_a_value_that_is_wrong_in_the_file_names_the_file_and_one_given_as_option_does_not(
    tmp_path,
):
    with pytest.raises(InputError, match=r"config .*config\.toml: \[batcher\] slo_ms must be"):
        settings_of(tmp_path, "[batcher]\nslo_ms = 0\n")
    with pytest.raises(InputError, match=r"^slo_ms must be"):
        settings_of(tmp_path, "[batcher]\nslo_ms = 5\n", slo_ms=0.0)
