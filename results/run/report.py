"""The report of a run: one HTML file with everything in it, to be opened anywhere."""

import base64
import shlex
from pathlib import Path

from results import format as fmt
from results.files import write_text
from results.page import render
from results.run import predicted
from results.run.figures.catalogue import FIGURES, save_figures
from results.run.predicted import gaps
from results.run.record import REPORT, SIMULATION, Run
from results.run.wording import (
    device_table,
    free_form_rows,
    headline,
    metric_rows,
    repetition,
    rulings,
    standing,
)


def write_report(run: Run) -> Path:
    """Draw the run's figures and write `report.html` into its folder; return its path.

    The file loads nothing: figures are in it, there is no script, and a content security policy
    forbids the browser to fetch anything.

    Raises:
        NotAnalysedError: The run's metrics have not been computed.
    """
    metrics = run.metrics
    images = {name: _data_uri(path) for name, path in save_figures(run).items()}
    command = run.record.config.get("command")
    settings = {key: value for key, value in run.record.config.items() if key != "command"}
    html = render(
        "report.html.j2",
        record=run.record,
        headline=headline(run),
        standing=standing(run.record),
        repetition=repetition(run.record),
        rulings=rulings(run.record),
        key_numbers=_key_numbers(run),
        figures=[(spec, images[spec.name]) for spec in FIGURES if spec.name in images],
        metrics=metric_rows(metrics),
        devices=device_table(metrics),
        prediction=predicted.rows_of(run),
        headroom=[
            (
                gap.name,
                fmt.duration(gap.actual_s),
                fmt.duration(gap.least_s),
                f"x {fmt.number(gap.times)}",
                gap.policies,
            )
            for gap in gaps(run.record.bounds, metrics)
        ],
        simulated=run.record.kind == SIMULATION,
        tables=[
            ("Configuration", free_form_rows(settings)),
            ("Trace", free_form_rows(run.record.trace)),
            ("Environment", free_form_rows(run.record.environment)),
        ],
        command=shlex.join(command) if isinstance(command, list) else command,
        window=fmt.duration(run.record.window_s),
    )
    path = run.path / REPORT
    write_text(path, html)
    return path


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _key_numbers(run: Run) -> list[tuple[str, str, str]]:
    """Return the numbers at the top: name, value, what it is to be compared with."""
    metrics = run.metrics
    offered = f"of {fmt.rate(metrics.offered_rps)} offered"
    counts = metrics.counts
    answered = counts.ok / counts.submitted if counts.submitted else None
    numbers = [
        ("throughput", fmt.rate(metrics.throughput_rps), offered),
        ("p50 latency", fmt.duration(metrics.latency_s.p50), "from the scheduled arrival"),
        (
            "p99 latency",
            fmt.duration(metrics.latency_s.p99),
            f"p99.9 {fmt.duration(metrics.latency_s.p99_9)}",
        ),
        (
            "mean batch",
            fmt.number(metrics.batch.mean_size),
            f"{fmt.percent(metrics.batch.efficiency)} of the limit",
        ),
        (
            "device busy",
            fmt.percent(metrics.device.busy_fraction),
            f"{fmt.duration(metrics.device.busy_s_per_request)} a request"
            + ("" if metrics.device.mfu is None else f", MFU {fmt.percent(metrics.device.mfu)}"),
        ),
        ("answered ok", fmt.percent(answered), f"of {fmt.count(counts.submitted)} requests"),
    ]
    if metrics.goodput_rps is not None:
        limit = run.slo_latency_s
        within = "within the SLO" if limit is None else f"within {fmt.duration(limit)}"
        numbers.insert(1, ("goodput", fmt.rate(metrics.goodput_rps), within))
    return numbers
