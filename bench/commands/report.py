"""`dynbatch report`: draw the report of a run, a tuning or a comparison again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType


def report(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder of a run, a tuning or a comparison.", show_default="runs/latest"
        ),
    ] = Path("runs/latest"),
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
    else:
        path, said = _tuning(run) if holds_tuning(run) else _run(run)
    kept_in(path)
    for line in said:
        console.print(line, soft_wrap=isinstance(line, str))
    console.print(f"report: {path}", soft_wrap=True)
    return OK


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
