"""The pictures of a reference run, drawn from what its parts wrote."""

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from results import format as fmt
from results.figures import style
from results.run.record import Run
from results.run.report import write_report
from tests.reference.errors import errors
from tests.reference.folder import Folder

# Loads further apart than this are shown on a logarithmic axis.
_WIDE = 5.0
_COLORS = (style.BLUE, style.RED, style.GREEN, style.PINK, style.ORANGE)


def draw(folder):
    """Draw every picture whose numbers are there; returns their names."""
    title = folder.read("environment").get("name", "")
    drawn = []
    for name, content, function in (
        ("profile", folder.read("profile"), _profile),
        ("fidelity", errors(folder.read("bench"), folder.read("fidelity")), _fidelity),
        ("capacity", folder.read("capacity"), _capacity),
    ):
        if content:
            _save(folder, name, content, function, title)
            drawn.append(f"{name}.png")
    return drawn


def main(path):
    """Draw those of the folder at that path, and the report of the run that it keeps."""
    folder = Folder(path)
    draw(folder)
    if folder.run.exists():
        page = write_report(Run.load(folder.run))
        folder.write_text("report.html", page.read_text(encoding="utf-8"))


def _save(folder, name, content, function, title):
    with mpl.rc_context(style.RC):
        figure = Figure(figsize=(7.6, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        function(content, figure, title)
        fresh = folder.path / f".{name}.png"
        figure.savefig(fresh, dpi=style.DPI, format="png")
        fresh.replace(folder.path / f"{name}.png")


def _profile(content, figure, title):
    """Requests per second in full batches, a line an engine."""
    axes = figure.subplots()
    first = next(iter(content.values()))
    axes.set_title(f"{first['model']} {first['dtype']}: {title}")
    sizes = [size["batch_size"] for size in first["sizes"]]
    for color, (engine, found) in zip(_COLORS, content.items(), strict=False):
        points = [(size["batch_size"], size["rate_rps"]) for size in found["sizes"]]
        axes.plot(*zip(*points, strict=True), "o-", color=color, markersize=3.5, label=engine)
    axes.set_xscale("log", base=2)
    axes.set_xticks([size for size in sizes if size & (size - 1) == 0])
    axes.xaxis.set_major_formatter(lambda value, _: fmt.count(value))
    axes.set_xlabel("requests in the batch")
    axes.set_ylabel("requests per second")
    style.count_axis(axes)
    style.legend_above(axes, 3)


def _fidelity(content, figure, title):
    """Predicted against measured latency, a point a cell and percentile."""
    axes = figure.subplots()
    axes.set_title(f"Predicted latency: {title}")
    seen = []
    for color, key, label in (
        (style.BLUE, "latency_s.p50", "p50"),
        (style.RED, "latency_s.p99", "p99"),
    ):
        cells = [cell[key] for cell in content.values() if key in cell]
        points = [(value, cell["predicted"]) for cell in cells for value in cell["measured"]]
        if points:
            axes.plot(*zip(*points, strict=True), "o", color=color, markersize=4.5, label=label)
            seen += [value for point in points for value in point]
    if not seen:
        style.say(axes, "nothing was predicted")
        return
    low_s, high_s = min(seen), max(seen)
    ends = [low_s / 1.2, high_s * 1.2]
    axes.plot(ends, ends, color=style.INK, linewidth=0.8)
    axes.fill_between(
        ends, [0.9 * end for end in ends], [1.1 * end for end in ends], color=style.FAINT,
        alpha=0.15, linewidth=0, label="within 10 %",
    )  # fmt: skip
    style.log_time_axis(axes, "x", low_s, high_s)
    style.log_time_axis(axes, "y", low_s, high_s)
    axes.set_xlabel("measured")
    axes.set_ylabel("predicted")
    style.legend_above(axes, 3)


def _capacity(content, figure, title):
    """p99 against load, a line an arm, and the SLO."""
    axes = figure.subplots()
    axes.set_title(f"p99 on bursty against load: {title}")
    loads, values = [], [0.05]
    for color, (name, arm) in zip(_COLORS, content.items(), strict=False):
        tried = sorted(
            (trial["rate_rps"], trial["p99_s"])
            for trial in arm["trials"]
            if trial["p99_s"] is not None
        )
        if tried:
            axes.plot(*zip(*tried, strict=True), "o-", color=color, markersize=4.0, label=name)
            loads += [load for load, _ in tried]
            values += [value for _, value in tried]
    axes.axhline(0.05, color=style.INK, linewidth=1.0, linestyle=style.DASHED)
    style.log_time_axis(axes, "y", min(values), max(values))
    if loads and max(loads) > _WIDE * min(loads):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=30))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: fmt.count(value))
    axes.set_xlabel("load (req/s)")
    if loads:
        figure.legend(loc="outside lower center", ncols=len(content))  # four names are long
