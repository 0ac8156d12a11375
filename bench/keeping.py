"""From a recording to a run on disk."""

from pathlib import Path

from bench.command_line import command_line
from bench.live.measure import Recording
from results.run.analysis import analyse
from results.run.logs import RunLogs
from results.run.record import Run, RunDirectory, RunRecord


def keep(folder: Path, recording: Recording) -> Run:
    """Write the logs, then the record, then what is computed from them.

    Raises:
        RunExistsError: the folder holds a run already.
    """
    predicted = recording.prediction
    directory = RunDirectory.create(folder)
    directory.write_logs(
        RunLogs(
            requests=recording.requests,
            batches=recording.batches,
            telemetry=recording.telemetry,
            stalls=recording.stalls,
        )
    )
    directory.write_record(
        RunRecord(
            id=folder.resolve().name,
            partial=recording.partial,
            window_s=recording.window_s,
            config={**recording.config, "command": command_line()},
            environment=recording.environment,
            trace=recording.trace,
            prediction=None if predicted is None else predicted.metrics,
            bounds=None if predicted is None else predicted.bounds,
            profiled_execute_s=None if predicted is None else predicted.execute_s,
        )
    )
    return analyse(folder)
