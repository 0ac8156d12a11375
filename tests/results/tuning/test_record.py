"""The record of a tuning: files of earlier versions are read, and all is made from it."""

import json
import tomllib
from pathlib import Path

import pytest

from results.tuning.conclusion import conclusion, headline
from results.tuning.figures.catalogue import Section
from results.tuning.metrics import Metrics, latency_field
from results.tuning.recommended_toml import recommendation
from results.tuning.record import RECORD, TuningRecord, read_tuning, write_tuning
from results.tuning.report import write_report
from results.tuning.wording import at_own_load, prediction_table, race_table, settings_table
from tests.results.tuning import tunings
from tests.results.tuning.tunings import written

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = sorted(path.name.removesuffix(".version_1.json") for path in FIXTURES.iterdir())
# Beside the metrics, what version 1 had flat in a setting, a trial and a case.
OWN = {
    "settings", "label", "value", "violations", "capacity_rps", "number", "knobs", "contrast",
    "before", "after",
}  # fmt: skip


def version_1(name):
    return json.loads((FIXTURES / f"{name}.version_1.json").read_text(encoding="utf-8"))


def read(tmp_path, name):
    (tmp_path / RECORD).write_text(json.dumps(version_1(name)), encoding="utf-8")
    return read_tuning(tmp_path)


def has_the_figures_of(one, old):
    """Whether a setting, a trial or a case says what version 1 said of it."""
    for key in OWN & old.keys():
        value = getattr(one, key)
        assert (value if not hasattr(value, "model_dump") else value.model_dump()) == old[key], key
    for name in old.keys() - OWN:
        field = latency_field(name.removesuffix("_s")) if name.startswith("p") else name
        assert getattr(one.metrics, field) == old[name], name


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_version_1_is_read_with_the_same_figures(tmp_path, name):
    old, record = version_1(name), read(tmp_path, name).record
    assert record.schema_version == 2
    same = ("sentence", "met", "keeps", "recommended", "slo_s", "load", "bound", "unverified")
    assert [getattr(record, key) for key in same] == [old[key] for key in same]
    assert list(record.goals) == list(old["goals"])
    for goal, was in zip(record.goals.values(), old["goals"].values(), strict=True):
        assert (goal.within, goal.worst_ratio) == (was["within"], was["worst_ratio"])
        assert goal.importance == was["importance"]
        has_the_figures_of(goal.best, was["best"])
        for kind in ("candidates", "history"):
            for one, its in zip(getattr(goal, kind), was[kind], strict=True):
                has_the_figures_of(one, its)
    for one, was in zip(record.references.values(), old["references"].values(), strict=True):
        has_the_figures_of(one, was)
    for one, was in zip(record.front, old["front"], strict=True):
        has_the_figures_of(one, was)
    cases = [*old["other_loads"].values(), *old["other_traffic"].values()]
    for one, was in zip(record.cases, cases, strict=True):
        has_the_figures_of(one, was)
    for engine, was in zip(record.engines, old["engines"], strict=True):
        assert engine.rates_rps == {int(size): rps for size, rps in was["rates_rps"].items()}
        has_the_figures_of(engine.best, was["best"])


@pytest.mark.parametrize("name", [name for name in NAMES if version_1(name)["verified"]])
def test_what_the_device_said_in_version_1_is_read_with_the_same_figures(tmp_path, name):
    old, new = version_1(name)["verified"], read(tmp_path, name).record.verified
    called = {"recommended": "proposed", "plain": "no delay"}
    assert new.winner == called.get(old["winner"], old["winner"])
    assert (new.rate_rps, new.window_s, new.spent_s, new.label) == (
        old["rate_rps"], old["window_s"], old["spent_s"], old["label"],
    )  # fmt: skip
    for arm, was in old["race"].items():
        raced = new.race[called.get(arm, arm)]
        why = was["dropped_why"]
        assert raced.model_dump() == {
            **was,
            "values": tuple(was["values"]),
            "dropped_why": why and why.replace("than recommended", "than proposed"),
        }
        assert new.settings_of(called.get(arm, arm)) == old["arms"][arm]
    for arm, value in old["predicted"].items():
        assert new.predicted[called.get(arm, arm)] == value
    for arm, values in old["confirmation"].get("values", {}).items():
        assert list(new.confirmation.values[called.get(arm, arm)]) == values
    assert [gain.model_dump() for gain in new.gains] == old["gains"]
    for arm, metrics in old["measured"].items():
        measured = new.measured[called.get(arm, arm)]
        for metric, was in metrics.items():
            interval = measured.metrics[metric]
            assert interval.model_dump() == {key: was[key] for key in ("value", "low", "high")}
            assert (measured.stage, measured.runs) == (was["stage"], was["draws"])
        p99_s = old["expected"][arm]["latency_s.p99"]
        assert measured.metrics["p99_s"].model_dump() == p99_s


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_version_1_has_a_page_and_a_conclusion_and_is_written_as_version_2(
    tmp_path, name, monkeypatch
):
    monkeypatch.setattr(Section, "save", lambda self, record, path: path.write_bytes(b"\x89PNG"))
    tuning = read(tmp_path, name)
    html = write_report(tuning).read_text(encoding="utf-8")
    assert ">None<" not in html
    assert next(conclusion(tuning.record)) == version_1(name)["sentence"]
    assert write_tuning(tmp_path, tuning.record).record == read_tuning(tmp_path).record
    assert json.loads((tmp_path / RECORD).read_text())["schema_version"] == 2


