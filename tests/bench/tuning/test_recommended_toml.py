"""A recommendation goes to disk and comes back as it was, and is a config file like any other."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching import DynamicBatcher
from bench.errors import InputError, RunFailedError
from bench.settings import Settings, load_settings
from bench.toml import comment, toml_text
from bench.tuning.recommended_toml import (
    Case,
    Estimate,
    Facts,
    Gain,
    read_recommendation,
    write_recommendation,
)

SETTINGS = Settings.model_validate(  # with its paths in full, as they are written
    {
        "model": {
            "model": "bert-base",
            "device": "cpu",
            "weights": "/w.pt",
            "length_buckets": [64],
        },
        "batcher": {
            "max_batch_size": 24,
            "batch_timeout_ms": 0.1,
            "preferred_batch_sizes": [4, 24],
            "max_queue_size": 64,
            "replicas": 1,
        },
        "replay": {"trace": '/odd "name".json', "rate": 1e-05, "seed": 7, "loop": True},
        "slo": {"slo": ["p99<=50ms", "throughput>=100"]},
    }
)
FACTS = Facts(
    sentence="Batches of 24 at most, timeout 0.1 ms.",
    command="dynbatch tune --model bert-base --slo 'p99<=50ms'",
    created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    objective="least p99",
    basis="measured",
    device="AMD EPYC",
    versions={"dynbatch": "0.1.0", "torch": "2.13.0"},
    expected={
        "latency_p99_s": Estimate(value=0.0144, low=0.0141, high=0.0149),
        "throughput_rps": Estimate(value=4000.0),
    },
    gains=(
        Gain(over="default", metric="latency_p99_s", ratio=0.7, low=0.6, high=0.8,
             verdict="better", draws=10),
        Gain(over="current", metric="latency_p99_s", verdict="cannot carry the load"),
    ),
    sensitivity=(Case(case="load +20 %", expected={"latency_p99_s": Estimate(value=0.02)}),),
    notes=("A timeout of 0 is within 2 %.",),
)  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
documents = st.recursive(
    st.dictionaries(texts, scalars | st.lists(scalars), max_size=4),
    lambda inner: st.dictionaries(texts, inner | st.lists(inner, min_size=1, max_size=3)),
    max_leaves=8,
)


@pytest.mark.parametrize("settings", [Settings(), SETTINGS], ids=["defaults", "much set"])
def test_what_is_written_comes_back_equal(tmp_path, settings):
    path = tmp_path / "made" / "recommended.toml"
    write_recommendation(path, settings, FACTS)
    assert load_settings(path, {}) == settings
    assert read_recommendation(path).settings == settings
    assert read_recommendation(path).facts == FACTS


def test_its_paths_lead_to_the_same_files_from_anywhere_and_when_the_whole_is_moved(
    tmp_path, monkeypatch
):
    project = tmp_path / "project"
    (project / "runs" / "x").mkdir(parents=True)
    (project / "mine").mkdir()
    (project / "mine" / "model.py").write_text("")
    (project / "bursty.json").write_text('{"arrival_s": [0, 1]}')
    (project / "weights.pt").write_bytes(b"")
    (tmp_path / "policy.py").write_text("")
    monkeypatch.chdir(project)
    settings = Settings.model_validate(
        {
            "model": {"model": "mine/model.py:make", "weights": "weights.pt", "device": "cpu"},
            "batcher": {"policy": f"{tmp_path}/policy.py:Mine"},
            "replay": {"trace": "bursty.json"},
        }
    )
    path = Path("runs/x/recommended.toml")
    write_recommendation(path, settings, FACTS)
    written = tomllib.loads(path.read_text())
    assert written["model"]["model"] == "../../mine/model.py:make"
    assert written["model"]["weights"] == "../../weights.pt"
    assert written["replay"]["trace"] == "../../bursty.json"
    assert written["batcher"]["policy"] == f"{tmp_path}/policy.py:Mine"  # not of the project
    (project / "linked").symlink_to(project / "runs" / "x")

    def leads_there_from_anywhere(root):
        for cwd, file in (
            (tmp_path, root.name / path),
            (tmp_path, root / path),
            (root / "runs" / "x", Path("recommended.toml")),
            (tmp_path, root / "linked" / "recommended.toml"),
        ):
            monkeypatch.chdir(cwd)
            found = load_settings(file, {})
            model, _, name = found.model.model.rpartition(":")
            assert (Path(model).samefile(root / "mine" / "model.py"), name) == (True, "make")
            assert Path(found.replay.trace).samefile(root / "bursty.json")
            assert found.model.weights.samefile(root / "weights.pt")

    leads_there_from_anywhere(project)
    (project / "linked").unlink()
    moved = project.rename(tmp_path / "elsewhere")
    (moved / "linked").symlink_to(moved / "runs" / "x")
    leads_there_from_anywhere(moved)


def test_a_service_elsewhere_imports_the_model_of_a_recommendation(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "word_of_mine.py").write_text("WORD = 'beside'\n")
    (tmp_path / "project" / "model.py").write_text(
        "import word_of_mine\nfrom batching.models import CallableModel\n"
        "def make():\n"
        "    return CallableModel(lambda payloads: [word_of_mine.WORD for _ in payloads])\n"
    )
    monkeypatch.chdir(tmp_path / "project")
    settings = Settings.model_validate({"model": {"model": "model.py:make"}})
    write_recommendation(Path("runs/x/recommended.toml"), settings, FACTS)
    monkeypatch.chdir(tmp_path)
    with DynamicBatcher.from_config("project/runs/x/recommended.toml") as batcher:
        assert batcher.submit("x").result() == "beside"


def test_a_trace_beside_the_file_is_never_the_built_in_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bursty.json").write_text('{"arrival_s": [0, 1]}')
    settings = Settings.model_validate({"replay": {"trace": "bursty.json"}})
    write_recommendation(Path("recommended.toml"), settings, FACTS)
    (tmp_path / "bursty.json").unlink()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    found = load_settings(Path("../recommended.toml"), {})
    assert found.replay.trace == "../bursty.json"


def test_the_command_line_wins_over_a_recommendation_as_over_any_config_file(tmp_path):
    path = tmp_path / "recommended.toml"
    write_recommendation(path, SETTINGS, FACTS)
    assert load_settings(path, {"max_batch_size": 2}).batcher.max_batch_size == 2


def test_a_service_builds_its_batcher_from_a_recommendation(tmp_path):
    path = tmp_path / "recommended.toml"
    write_recommendation(path, SETTINGS, FACTS)
    with DynamicBatcher.from_config(path, lambda payloads: payloads) as batcher:
        assert batcher.submit("x").result() == "x"


def test_every_setting_is_written_so_that_a_changed_default_does_not_change_it(tmp_path):
    path = tmp_path / "recommended.toml"
    write_recommendation(path, Settings(), FACTS)
    written = tomllib.loads(path.read_text())
    for name, table in Settings():
        kept = {key for key, value in table if value is not None}
        assert set(written[name]) == kept


def test_the_top_of_the_file_says_in_comments_what_to_expect(tmp_path):
    path = tmp_path / "recommended.toml"
    write_recommendation(path, SETTINGS, FACTS)
    top = path.read_text().split("\n\n")[0].splitlines()
    assert all(line.startswith("# ") for line in top)
    assert "# Batches of 24 at most, timeout 0.1 ms." in top
    assert "# Expected latency_p99_s: 0.0144 (0.0141 to 0.0149)" in top
    assert "# Against default: latency_p99_s x 0.7 (0.6 to 0.8), better" in top
    assert "# Against current: latency_p99_s cannot carry the load" in top


def test_a_sentence_with_line_ends_in_it_stays_a_comment(tmp_path):
    path = tmp_path / "recommended.toml"
    facts = FACTS.model_copy(update={"sentence": 'x\n[batcher]\nmax_batch_size = 1\r\x0b"'})
    write_recommendation(path, SETTINGS, facts)
    assert load_settings(path, {}) == SETTINGS
    assert read_recommendation(path).facts == facts


def test_a_config_written_by_hand_has_no_facts(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[batcher]\nmax_batch_size = 4\n")
    found = read_recommendation(path)
    assert found.facts is None
    assert found.settings.batcher.max_batch_size == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recommendation = 3\n", "but got 'recommendation'"),
        ("[recommendation]\nsentence = 3\n", r"\[recommendation\] sentence: must be a valid str"),
        ("[recommendation]\nwhy = 'x'\nsentence='x'\n", r"\[recommendation\] command: Field req"),
    ],
)
def test_facts_that_are_none_are_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_recommendation(path)
    assert "\n" not in str(caught.value)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "recommended.toml"
    write_recommendation(path, SETTINGS, FACTS)
    before = path.read_bytes()
    unwritable = FACTS.model_copy(update={"device": "\ud800"})
    with pytest.raises(RunFailedError, match=r"recommended\.toml: cannot be written"):
        write_recommendation(path, SETTINGS, unwritable)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["recommended.toml"]
    (tmp_path / "file").touch()
    with pytest.raises(RunFailedError, match="cannot be written: "):
        write_recommendation(tmp_path / "file" / "r.toml", SETTINGS, FACTS)


@given(documents)
def test_toml_is_read_back_as_it_was_written(document):
    assert tomllib.loads(toml_text(document)) == document


def test_toml_leaves_out_what_is_none_and_takes_numpys_numbers():
    document = {"a": None, "b": np.float64(0.5), "c": (1, 2), "d": {"e": []}}
    assert tomllib.loads(toml_text(document)) == {"b": 0.5, "c": [1, 2], "d": {"e": []}}


@pytest.mark.parametrize("value", [Path("x"), b"x", {1}, [None]])
def test_toml_refuses_what_it_has_no_type_for(value):
    with pytest.raises(TypeError, match="TOML takes"):
        toml_text({"a": value})


@given(texts)
def test_a_comment_says_nothing_to_a_reader_of_toml(text):
    assert tomllib.loads(comment(text)) == {}
