"""`dynbatch compare`: is B better than A, and by how much."""

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands import options
from bench.commands.groups import BATCHER, CLIENT, LOAD, MODEL, READING, Given, takes, together
from bench.exit_codes import NO, OK, Interrupted

if TYPE_CHECKING:
    from rich.console import Console

    from bench.comparison.experiment import Experiment
    from bench.comparison.request import Request
    from results.comparison.record import Comparison

_ARMS, _PLAN = "Arms", "Plan"
_LETTERS = ("a", "b", "c", "d")


class Share(float):
    """A share, on the command line as 5% or 0.05."""

    __slots__ = ()


def _share(text: str) -> Share:
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    value = value / 100.0 if text.strip().endswith("%") else value
    if not 0.0 < value <= 1.0:
        raise typer.BadParameter(f"must be a share such as 5% or 0.05, but got {text!r}")
    return Share(value)


def _inline(letter: str) -> Any:
    return typer.Option(
        f"--{letter}",
        metavar="KEY=VALUE,...",
        help=f"Arm {letter.upper()} as knobs of the batcher, such as "
        "max_batch_size=32,batch_timeout_ms=5; all else as given for all arms.",
        rich_help_panel=_ARMS,
    )


Arms = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="A B [C ...]",
        help="A TOML config for each arm, or folders of runs that were recorded. "
        "All are compared with the first.",
        show_default=False,
    ),
]
Draws = Annotated[
    int | None,
    typer.Option(
        help="Most draws of the arrivals, each served by all arms; default 10. "
        "Fewer are made if 4, 6 or 8 decide.",
        rich_help_panel=_PLAN,
    ),
]
Exact = Annotated[
    bool,
    typer.Option("--exact", help="Make all draws, and look once.", rich_help_panel=_PLAN),
]
Margin = Annotated[
    Share | None,
    typer.Option(
        parser=_share,
        metavar="SHARE",
        help="A difference smaller than this is none; default 5%.",
        rich_help_panel=_PLAN,
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        help="The metric that decides; default p99. Others are reported beside it.",
        rich_help_panel=_PLAN,
    ),
]
FailIf = Annotated[
    str | None,
    typer.Option(help="worse: exit with code 3 if an arm is worse than A.", rich_help_panel=_PLAN),
]
Resume = Annotated[
    Path | None,
    typer.Option(help="Go on with the comparison in this folder.", rich_help_panel=_PLAN),
]


_INLINE = {letter: (Annotated[str | None, _inline(letter)], None) for letter in _LETTERS}
_PLANNED = together(draws=Draws, margin=Margin, metric=Metric, fail_if=FailIf, resume=Resume) | {
    "exact": (Exact, False)
}


@takes(_INLINE, _PLANNED, LOAD, READING, CLIENT, MODEL, BATCHER, together(slo=options.Slo))
def compare(
    arms: Arms = None,
    *,
    given: Given,
    config: options.Config = None,
    out: options.Out = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Compare settings on the same arrivals: who answers sooner, by how much, how surely.

    Every draw of the arrivals is served by all arms in turn, and arms are compared draw by draw.
    It stops as soon as the difference is shown, or shown not to matter.

    Arms are config files (dynbatch compare a.toml b.toml), knobs (--a max_batch_size=8 --b
    max_batch_size=32), or the folders of two runs that are there already.
    """
    from bench.comparison.request import Request
    from bench.console import message_console, stdout_kept
    from bench.errors import InputError

    fail_if, resume = given["fail_if"], given["resume"]
    if fail_if not in (None, "worse"):
        raise InputError(f"fail_if must be worse, but got {fail_if!r}")
    request = Request(
        configs=arms or [],
        inline={key: given[key] for key in _LETTERS if given[key] is not None},
        config=config,
        options={key: given.get(key) for key in _shared()},
        draws=given["draws"],
        margin=None if given["margin"] is None else float(given["margin"]),
        metric=given["metric"],
        exact=given["exact"] or None,
        command=shlex.join(["dynbatch", *sys.argv[1:]]),
    )
    messages = message_console(quiet=quiet)
    with stdout_kept(as_json):
        if resume is None and arms and any(path.is_dir() for path in arms):
            comparison, interrupted = _recorded(request, out), None
        else:
            ran, interrupted = _live(request, out, resume, messages)
            if ran is None:
                assert interrupted is not None  # noqa: S101 - for the type checker
                return interrupted
            comparison = ran
    return _tell(comparison, as_json=as_json, quiet=quiet, fail_if=fail_if, interrupted=interrupted)


def _shared() -> list[str]:
    from bench.settings import TABLES

    return [key for table in TABLES.values() for key in table.model_fields]


def _live(
    request: "Request", out: Path | None, resume: Path | None, messages: "Console"
) -> "tuple[Comparison | None, Interrupted | None]":
    """Begin or resume a comparison; return what there is to report, and the code if cut off."""
    from bench.comparison.experiment import Experiment
    from bench.errors import InputError
    from bench.folders import run_folder
    from results.comparison.record import RECORD

    if resume is not None:
        if out is not None:
            raise InputError(f"out must not be given with --resume, but got {str(out)!r}")
        return _carry_out(Experiment.resume(resume, request), messages)
    if out is not None and (out / RECORD).exists():
        raise InputError(
            f"{out} holds a comparison already: choose another folder, or go on with --resume {out}"
        )
    arms = request.arms(lambda text: messages.print(text, soft_wrap=True))
    Experiment.check(request, arms)
    first = arms[0].settings
    with run_folder(out, first.model.model, first.replay.trace, "compare") as folder:
        return _carry_out(Experiment.begin(request, folder, arms), messages)


def _carry_out(
    experiment: "Experiment", messages: "Console"
) -> "tuple[Comparison | None, Interrupted | None]":
    from batching import RealClock
    from bench.streams import kept_in
    from results.comparison.report import write_report

    interrupted = None
    go_on = f"to go on: dynbatch compare --resume {experiment.folder}"
    try:
        if experiment.finished:
            experiment.close()
        else:
            experiment.run(RealClock(), messages)
    except KeyboardInterrupt:
        interrupted = Interrupted(go_on)
    comparison = experiment.comparison
    if not comparison.draws:
        return None, Interrupted(f"the first draw was not finished; {go_on}")
    kept_in(experiment.folder)
    messages.print("drawing the report")
    write_report(comparison)
    return comparison, interrupted


def _recorded(request: "Request", out: Path | None) -> "Comparison":
    """Compare the folders of recorded runs."""
    from bench.comparison.recorded import compare_recorded
    from bench.streams import kept_in
    from results.comparison.report import write_report

    comparison = compare_recorded(request, out)
    kept_in(comparison.path)
    write_report(comparison)
    return comparison


def _tell(
    comparison: "Comparison",
    *,
    as_json: bool,
    quiet: bool,
    fail_if: str | None,
    interrupted: Interrupted | None,
) -> int:
    """Print what came out and choose the exit code."""
    from bench.console import output_console
    from results.comparison.wording import summary
    from results.run.record import REPORT

    if as_json:
        sys.stdout.write(comparison.record.as_json())
    elif not quiet:
        console = output_console()
        console.print(summary(comparison))
        console.print(f"report: {comparison.path / REPORT}", soft_wrap=True)
    if interrupted is not None:
        return interrupted
    worse = any(c.verdict == "worse" for c in comparison.outcome.challengers)
    return NO if fail_if == "worse" and worse else OK
