"""Comparing runs that are there already."""

from contextlib import AbstractContextManager
from pathlib import Path

from bench.comparison.request import Request
from bench.errors import InputError
from bench.folders import run_folder
from results.comparison.block_bootstrap import Found, compare_runs
from results.comparison.record import (
    ArmRecord,
    Comparison,
    ComparisonRecord,
    draw_record,
    write_record,
)
from results.comparison.wording import sentences, standing
from results.run.analysis import analyse
from results.run.record import Run


def compare_recorded(request: Request, out: Path | None) -> Comparison:
    """Compare the runs in the folders that a request names; keep what was found in a new folder.

    Raises:
        InputError: An option was given that recorded runs cannot obey, or the folder cannot be
            written to.
        RunError: A folder holds no run, or it cannot be read.
    """
    given = {
        **request.options,
        "draws": request.draws,
        "exact": request.exact,
        "config": request.config,
        **request.inline,
    }
    for key, value in given.items():
        if value is not None:
            raise InputError(
                f"{key} must not be given when recorded runs are compared, but got {value!r}"
            )
    runs = [analyse(path) for path in request.configs]
    found = compare_runs(runs, metric=request.metric or "p99", margin=request.margin or 0.05)
    with _folder(out, runs) as folder:
        record = _record(request, folder, runs, found)
        write_record(folder, record)
    return Comparison(folder, record, found.draws)


def _folder(out: Path | None, runs: list[Run]) -> AbstractContextManager[Path]:
    first = runs[0].record
    subjects = (first.config.get("model"), first.trace.get("name"), "compare")
    return run_folder(out, *(str(subject) for subject in subjects if subject))


def _record(request: Request, folder: Path, runs: list[Run], found: Found) -> ComparisonRecord:
    outcome = found.outcome
    names = list(found.draws[0])
    return ComparisonRecord(
        id=folder.resolve().name,
        state="finished",
        standing=standing(outcome, interrupted=False).line,
        sentences=tuple(sentences(outcome)),
        command=request.command,
        arms={
            name: ArmRecord(label=label_of(run), settings=run.record.config)
            for name, run in zip(names, runs, strict=True)
        },
        metric=outcome.metric,
        margin=outcome.margin,
        trace={f"run {name}": run.record.trace for name, run in zip(names, runs, strict=True)},
        draws=(
            draw_record(
                found.draws[0],
                {name: str(run.path) for name, run in zip(names, runs, strict=True)},
            ),
        ),
        outcome=outcome,
    )


def label_of(run: Run) -> str:
    """What a run was, in short: timeout 32 / 10 ms (its folder's name)."""
    config = run.record.config
    known = [config.get(key) for key in ("policy", "max_batch_size", "batch_timeout_ms")]
    if None in known:
        return run.path.resolve().name
    return f"{known[0]} {known[1]} / {known[2]:g} ms ({run.path.resolve().name})"
