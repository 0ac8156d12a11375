"""`dynbatch report`: compute a run's metrics and draw its report again from its logs."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.", show_default="runs/latest")] = Path(
        "runs/latest"
    ),
) -> int:
    """Draw a run's report again from its logs; needs neither the model nor torch."""
    from bench.console import output_console
    from bench.exits import OK
    from results.analysis import analyse
    from results.report import write_report
    from results.summary import summary

    analysed = analyse(run)
    path = write_report(analysed)
    console = output_console()
    console.print(summary(analysed))
    console.print(f"report: {path}", soft_wrap=True)
    return OK
