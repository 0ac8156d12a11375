"""`dynbatch report`: draw the report of a run, a tuning or a comparison again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

LATEST = Path("runs/latest")
_RECORDS = frozenset({"run.json", "tune.json", "comparison.json"})

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType


def report(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder of a run, a tuning or a comparison.", show_default="runs/latest"
        ),
    ] = LATEST,
) -> int:
    """Draw the report of a run, a tuning or a comparison again; needs no torch.

    Without a folder it is that of the last command that made one in runs/.
    """
    from bench.console import output_console
    from bench.errors import InputError
    from bench.exit_codes import OK
    from bench.streams import kept_in
    from results.comparison.record import RECORD as COMPARISON
    from results.run.record import RECORD
    from results.tuning.record import holds_tuning

    console = output_console()
    if (run / RECORD).exists():
        path, said = _run(run)
    elif (run / COMPARISON).exists():
        path, said = _comparison(run)
    elif drawn := [name for name in ("capacity", "sweep") if (run / f"{name}.json").exists()]:
        raise InputError(
            f"{run} must hold a run, a tuning or a comparison, but holds a {drawn[0]}: see "
            f"{drawn[0]}.png and {drawn[0]}.json there"
        )
    elif holds_tuning(run):
        path, said = _tuning(run)
    else:
        raise InputError(_nothing_in(run))
    kept_in(path)
    for line in said:
        console.print(line, soft_wrap=isinstance(line, str))
    console.print(f"report: {path}", soft_wrap=True)
    return OK


def _nothing_in(folder: Path) -> str:
    """Why there is nothing to report in a folder, and what to give instead."""
    if folder == LATEST and not folder.exists():
        return (
            f"there is no run to report: {LATEST}, which dynbatch bench, simulate, tune and "
            f"compare leave, is not in {Path.cwd()}; give the folder of a run"
        )
    what = "a folder with a run.json, tune.json or comparison.json"
    if not folder.is_dir():
        but = "is a file" if folder.exists() else "does not exist"
        return f"{folder} must be {what}, but {but}"
    inner = sorted(path.parent for path in folder.glob("*/*.json") if path.name in _RECORDS)
    hint = f": give one of those in it, such as {inner[-1]}" if inner else ""
    return f"{folder} must be {what}, but has none{hint}"


def _run(folder: Path) -> "tuple[Path, Sequence[RenderableType]]":
    from results.run.analysis import analyse
    from results.run.report import write_report
    from results.run.summary import summary

    analysed = analyse(folder)
    return write_report(analysed), [summary(analysed)]


def _comparison(folder: Path) -> "tuple[Path, Sequence[RenderableType]]":
    from results.comparison.record import read_comparison
    from results.comparison.report import write_report
    from results.comparison.wording import summary

    comparison = read_comparison(folder)
    return write_report(comparison), [summary(comparison)]


def _tuning(folder: Path) -> "tuple[Path, Sequence[RenderableType]]":
    from results.tuning.conclusion import conclusion
    from results.tuning.record import read_tuning
    from results.tuning.report import write_report

    tuning = read_tuning(folder)
    return write_report(tuning), list(conclusion(tuning.record))
