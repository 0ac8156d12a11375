"""Figures, report and summary, on runs good and odd."""

import io
import os
import re
import shutil
import struct
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from rich.console import Console

from results.errors import NotAnalysedError
from results.run.figures.catalogue import FIGURES, save_figures
from results.run.record import Run, RunDirectory, RunRecord
from results.run.report import write_report
from results.run.summary import summary
from results.run.wording import headline, metric_rows
from tests.results.made import answered, made_logs, served_logs, written_run

pytestmark = pytest.mark.long

CONFIG = {
    "model": "mlp",
    "device": "cpu",
    "policy": "timeout",
    "max_batch_size": 16,
    "batch_timeout_ms": 3.0,
    "slo_latency_ms": 25.0,
    "command": ["dynbatch", "bench", "--trace", "my trace.json"],
}
ENVIRONMENT = {
    "cores": 2,
    "gpu": None,
    "packages": {"torch": "2.13.0"},
    "cold_start_s": {"load": 0.4},
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "good"
    logs = served_logs(burst=True)
    trace = {"name": "bursty.json", "seed": 7, "rate_rps": 1000.0, "process": {"kind": "mmpp"}}
    return written_run(path, logs, config=CONFIG, environment=ENVIRONMENT, trace=trace)


BATCH = {"taken_s": 1.0, "staged_s": 1.0, "started_s": 1.0, "completed_s": 1.1, "freed_s": 1.1}
FAILED = {"scheduled_s": 1.0, "enqueued_s": 1.0, "taken_s": 1.0, "ended_s": 1.1, "status": "failed"}

ODD_RUNS = {
    "nothing at all": made_logs(),
    "one request": made_logs(answered([0.1], 1.0), [BATCH]),
    "no time at all": made_logs(answered([0.0], 1.0), [BATCH]),
    "equal latencies": made_logs(answered([0.1] * 5, 1.0), [BATCH]),
    "all failed": made_logs([FAILED] * 3, [BATCH | {"ok": False, "completed_s": float("nan")}]),
    "never ended": made_logs([{"scheduled_s": 1.0, "enqueued_s": 1.0, "status": "cancelled"}]),
    "large batches": made_logs(
        answered([0.1], 1.0), [BATCH | {"size": 1000, "limit": 1024, "reason": "odd"}]
    ),
    "no telemetry": made_logs(answered([0.1], 1.0), [BATCH], [{"t_s": 1.0}]),
    "warm-up only": made_logs(answered([0.1], -1.0), [BATCH | {"taken_s": -1.0}]),
}


def png_size(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return struct.unpack(">II", content[16:24]), len(content)


def test_every_figure_is_written_as_a_png_of_some_substance(good):
    paths = save_figures(good)
    assert set(paths) == {spec.name for spec in FIGURES} - {"gpu"}
    for name, path in paths.items():
        assert path == good.path / "figures" / f"{name}.png"
        (width, height), size = png_size(path)
        assert width == 1094
        assert height > 350
        assert size > 12_000


def test_the_state_of_the_gpus_is_drawn_where_there_were_any(tmp_path):
    rows = [
        {"t_s": 0.1 * i, "device": device, "gpu_power_w": 300.0, "gpu_sm_clock_mhz": 1980.0 - i,
         "gpu_throttle_reasons": 4.0 * (i > 20), "gpu_utilization": 0.5}
        for i in range(40) for device in ("cuda:0", "cuda:1")
    ]  # fmt: skip
    logs = made_logs(answered([0.1], 1.0), [BATCH], rows)
    config = {"replicas": 2, "replica_devices": ["cuda:0", "cuda:1"]}
    run = written_run(tmp_path / "gpus", logs, config=config)
    html = write_report(run).read_text(encoding="utf-8")
    assert png_size(run.path / "figures" / "gpu.png")[1] > 12_000
    assert html.count("data:image/png;base64,") == len(FIGURES)
    assert "<h2>By device</h2>" in html


@pytest.mark.parametrize("case", ODD_RUNS)
def test_an_odd_run_can_be_drawn_reported_and_summed_up(case, tmp_path):
    run = written_run(tmp_path / "odd", ODD_RUNS[case], environment={"cores": 2})
    assert write_report(run).stat().st_size > 20_000
    assert "NOT VALID" in shown(run)


def shown(run, width=110):
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(summary(run))
    return capture.get()


class Outside(HTMLParser):
    """Collects everything in a page that could make a browser load or run something."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag in {"script", "link", "iframe", "object", "embed"}:
            self.found.append(tag)
        for name, value in attributes:
            loads = name in {"src", "href", "srcset", "action", "data"}
            inline = (value or "").startswith("data:image/png;base64,")
            if name.startswith("on") or (loads and not inline):
                self.found.append(f"{tag} {name}={value}")


def outside(html):
    parser = Outside()
    parser.feed(html)
    return parser.found


def test_the_report_is_one_file_that_loads_nothing(good):
    html = write_report(good).read_text(encoding="utf-8")
    assert outside(html) == []
    assert "default-src 'none'" in html
    assert "url(" not in html
    assert "@import" not in html
    assert not re.search(r"https?://", html)
    assert html.count("data:image/png;base64,") == len(FIGURES) - 1  # no GPU, no figure of it


def test_the_report_says_what_ran_and_how_to_run_it_again(good):
    html = write_report(good).read_text(encoding="utf-8")
    assert headline(good) in html
    assert "dynbatch bench --trace &#39;my trace.json&#39;" in html
    for text in ("bursty.json", "packages.torch", "2.13.0", "400 ms", "latency_s.p99_9"):
        assert text in html
    assert all(row.name in html for row in metric_rows(good.metrics))
    assert "not measured" in html  # the power of a machine without a GPU


def test_hostile_names_are_shown_and_not_run(tmp_path):
    evil = "<script>alert(1)</script>"
    run = written_run(
        tmp_path / "a",
        served_logs(seconds=1.0),
        window_s=1.0,
        config={"model": evil, "command": f"dynbatch --model '{evil}'", evil: evil},
        trace={"name": '"><img src=x onerror=alert(1)>'},
        environment={"cpu": evil},
    )
    html = write_report(run).read_text(encoding="utf-8")
    assert outside(html) == []
    assert "&lt;script&gt;alert(1)" in html
    assert evil in shown(run, width=200)
    marked_up = written_run(tmp_path / "b", made_logs(), config={"model": "[red]mlp[/red]"})
    assert "[red]mlp[/red]" in shown(marked_up)


def test_a_run_that_is_not_valid_says_so_first_with_reason_and_remedy(tmp_path):
    run = written_run(tmp_path / "a", made_logs(answered([0.1] * 3, 1.0), [BATCH]), partial=True)
    html = write_report(run).read_text(encoding="utf-8")
    finding = run.record.findings[0]
    assert html.index("PARTIAL (interrupted), NOT VALID: too few requests") < html.index("<figure")
    assert finding.remedy in html
    first, *rest = shown(run).splitlines()
    assert first.strip() == "PARTIAL (interrupted), NOT VALID: too few requests"
    assert finding.remedy.split()[-1] in "\n".join(rest)


def test_a_valid_run_says_so_in_the_first_line(good):
    assert good.record.valid
    assert shown(good).splitlines()[0].strip() == "valid"


def test_the_summary_fits_a_small_terminal_and_has_what_matters(good):
    text = shown(good, width=90)
    assert max(len(line) for line in text.splitlines()) <= 90
    assert len(text.splitlines()) <= 14
    names = ("load", "latency", "time", "batches", "slip", "device", "requests")
    assert all(re.search(rf"^{name}\b", text, re.MULTILINE) for name in names)
    assert "p99.9" in text
    assert "mlp on cpu, timeout policy" in text


def test_the_summary_shows_only_counts_that_are_not_zero(tmp_path):
    rows = [*answered([0.1] * 2, 1.0), {"ended_s": 1.0, "status": "expired"}]
    text = shown(written_run(tmp_path / "a", made_logs(rows)))
    assert re.search(r"^requests +2 ok, 1 expired *$", text, re.MULTILINE)


def test_what_was_not_measured_is_said_so_in_the_summary(tmp_path):
    text = shown(written_run(tmp_path / "a", made_logs()))
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    for name in ("latency", "time", "batches", "slip", "device"):
        assert "not measured" in lines[name]


def test_the_headline_is_a_sentence_also_when_nothing_was_answered(tmp_path, good):
    assert re.fullmatch(
        r"mlp on cpu answered [\d,]+ req/s; half of the requests within [\d.]+ ms, "
        r"99 % within [\d.]+ ms\.",
        headline(good),
    )
    nothing = written_run(tmp_path / "a", made_logs([FAILED]))
    assert headline(nothing) == "The model answered none of 1 requests."
    simulated = written_run(tmp_path / "b", served_logs(seconds=1.0), kind="simulation")
    assert "would have answered" in headline(simulated)


def test_a_run_without_metrics_is_neither_reported_nor_summed_up(tmp_path):
    directory = RunDirectory.create(tmp_path)
    directory.write_logs(made_logs())
    directory.write_record(RunRecord(id="a", window_s=1.0))
    run = Run.load(tmp_path)
    for show in (write_report, summary):
        with pytest.raises(NotAnalysedError):
            show(run)


def test_the_room_imports_without_torch_and_draws_nothing_until_asked():
    # `results.run` may need pandas; only figures and report may need matplotlib and jinja2.
    code = (
        "import results.run.record, results.run.analysis, results.run.summary, sys;"
        "heavy = {'torch', 'matplotlib', 'jinja2', 'batching', 'bench', 'workloads'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH to open the report with")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_the_report(good, tmp_path, width):
    picture = tmp_path / "report.png"
    flags = (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
        "disable-component-update disable-sync"
    )
    command = [
        CHROMIUM,
        *(f"--{flag}" for flag in flags.split()),
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},2000",
        f"--screenshot={picture}",
        write_report(good).as_uri(),
    ]
    home = os.environ | {"HOME": str(tmp_path)}
    subprocess.run(command, check=True, capture_output=True, timeout=60, env=home)
    (shot_width, _), size = png_size(picture)
    assert shot_width >= width
    assert size > 60_000


def test_a_looped_run_says_what_its_later_passes_are_worth(tmp_path):
    looped = {"name": "lunch", "loops": 3, "pass_s": 1.6}
    run = written_run(tmp_path / "looped", served_logs(), config=CONFIG, trace=looped)
    said = "The recording lasts 1.60 s and was played 2.50 times"
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(summary(run))
    assert said in console.export_text()
    assert said in write_report(run).read_text()


def test_what_was_done_to_a_trace_is_shown_in_words(tmp_path):
    done = [{"operation": "thin", "share": 0.5, "seed": 3}, {"operation": "repeat", "passes": 2}]
    trace = {"operations": done, "notes": []}
    html = write_report(written_run(tmp_path / "thin", served_logs(), trace=trace)).read_text()
    assert "operation thin share 0.5 seed 3, operation repeat passes 2" in html
    assert "{&#39;operation" not in html
