"""From a run's logs to its metrics, findings and verdicts."""

from pathlib import Path

from results.run.judge import judge_run
from results.run.metrics import compute_metrics
from results.run.predicted import errors
from results.run.record import (
    Run,
    RunDirectory,
    positive_number,
    whole_number,
)
from results.run.validity import Evidence, check


def analyse(path: str | Path, *, slo_latency_s: float | None = None) -> Run:
    """Compute a run's metrics, findings and verdicts from its logs and write them to run.json.

    It can be repeated at any time: what it computes depends on nothing but the logs, and on
    `config.replicas`, `config.replica_devices`, `config.slo`, `config.looks`, `trace.process`,
    `trace.pass_s`, `environment.cores`, `environment.devices` and `environment.flops` of run.json.

    Args:
        path: The run's folder, with its logs and run.json.
        slo_latency_s: The latency limit of goodput, > 0; `config.slo_latency_ms` of run.json if
            it is not given.

    Raises:
        RunError: There is no run in that folder, or it cannot be read.
        InvalidInputError: The latency limit is out of its range.
    """
    run = Run.load(path)
    record = run.record
    metrics = compute_metrics(
        run.logs,
        record.window_s,
        replicas=run.replicas,
        hardware=run.hardware,
        slo_latency_s=run.slo_latency_s if slo_latency_s is None else slo_latency_s,
    )
    if record.prediction is not None:
        off = errors(record.prediction, metrics)
        metrics = metrics.model_copy(update={"prediction_error": off})
    pass_s = positive_number(record.trace, "pass_s")
    findings = check(Evidence(run.logs, metrics, record.window_s, record.config, pass_s))
    verdicts = judge_run(
        run.logs,
        run.slos,
        record.window_s,
        replicas=run.replicas,
        devices=run.devices,
        looks=whole_number(record.config, "looks") or 1,
        pass_s=pass_s,
        population="this process" if record.trace.get("process") else "this recording",
    )
    analysed = record.model_copy(
        update={
            "metrics": metrics,
            "findings": tuple(findings),
            "verdicts": tuple(verdicts),
            "valid": not findings,
        }
    )
    RunDirectory(run.path).write_record(analysed)
    return Run(run.path, analysed, run.logs)
