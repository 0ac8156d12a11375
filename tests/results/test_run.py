import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from results.errors import (
    LogError,
    NotAnalysedError,
    ResultsError,
    RunCorruptError,
    RunError,
    RunExistsError,
    RunNotFoundError,
    RunVersionError,
)
from results.run.analysis import analyse
from results.run.record import (
    Run,
    RunDirectory,
    RunRecord,
    update_latest,
)
from tests.results.made import answered, made_logs, served_logs, written_run


@pytest.fixture
def run(tmp_path):
    return written_run(tmp_path / "a", served_logs(seconds=1.0), window_s=1.0)


def record(**more):
    return RunRecord(**({"id": "a", "window_s": 1.0} | more))


def test_a_run_reads_back_as_it_was_written(tmp_path):
    logs = served_logs(seconds=1.0)
    written = record(
        created=datetime(2026, 11, 22, 10, 44, tzinfo=UTC),
        config={"model": "mlp", "replicas": 1},
        trace={"process": None},
    )
    directory = RunDirectory.create(tmp_path / "runs" / "a")
    directory.write_logs(logs)
    directory.write_record(written)
    back = Run.load(tmp_path / "runs" / "a")
    assert back.record == written
    for name in ("requests", "batches", "telemetry", "stalls"):
        pd.testing.assert_frame_equal(getattr(back.logs, name), getattr(logs, name))


def test_a_run_can_be_read_before_its_metrics_are_computed(tmp_path):
    directory = RunDirectory.create(tmp_path)
    directory.write_logs(made_logs())
    directory.write_record(record())
    back = Run.load(tmp_path)
    assert back.record.valid is None
    with pytest.raises(NotAnalysedError, match="has no metrics yet; analyse it first"):
        _ = back.metrics


def test_run_json_is_plain_json_with_the_documented_keys(run):
    content = json.loads((run.path / "run.json").read_text())
    assert list(content) == [
        "schema_version", "id", "kind", "created", "valid", "partial", "findings", "verdicts",
        "window_s", "config", "environment", "trace", "prediction", "bounds", "profiled_execute_s",
        "metrics",
    ]  # fmt: skip
    assert content["schema_version"] == 1
    assert content["kind"] == "replay"
    assert content["created"].endswith("Z")


def test_numbers_that_json_cannot_hold_become_null(tmp_path):
    directory = RunDirectory.create(tmp_path)
    directory.write_record(record(trace={"rate_rps": math.nan, "nested": {"cv": math.inf}}))
    trace = json.loads((tmp_path / "run.json").read_text())["trace"]
    assert trace == {"rate_rps": None, "nested": {"cv": None}}


def test_analysis_adds_metrics_and_findings_and_keeps_the_rest(tmp_path):
    run = written_run(
        tmp_path / "a",
        made_logs(answered([0.1, 0.3])),
        window_s=10.0,
        partial=True,
        config={"slo_latency_ms": 200.0, "replicas": 2},
        environment={"cores": 4},
    )
    assert run.record.valid is False
    assert [finding.code for finding in run.record.findings] == ["too_few_requests"]
    assert run.metrics.goodput_rps == 0.1
    assert run.record.partial
    assert Run.load(run.path).record == run.record


def test_analysis_can_be_repeated_with_another_latency_limit(run):
    tight = analyse(run.path, slo_latency_s=1e-9)
    assert tight.metrics.goodput_rps == 0.0
    assert analyse(run.path).record == run.record


def test_no_temporary_file_is_left_behind(run):
    assert sorted(path.name for path in run.path.iterdir()) == [
        "batches.parquet",
        "requests.parquet",
        "run.json",
        "stalls.parquet",
        "telemetry.parquet",
    ]


def test_a_failed_write_leaves_what_was_there(run, monkeypatch):
    before = (run.path / "run.json").read_text()

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full_disk)
    with pytest.raises(OSError, match="no space left") as caught:
        RunDirectory.open(run.path).write_record(record(id="other"))
    assert caught.value.strerror == "no space left on device"
    assert caught.value.filename == str(run.path / "run.json")
    assert (run.path / "run.json").read_text() == before
    assert not list(run.path.glob(".*"))


