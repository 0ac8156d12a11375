"""The picture and the page of a trace, and the sparkline."""

import os
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from results.format import BLOCKS, PLAIN, levels_for, sparkline
from results.trace.figure import (
    Arrivals,
    Dispersion,
    Rate,
    save_arrivals,
    save_dispersion,
)
from results.trace.report import Table, TracePage, write_trace_page
from tests.results.test_shown import CHROMIUM, outside, png_size

NOTHING = np.zeros(0)
CURVE = Dispersion(
    span_s=np.array([0.01, 0.1, 1.0, 10.0]),
    measured=np.array([1.0, 1.4, 5.0, 20.0]),
    error=np.array([0.01, 0.1, 0.5, 15.0]),
)
FULL = Arrivals(
    title="a trace: 1,000 requests",
    rates=[
        Rate(np.linspace(0, 100, 51), np.linspace(0, 20, 50)),
        Rate(np.linspace(80, 90, 21), np.linspace(5, 0, 20)),
    ],
    mean_rps=10.0,
    gap_s=np.array([0.0, 0.1, 0.5]),
    gap_survival=np.array([1.0, 0.5, 0.01]),
    dispersion=CURVE,
    lags_s=np.arange(1, 11) * 0.1,
    autocorrelation=np.linspace(1, -0.2, 10),
    autocorrelation_noise=0.1,
    tokens={"input": np.array([0, 5, 700], dtype=np.int32)},
)
EMPTY = Dispersion(NOTHING, NOTHING, NOTHING)
CASES = {
    "everything": FULL,
    "tokens of zero": replace(FULL, tokens={"output": np.zeros(3, dtype=np.int32)}),
    "nothing at all": Arrivals(
        "", [], float("nan"), NOTHING, NOTHING, EMPTY, NOTHING, NOTHING, 0.0, {}
    ),
    "all at once": replace(FULL, gap_s=np.zeros(3), gap_survival=np.array([1.0, 0.6, 0.3])),
    "one bin, even spacing": replace(
        FULL,
        rates=[Rate(np.array([0.0, 1.0]), np.zeros(1))],
        dispersion=replace(CURVE, measured=np.zeros(4)),
    ),
    "smoother than Poisson": replace(FULL, dispersion=replace(CURVE, measured=CURVE.measured / 99)),
    "one scale, no tokens": replace(
        FULL, dispersion=Dispersion(np.array([1.0]), np.array([2.0]), np.array([0.3])), tokens={}
    ),
    "an odd name": replace(FULL, title="$x^2$ 会話 [red]a[/red] \n" + "long " * 100),
}


@pytest.mark.parametrize("case", CASES)
def test_the_picture_of_a_trace_is_drawn(case, tmp_path):
    save_arrivals(CASES[case], tmp_path / "a.png")
    (width, height), size = png_size(tmp_path / "a.png")
    assert width > 1500
    assert height > 1000
    assert size > 25_000


def test_a_curve_is_drawn_beside_what_was_measured(tmp_path):
    beside = CURVE.beside(lambda span_s: 1 + span_s, "1 + t")
    assert (beside.curve_s[0], beside.curve_s[-1]) == (0.01, pytest.approx(10.0))
    assert beside.curve.tolist() == pytest.approx((1 + beside.curve_s).tolist())
    save_dispersion("plain", CURVE, tmp_path / "plain.png")
    save_dispersion("both", replace(beside, expected=CURVE.measured), tmp_path / "both.png")
    assert png_size(tmp_path / "both.png")[1] > png_size(tmp_path / "plain.png")[1] > 10_000


@pytest.fixture
def page(tmp_path):
    save_arrivals(FULL, tmp_path / "arrivals.png")
    return TracePage(
        name="<b>mine</b>",
        headline="bursty <script>alert(1)</script>",
        remarks=["a remark"],
        key_numbers=[("requests", "1,000", "in 100 s")],
        picture=tmp_path / "arrivals.png",
        reading="how to read it",
        tables=[Table("Counts", ["window", "peak"], [["1 s", "12"]]), Table("None", [], [])],
        command="dynbatch trace show 'a b.json'",
    )


def test_the_page_is_one_file_that_loads_nothing_and_runs_no_name(page, tmp_path):
    write_trace_page(page, tmp_path / "trace.html")
    html = (tmp_path / "trace.html").read_text(encoding="utf-8")
    assert outside(html) == []
    assert "default-src 'none'" in html
    assert not re.search(r"https?://|@import|url\(", html)
    assert html.count("data:image/png;base64,") == 1
    assert "&lt;script&gt;" in html
    for text in ("a remark", "1,000", "in 100 s", "how to read it", "<td>12</td>", "a b.json"):
        assert text in html
    assert ">None<" not in html


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH to open the page with")
def test_a_browser_shows_the_page(page, tmp_path):
    write_trace_page(page, tmp_path / "trace.html")
    picture = tmp_path / "shot.png"
    flags = (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    )
    command = [
        shutil.which(CHROMIUM),
        *(f"--{flag}" for flag in flags.split()),
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1280,1600",
        f"--screenshot={picture}",
        (tmp_path / "trace.html").as_uri(),
    ]
    home = os.environ | {"HOME": str(tmp_path)}
    subprocess.run(command, check=True, capture_output=True, timeout=60, env=home)
    assert png_size(picture)[1] > 60_000


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([0.0, 0.0], "▁▁"),
        ([5.0], "█"),
        ([0.0, 3.5, 7.0], "▁▅█"),
        ([0.0, 1e-9, 7.0], "▁▂█"),  # next to nothing is not nothing
        ([1e-300, 2e-300], "▅█"),
    ],
)
def test_a_sparkline_rises_with_the_values(values, line):
    assert sparkline(values) == line


def test_a_sparkline_is_plain_where_the_stream_cannot_carry_blocks():
    assert levels_for("utf-8") == BLOCKS
    for encoding in ("ascii", "latin-1", "no such thing", None):
        assert levels_for(encoding) == PLAIN
    assert sparkline([0.0, 7.0], levels=PLAIN) == "_#"
