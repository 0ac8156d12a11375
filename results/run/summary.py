"""The summary of a run in the terminal, to be read in five seconds, and the same for programs."""

import json
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from results import format as fmt
from results.run import predicted
from results.run.breakdown import PARTS
from results.run.metrics import Metrics
from results.run.predicted import gaps, sentence
from results.run.record import SIMULATION, Run
from results.run.verdict import Decision
from results.run.wording import (
    compute_words,
    gpu_words,
    repetition,
    rulings,
    standing,
    text_of,
)

_SMALLEST_SHARE = 0.01


def summary(run: Run) -> RenderableType:
    """Return the summary: verdicts, validity, what ran, the numbers that matter, the findings.

    Raises:
        NotAnalysedError: The run's metrics have not been computed.
    """
    verdict = standing(run.record)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in _rows(run):
        table.add_row(name, Text(text))
    far = gaps(run.record.bounds, run.metrics)
    if far:
        table.add_row("headroom", Text(sentence(far)))
    findings = [
        Text.assemble((f"{f.code.replace('_', ' ')}: ", "bold"), f"{f.message}. ", (f.remedy, ""))
        for f in run.record.findings
    ]
    repeated = repetition(run.record)
    colours = {Decision.MET: "bold green", Decision.MISSED: "bold red"}
    ruled = [
        Text.assemble((f"{r.word}: ", colours.get(r.decision, "bold yellow")), r.reason)
        for r in rulings(run.record)
    ]
    return Group(
        *ruled,
        Text(verdict.line, style="bold green" if verdict.good else "bold red"),
        Text(_subject(run), style="dim"),
        table,
        *([] if run.record.prediction is None else [_predicted(run)]),
        *([] if repeated is None else [Text(repeated)]),
        *findings,
    )


def as_json(run: Run) -> str:
    """Return the metrics as JSON, and beside them whether and why not they can be believed.

    Raises:
        NotAnalysedError: The run's metrics have not been computed.
    """
    record = json.loads(run.record.as_json())
    simulated = run.record.kind == SIMULATION
    content: dict[str, Any] = {
        "run": str(run.path),
        "simulated": simulated,
        **{key: record[key] for key in ("valid", "partial", "findings")},
        **json.loads(run.metrics.model_dump_json()),
    }
    if run.record.prediction is not None:
        content["prediction"] = record["prediction"]
    if simulated or run.record.prediction is not None:
        content["bounds"] = record["bounds"]
    if run.record.verdicts:
        content["verdicts"] = record["verdicts"]
    return json.dumps(content | {"config": record["config"]}, indent=2) + "\n"


def _subject(run: Run) -> str:
    """Return what ran on what: mlp on cpu, timeout policy, 32 / 10 ms, bursty.json."""
    config, trace = run.record.config, run.record.trace
    parts = [" on ".join(str(config[k]) for k in ("model", "device") if config.get(k))]
    if config.get("policy"):
        parts.append(f"{config['policy']} policy")
    if config.get("max_batch_size") is not None:
        limit = f"batches of {config['max_batch_size']} at most"
        if config.get("batch_timeout_ms") is not None:
            limit += f", timeout {text_of('batch_timeout_ms', config['batch_timeout_ms'])}"
        parts.append(limit)
    if trace.get("name"):
        parts.append(str(trace["name"]))
    done = "simulated" if run.record.kind == SIMULATION else "measured"
    parts.append(f"{fmt.duration(run.record.window_s)} {done}")
    return ", ".join(part for part in parts if part)


def _rows(run: Run) -> list[tuple[str, str]]:
    metrics = run.metrics
    gpu, compute = gpu_words(run), compute_words(metrics)
    latency, batch, device = metrics.latency_s, metrics.batch, metrics.device
    load = f"offered {fmt.rate(metrics.offered_rps)}, answered {fmt.rate(metrics.throughput_rps)}"
    if metrics.goodput_rps is not None:
        load += f", within the SLO {fmt.rate(metrics.goodput_rps)}"
    return [
        ("load", load),
        (
            "latency",
            _pairs(
                ("p50", latency.p50),
                ("p90", latency.p90),
                ("p99", latency.p99),
                ("p99.9", latency.p99_9),
                ("max", latency.max),
            ),
        ),
        ("time", _shares(metrics)),
        (
            "batches",
            f"{fmt.count(batch.count)}, mean size {fmt.number(batch.mean_size)}, "
            f"{fmt.percent(batch.efficiency)} of the limit",
        ),
        (
            "slip",
            f"p99 {fmt.duration(metrics.slip_s.p99)}; the machine's own stalls "
            + _pairs(("p99", metrics.stall_s.p99), ("max", metrics.stall_s.max)),
        ),
        (
            "device",
            f"busy {fmt.percent(device.busy_fraction)}, "
            f"{fmt.duration(device.busy_s_per_request)} a request",
        ),
        *([] if compute is None else [("compute", compute)]),
        *([] if gpu is None else [("gpus" if len(metrics.devices) > 1 else "gpu", gpu)]),
        ("requests", _counts(metrics)),
    ]


def _predicted(run: Run) -> Table:
    """Return what was predicted beside what was measured, each with how far it was off."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for header in ("predicted", "measured", "error"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in predicted.rows_of(run):
        table.add_row(*row)
    return table


def _pairs(*named: tuple[str, float | None]) -> str:
    if all(value is None for _, value in named):
        return fmt.NOT_MEASURED
    return ", ".join(f"{name} {fmt.duration(value)}" for name, value in named)


def _shares(metrics: Metrics) -> str:
    """Return the parts' shares of the mean latency, the largest first, the smallest left out."""
    means = {name: getattr(metrics.breakdown_s, name) or 0.0 for name in PARTS}
    total = sum(means.values())
    if total <= 0.0:
        return fmt.NOT_MEASURED
    shares = sorted(((mean / total, name) for name, mean in means.items()), reverse=True)
    return ", ".join(f"{n} {100.0 * s:.0f} %" for s, n in shares if s >= _SMALLEST_SHARE)


def _counts(metrics: Metrics) -> str:
    counts = metrics.counts.model_dump()
    shown = [f"{fmt.count(n)} {name}" for name, n in counts.items() if n and name != "submitted"]
    return ", ".join(shown) or "none"
