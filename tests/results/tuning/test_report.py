"""The report of a tuning, from documents made by formula."""

import html as escaping
import json
import os
import re
import subprocess

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from results.errors import RunCorruptError, RunNotFoundError, RunVersionError
from results.figures import style
from results.figures.labels import Label, place_labels
from results.tuning.conclusion import conclusion
from results.tuning.figures.catalogue import SECTIONS, Section, save_figures
from results.tuning.figures.surface import panels_of
from results.tuning.named import named_settings
from results.tuning.record import RECORD, read_tuning
from results.tuning.report import write_report
from results.tuning.wording import race_table, settings_table, standing
from tests.results.test_shown import CHROMIUM, outside, png_size
from tests.results.tuning import tunings
from tests.results.tuning.tunings import DOCUMENTS, written

pytestmark = pytest.mark.long


def text_of(html):
    """What a reader sees, without tags and pictures."""
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    return " ".join(escaping.unescape(re.sub(r"<[^>]+>", " ", body)).split())


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a tuning that was raced and confirmed."""
    tuning = written(tmp_path_factory.mktemp("raced"), tunings.raced())
    return write_report(tuning)


@pytest.mark.parametrize("case", DOCUMENTS)
def test_every_kind_of_tuning_has_a_page_that_loads_nothing(case, tmp_path):
    tuning = written(tmp_path, DOCUMENTS[case]())
    html = write_report(tuning).read_text(encoding="utf-8")
    assert outside(html) == []
    assert not re.search(r"https?://|@import|url\(", html)
    assert ">None<" not in html
    shown = [section for section in SECTIONS if not section.absent(tuning.record)]
    assert html.count("data:image/png;base64,") == len(shown)
    for section in SECTIONS:
        path = tmp_path / "figures" / f"{section.name}.png"
        reason = section.absent(tuning.record)
        assert path.exists() is not bool(reason)
        if reason:
            assert f"{section.title} {reason}" in text_of(html)
        else:
            (width, height), size = png_size(path)
            assert (width, size > 5_000) == (1094, True)
            assert height > 180


def test_the_page_leads_with_the_recommendation_and_states_its_numbers(page):
    text = text_of(page.read_text(encoding="utf-8"))
    assert text.index("Use timeout 64 / 15 ms: it is the one") < text.index("What was tried")
    assert "Raced on the device, confirmed on fresh draws" in text
    for number in (
        "recommended, cheapest within the SLO timeout 64 / 15 ms 25.3 ms 222 µs 18.0 5,760 req/s",
        "26.1 ms (25.0 to 27.2) 300 µs (270 to 330)",
        "x 0.750 (0.700 to 0.803) better 3 fresh draws lower in 3 of 3",
        "recommended (proposed), won 295 µs 310 µs off by +5 % 4",
        "dropped after 3 draws: surely worse than proposed",
        "load x 1.2 1,200 req/s 30.3 ms 222 µs missed",
    ):
        assert number in text


def test_what_speaks_against_the_answer_is_on_top(tmp_path):
    document = tunings.raced()
    document["verified"] |= {
        "remarks": ["a draw has 90 requests only"],
        "findings": [{"message": "requests were sent late", "remedy": "Be quiet.", "runs": 2,
                      "of": 9}],
        "distrust": "default was measured to be better",
    }  # fmt: skip
    document["verified"]["confirmation"]["meets_slo"] = False
    stand = standing(written(tmp_path, document).record)
    reasons = " ".join(reason for reason, _ in stand.reasons)
    assert not stand.good
    for said in ("winner missed p99 <= 30 ms", "2 of 9 runs", "90 requests", "not relied on"):
        assert said in reasons


def test_an_slo_that_nothing_meets_leaves_nothing_called_recommended(tmp_path):
    record = written(tmp_path, tunings.unmet()).record
    names = [name for named in named_settings(record) for name in named.names]
    assert names == ["nearest", "default", "no delay"]
    assert standing(record).word == "no feasible setting"


def test_a_setting_with_several_names_is_there_once(tmp_path):
    document = tunings.searched()
    document["references"]["current"] = document["goals"]["cheapest"]["best"]
    rows = settings_table(written(tmp_path, document).record).rows
    assert [row[0] for row in rows] == [
        "recommended, cheapest within the SLO, current", "fastest", "default", "no-delay baseline",
    ]  # fmt: skip


def test_a_measurement_goes_to_the_setting_that_raced_not_to_its_name(tmp_path):
    document = tunings.raced()
    document["verified"]["arms"]["recommended"] = tunings.setting(32, 10.0)
    rows = {row[1]: row for row in settings_table(written(tmp_path, document).record).rows}
    assert rows["timeout 64 / 15 ms"][-2] == "not raced"
    assert rows["timeout 32 / 10 ms"][-2] == "26.1 ms (25.0 to 27.2)"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.020, 0.030, "26.1 ms (20.0 to 30.0)"),
        (0.0009, 0.030, "26.1 ms (900 µs to 30.0 ms)"),
        (0.020, 2.0, "26.1 ms (20.0 ms to 2.00 s)"),
        (None, None, "26.1 ms"),
    ],
)
def test_an_interval_names_its_units_where_they_differ(low, high, said, tmp_path):
    document = tunings.raced()
    document["verified"]["measured"]["recommended"]["p99_s"] |= {"low": low, "high": high}
    rows = settings_table(written(tmp_path, document).record).rows
    assert rows[0][-2] == said


def test_a_search_that_works_out_no_capacity_has_no_column_for_it(tmp_path):
    document = tunings.on_the_device()
    for judged in (*(goal["best"] for goal in document["goals"].values()),
                   *document["references"].values()):  # fmt: skip
        judged["capacity_rps"] = None
    table = settings_table(written(tmp_path, document).record)
    assert not any("capacity" in head for head in table.head)
    assert {len(row) for row in table.rows} == {len(table.head)}


def test_policies_have_panels_of_their_own_knobs(tmp_path):
    panels = panels_of(written(tmp_path, tunings.policies()).record)
    assert [(p.kind["policy"], p.across, p.up) for p in panels] == [
        ("timeout", "max_batch_size", "batch_timeout_ms"),
        ("deadline", "max_batch_size", None),
    ]


def test_the_fate_of_every_arm_is_told(tmp_path):
    rows = {row[0]: row for row in race_table(written(tmp_path, tunings.raced()).record).rows}
    assert rows["recommended (proposed)"][-1] == "won"
    assert rows["no delay"][2] == "unanswered"
    assert rows["no delay"][-1] == "stayed to the end"


def test_the_choice_of_the_search_is_not_called_recommended_once_another_won(tmp_path):
    document = tunings.raced() | {"recommended": tunings.setting(32, 10.0), "keeps": "default"}
    document["verified"]["race"]["recommended"]["slo_excess"] = 0.2
    document["verified"]["winner"] = "default"
    rows = {row[0]: row for row in race_table(written(tmp_path, document).record).rows}
    assert rows["recommended (default)"][-1] == "won"
    assert rows["proposed"][-1] == "stayed to the end, but missed the SLO"


def test_labels_of_marks_in_a_heap_do_not_cover_each_other():
    with mpl.rc_context(style.RC):
        figure = Figure(figsize=(6, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        places = np.random.default_rng(3).normal(0.5, 0.02, (8, 2))
        axes.plot(*places.T, "o")
        axes.set(xlim=(0, 1), ylim=(0, 1))
        labels = [Label(x, y, f"a setting {i}") for i, (x, y) in enumerate(places)]
        place_labels(figure, axes, labels)
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert len(boxes) == 8
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    room = axes.get_window_extent()
    assert all(room.x0 <= box.x0 and box.x1 <= room.x1 for box in boxes)


@pytest.fixture
def drawn_quickly(monkeypatch):
    """Pages without the work of drawing."""
    pixel = b"\x89PNG"
    monkeypatch.setattr(Section, "save", lambda self, record, path: path.write_bytes(pixel))


def test_a_figure_that_no_longer_applies_is_taken_away(tmp_path, drawn_quickly):
    save_figures(written(tmp_path, tunings.raced()))
    assert (tmp_path / "figures" / "race.png").exists()
    save_figures(written(tmp_path, tunings.searched()))
    assert not (tmp_path / "figures" / "race.png").exists()


def test_names_from_outside_are_shown_and_not_run(tmp_path, drawn_quickly):
    evil = "<script>alert(1)</script>"
    document = tunings.raced() | {"sentence": evil, "model": evil, "command": evil, "slo": evil}
    document["references"][evil] = document["references"].pop("default")
    html = write_report(written(tmp_path, document)).read_text(encoding="utf-8")
    assert outside(html) == []
    assert "&lt;script&gt;" in html


def test_the_summary_for_a_terminal_is_the_sentence_and_what_speaks_against_it(tmp_path):
    lines = list(conclusion(written(tmp_path, tunings.on_the_device()).record))
    assert lines[0].startswith("use timeout 64")
    assert "the search ended by its budget" in lines[-1]


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ("{", RunCorruptError, "cannot be read"),
        ("[1]", RunCorruptError, "must be what dynbatch tune wrote"),
        ('{"kind": "sweep"}', RunCorruptError, "must be what dynbatch tune wrote"),
        (
            '{"kind": "tuning", "schema_version": 9}',
            RunVersionError,
            "schema_version 1 or 2, but got 9",
        ),
        ('{"kind": "tuning", "met": true}', RunCorruptError, "sentence: Field required"),
    ],
)
def test_a_file_that_is_no_tuning_is_refused_in_one_line(content, error, said, tmp_path):
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(error, match=said) as raised:
        read_tuning(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_tuning_without_an_end_says_how_to_go_on(tmp_path):
    with pytest.raises(RunNotFoundError, match="holds no tuning"):
        read_tuning(tmp_path)
    (tmp_path / "request.json").write_text("{}")
    with pytest.raises(RunNotFoundError, match="dynbatch tune --resume"):
        read_tuning(tmp_path)


def test_what_a_later_version_adds_is_ignored(tmp_path):
    document = json.loads(json.dumps(tunings.raced()))
    document["news"] = document["verified"]["news"] = {"a": 1}
    assert read_tuning(written(tmp_path, document).path).record.met


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH to open the page with")
def test_a_browser_shows_the_page(page, tmp_path):
    picture = tmp_path / "shot.png"
    flags = (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    )
    command = [
        CHROMIUM,
        *(f"--{flag}" for flag in flags.split()),
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1280,3000",
        f"--screenshot={picture}",
        page.as_uri(),
    ]
    home = os.environ | {"HOME": str(tmp_path)}
    subprocess.run(command, check=True, capture_output=True, timeout=60, env=home)
    assert png_size(picture)[1] > 100_000
