"""The figure of a service profile."""

import struct

import pytest
from matplotlib.figure import Figure

from results.figures.profile import (
    ProfilePicture,
    _draw_rate,
    _draw_time,
    save_profile_figure,
)


def picture(typical_s=(0.01, 0.012, 0.02), measured=(1, 3), peak=2, knee=3):
    samples = {n: [typical_s[n - 1] * factor for factor in (0.9, 1.0, 1.2)] for n in measured}
    low, high = ([factor * t for t in typical_s] for factor in (0.9, 1.2))
    return ProfilePicture("mlp on cpu", samples, typical_s, low, high, peak, knee)


def test_is_a_png_with_both_panels(tmp_path):
    save_profile_figure(picture(), tmp_path / "p.png")
    data = (tmp_path / "p.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">II", data[16:24]) == (1094, 835)


def marks_of(shown):
    axes = Figure().subplots()
    _draw_rate(shown, axes)
    return {
        line.get_label(): (line.get_xdata()[0], line.get_ydata()[0])
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_marks_the_peak_and_the_knee_where_they_are():
    assert marks_of(picture()) == {
        "peak 167 req/s at 2": (2, pytest.approx(2 / 0.012)),
        "90 % of it from 3": (3, pytest.approx(150.0)),
    }


def test_a_knee_that_is_the_peak_is_not_marked_twice():
    assert len(marks_of(picture(knee=2))) == 1


def test_shows_every_batch_and_the_curve_between_the_measured_sizes():
    axes = Figure().subplots()
    _draw_time(picture(), axes)
    lines = {line.get_label(): line for line in axes.lines}
    assert next(len(line.get_xdata()) for line in axes.lines) == 6
    assert list(lines["median"].get_ydata()) == [0.01, 0.012, 0.02]
    low, high = axes.get_ylim()
    assert low < 0.009
    assert high > 0.024


@pytest.mark.parametrize("typical_s", [(0.5,), (1e-6,), (3.0, 3.0)])
def test_a_single_size_or_no_slope_at_all_is_drawn(tmp_path, typical_s):
    shown = picture(typical_s, measured=(1,), peak=1, knee=1)
    save_profile_figure(shown, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 10_000
