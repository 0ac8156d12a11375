"""A recommendation goes to disk and comes back as it was, and is a config file like any other."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching import DynamicBatcher
from bench.settings import Settings, load_settings
from bench.tuning.record import tables_of
from results.toml import comment, toml_text
from results.tuning.migration import from_version_1
from results.tuning.recommended_toml import write_recommendation
from results.tuning.record import TuningRecord
from tests.results.tuning import tunings

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
RECORD = TuningRecord.model_validate(from_version_1(tunings.raced()))


def write(path, settings=None, **changed):
    """Write the recommendation of these settings in place of those that the record has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = tables_of(settings or Settings(), path.parent)
    return write_recommendation(
        path.parent, RECORD.model_copy(update={"config": tables, **changed})
    )


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
    assert write(path, settings) == path
    assert load_settings(path, {}) == settings


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
    write(path, settings)
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
    write(Path("runs/x/recommended.toml"), settings)
    monkeypatch.chdir(tmp_path)
    with DynamicBatcher.from_config("project/runs/x/recommended.toml") as batcher:
        assert batcher.submit("x").result() == "beside"


def test_a_trace_beside_the_file_is_never_the_built_in_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bursty.json").write_text('{"arrival_s": [0, 1]}')
    settings = Settings.model_validate({"replay": {"trace": "bursty.json"}})
    write(Path("recommended.toml"), settings)
    (tmp_path / "bursty.json").unlink()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    found = load_settings(Path("../recommended.toml"), {})
    assert found.replay.trace == "../bursty.json"


def test_the_command_line_wins_over_a_recommendation_as_over_any_config_file(tmp_path):
    path = tmp_path / "recommended.toml"
    write(path, SETTINGS)
    assert load_settings(path, {"max_batch_size": 2}).batcher.max_batch_size == 2


def test_a_service_builds_its_batcher_from_a_recommendation(tmp_path):
    path = tmp_path / "recommended.toml"
    write(path, SETTINGS)
    with DynamicBatcher.from_config(path, lambda payloads: payloads) as batcher:
        assert batcher.submit("x").result() == "x"


def test_every_setting_is_written_so_that_a_changed_default_does_not_change_it(tmp_path):
    path = tmp_path / "recommended.toml"
    write(path, Settings())
    written = tomllib.loads(path.read_text())
    for name, table in Settings():
        kept = {key for key, value in table if value is not None}
        assert set(written[name]) == kept


def test_the_top_of_the_file_says_in_comments_what_to_expect(tmp_path):
    path = write(tmp_path / "recommended.toml", SETTINGS)
    top = path.read_text().split("\n\n")[0].splitlines()
    assert all(line.startswith("# ") for line in top)
    assert "# use timeout 64 / 15 ms: it is the one" in top
    assert "# Expected latency_s.p99: 0.0261 (0.025 to 0.0272)" in top
    assert "# Against default: device time a request x 0.75 (0.7 to 0.803), better" in top
    assert "# Simulated, load x 1.2: latency_s.p99 0.03034" in top
    known = tomllib.loads(path.read_text())["recommendation"]
    assert known["expected"]["latency_s.p99"] == {"value": 0.0261, "low": 0.025, "high": 0.0272}
    assert [gain["ratio"] for gain in known["gains"]] == [0.75]


def test_figures_of_runs_that_are_not_valid_are_said_to_be_so(tmp_path):
    verified = RECORD.verified
    doubtful = verified.measured["proposed"].model_copy(
        update={"runs": 10, "not_valid": 4, "reasons": {"too_few_requests": 4, "not_steady": 1}}
    )
    verified = verified.model_copy(update={"measured": {"proposed": doubtful}})
    path = write(tmp_path / "recommended.toml", verified=verified)
    said = (
        "at 1000 req/s, from 10 runs of 4.00 s, 4 of them not valid: too short, with too few "
        "requests for a p99; not steady"
    )
    assert f"# Expected metrics were measured on made of formulas {said}:" in path.read_text()
    assert said in tomllib.loads(path.read_text())["recommendation"]["notes"][-1]


def test_a_sentence_with_line_ends_in_it_stays_a_comment(tmp_path):
    sentence = 'x\n[batcher]\nmax_batch_size = 1\r\x0b"'
    path = write(tmp_path / "recommended.toml", SETTINGS, sentence=sentence)
    assert load_settings(path, {}) == SETTINGS
    assert tomllib.loads(path.read_text())["recommendation"]["sentence"] == sentence


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write(tmp_path / "recommended.toml", SETTINGS)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="TOML takes Unicode text only"):
        write(path, SETTINGS, device="\ud800")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["recommended.toml"]


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