def test_a_log_that_does_not_fit_is_refused_before_any_is_written(tmp_path):
    logs = made_logs()
    broken = type(logs)(logs.requests.drop(columns="status"), *(made_logs().batches,) * 3)
    with pytest.raises(LogError, match="must have the column status"):
        RunDirectory.create(tmp_path).write_logs(broken)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_never_overwritten_by_another(run):
    with pytest.raises(RunExistsError, match="holds a run already; choose another folder"):
        RunDirectory.create(run.path)


def test_a_folder_with_other_files_in_it_may_become_a_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    RunDirectory.create(tmp_path).write_record(record())
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_run_is_not_made_in_place_of_a_file(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(RunExistsError, match="must be a folder, but is a file"):
        RunDirectory.create(tmp_path / "a")


def damaged(run, name, content):
    path = run.path / name
    if content is None:
        path.unlink()
    elif isinstance(content, dict):
        path.write_text(json.dumps(json.loads(path.read_text()) | content))
    elif isinstance(content, pd.DataFrame):
        content.to_parquet(path)
    else:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("run.json", None, RunNotFoundError, "holds no run: it has no run.json"),
        ("run.json", b"{", RunCorruptError, "run.json cannot be read: "),
        ("run.json", b"\xff\xfe", RunCorruptError, "run.json cannot be read: "),
        ("run.json", b"[1]", RunCorruptError, "is not a run's record: it has no schema_version"),
        ("run.json", b'{"name": 1}', RunCorruptError, "it has no schema_version"),
        ("run.json", {"schema_version": 2}, RunVersionError, "schema_version 1, but got 2"),
        ("run.json", {"window_s": -1}, RunCorruptError, "window_s: input should be greater"),
        ("run.json", {"metrics": {}}, RunCorruptError, "metrics.offered_rps: field required"),
        ("run.json", {"colour": 1}, RunCorruptError, "colour: extra inputs are not permitted"),
        ("batches.parquet", None, RunCorruptError, "lacks batches.parquet"),
        ("stalls.parquet", b"PAR1", RunCorruptError, "stalls.parquet cannot be read: "),
        ("stalls.parquet", pd.DataFrame({"a": [1]}), RunCorruptError,
         "stalls.parquet is damaged: the stalls log must have the column at_s, late_s"),
    ],
)  # fmt: skip
def test_a_damaged_run_is_refused_in_one_line(run, name, content, error, message):
    damaged(run, name, content)
    with pytest.raises(error, match=message) as caught:
        Run.load(run.path)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, RunError | ResultsError)


def test_a_folder_that_is_not_there_is_no_run(tmp_path):
    with pytest.raises(RunNotFoundError, match="is not a folder"):
        Run.load(tmp_path / "nowhere")


def test_the_number_of_replicas_is_the_configured_one_or_what_the_log_shows(tmp_path):
    batches = [{"worker": 0}, {"worker": 2}]
    shown = written_run(tmp_path / "a", made_logs((), batches))
    configured = written_run(tmp_path / "b", made_logs((), batches), config={"replicas": 4})
    odd = written_run(tmp_path / "c", made_logs(), config={"replicas": "many"})
    assert (shown.replicas, configured.replicas, odd.replicas) == (2, 4, 1)


def test_latest_is_a_relative_link_to_the_newest_run(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        update_latest(tmp_path / name)
        assert (tmp_path / "latest").readlink() == Path(name)
    (tmp_path / "b").rmdir()
    (tmp_path / "c").mkdir()
    update_latest(tmp_path / "c")  # a link that leads nowhere is replaced too
    assert (tmp_path / "latest").resolve() == (tmp_path / "c").resolve()


def test_latest_never_replaces_a_real_folder_and_never_complains(tmp_path, monkeypatch):
    (tmp_path / "latest").mkdir()
    (tmp_path / "a").mkdir()
    update_latest(tmp_path / "a")
    assert not (tmp_path / "latest").is_symlink()
    update_latest(tmp_path / "latest")

    def no_links(*_, **__):
        raise OSError("links are not permitted")

    (tmp_path / "latest").rmdir()
    monkeypatch.setattr("pathlib.Path.symlink_to", no_links)
    update_latest(tmp_path / "a")
    assert not (tmp_path / "latest").exists()