def test_a_metric_without_a_value_is_left_out_and_read_as_none():
    metrics = Metrics(p99_s=float("inf"), offered_rps=5.0)
    assert metrics.model_dump() == {"offered_rps": 5.0}
    assert Metrics.model_validate({"p99.9_s": 0.2}).latency_s("p99.9") == 0.2


# One word for one thing: recommended is what recommended.toml holds.


def raced(tmp_path, **changed):
    """A tuning whose race was won by the no-delay baseline, not by what the search proposed."""
    document = tunings.raced()
    document["recommended"] = tunings.setting(128, 0.0)
    document["verified"]["winner"] = "plain"
    document["verified"]["gains"] = changed.pop("gains", [])
    document["verified"] |= changed
    return written(tmp_path, document).record


def test_the_recommended_row_of_every_table_is_what_recommended_toml_holds(tmp_path):
    record = raced(tmp_path).model_copy(update={"config": {"batcher": tunings.setting(128, 0.0)}})
    held = tomllib.loads(recommendation(record))["batcher"]
    assert held == record.recommended
    for table in (settings_table(record), settings_table(record, brief=True)):
        [row] = [row for row in table.rows if "recommended" in row[0]]
        assert row[1] == record.chosen.label
    for table in (race_table(record), prediction_table(record)):
        named = [row[0] for row in table.rows]
        assert named[0] == "proposed"
        assert [name for name in named if "recommended" in name] == [
            name for name in named if "no delay" in name
        ]


@pytest.mark.parametrize(
    ("gains", "said", "why"),
    [
        ((), "; no gain over the default setting was confirmed", "there was no confirmation"),
        (
            [{"over": "default", "verdict": "no measurable difference", "ratio": 0.9, "low": 0.7,
              "high": 1.2, "draws": 4}],
            "; no gain over the default setting was confirmed",
            "it is not decided",
        ),
        (
            [{"over": "default", "verdict": "better", "ratio": 0.75, "low": 0.7, "high": 0.8,
              "draws": 4}],
            "; device time a request x 0.750 of the default setting's (0.700 to 0.800), measured "
            "at 1,000 req/s",
            "it is decided",
        ),
        (
            [{"over": "default", "verdict": "better", "draws": 4, "unable": 2}],
            "; measured: the default setting left requests unanswered",
            "there is no ratio",
        ),
    ],
)  # fmt: skip
def test_the_headline_claims_a_gain_only_where_it_is_decided(tmp_path, gains, said, why):
    record = raced(tmp_path, gains=gains)
    assert headline(record).endswith(said), why
    assert headline(record).count(" x ") == said.count(" x "), why


def capacity(tmp_path, **changed):
    """A tuning for the most load within the SLO."""
    record = read(tmp_path, "capacity_raced").record
    return record.model_copy(update=changed)


def test_the_conclusion_of_a_search_for_capacity_says_what_becomes_of_the_traces_own_load(tmp_path):
    record = capacity(tmp_path)
    own = record.references["current"].metrics
    assert at_own_load(record) == (
        "at the trace's own load of 1,129 req/s, by simulation: with the recommended setting p99 "
        f"8.94 ms, with the current p99 {1e3 * own.p99_s:.1f} ms; --objective latency or "
        "device-time searches for the best there"
    )
    assert at_own_load(record) in list(conclusion(record))
    assert any("the trace's own load" in note for note in settings_table(record).notes)
    kept = capacity(tmp_path, recommended=record.references["current"].settings, keeps="current")
    assert "with the current" not in at_own_load(kept)
    assert at_own_load(capacity(tmp_path, met=False)) == ""
    assert at_own_load(read(tmp_path, "latency_not_raced").record) == ""


def test_a_record_needs_no_more_than_its_goals_to_be_concluded():
    document = {"sentence": "s", "met": True, "objective": "latency"}
    record = TuningRecord.model_validate(
        {**document, "goals": {"fastest": {"objective": "latency"}}}
    )
    assert headline(record).startswith("no feasible setting")
    assert next(conclusion(record)) == "s"
