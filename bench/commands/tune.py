"""`dynbatch tune`: find the setting, prove it, hand it over."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands import options
from bench.commands.groups import BATCHER, LOAD, MODEL, PROFILE, READING, Given, takes, together
from bench.exit_codes import NO, OK, Interrupted

if TYPE_CHECKING:
    from rich.console import Console

    from bench.tuning.tune import Request, Result
    from results.tuning.record import Tuning

_SEARCH = "Search"
Objective = Annotated[
    str | None,
    typer.Option(
        "--objective",
        help="What to look for: latency (default without an SLO), capacity (default with one), "
        "device-time, goodput, or energy (on a GPU that counts it).",
        rich_help_panel=_SEARCH,
    ),
]
Slo = Annotated[
    list[str] | None,
    typer.Option(
        "--slo",
        metavar="OBJECTIVE",
        help="What a setting has to meet: 'p99<=50ms'.",
        rich_help_panel=_SEARCH,
    ),
]
Percentile = Annotated[
    str | None,
    typer.Option(
        "--percentile",
        help="Of latency: 50, 90, 95, 99 (default), 99.9 or mean.",
        rich_help_panel=_SEARCH,
    ),
]
Search = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KNOB=LOW:HIGH",
        help="What is searched, beside or in place of max_batch_size and batch_timeout_ms: "
        "policy=timeout,deadline, engine=eager,cudagraph, in_flight=1,2, replicas=1:4, "
        "max_queue_size=16:256; repeatable.",
        rich_help_panel=_SEARCH,
    ),
]
Profiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help="Batch times, as dynbatch profile measured them: a file, or a built-in (see "
        "'dynbatch profile --list'); one for each engine, where several are to be searched. "
        "Default: measured now.",
        rich_help_panel="Model",
    ),
]
Current = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="TOML file with the \\[batcher] settings that you have now, to be compared with.",
        rich_help_panel=_SEARCH,
    ),
]
Trials = Annotated[
    int | None,
    typer.Option(help="Most settings to simulate; default 200.", rich_help_panel=_SEARCH),
]
Patience = Annotated[
    int | None,
    typer.Option(
        help="End after so many settings without progress; default 60.", rich_help_panel=_SEARCH
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="Time in all, profile, search, race and confirmation: 45, 45s or 5m (default).",
        rich_help_panel=_SEARCH,
    ),
]
Race = Annotated[
    bool | None,
    typer.Option(
        "--race/--no-race",
        help="Race the best settings on the device (default), or end after the simulation.",
        rich_help_panel=_SEARCH,
    ),
]
Simulate = Annotated[
    bool,
    typer.Option(
        "--simulate/--no-simulate",
        help="Search in simulation, or on the device: slower by far, and true to it.",
        rich_help_panel=_SEARCH,
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Keep the trials in this database (sqlite:///trials.db, postgresql://...). "
        "Default: a journal in the run's folder.",
        rich_help_panel=_SEARCH,
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option("--resume", help="Go on with the tuning in this folder.", rich_help_panel=_SEARCH),
]

# What may be given again on resuming; all else is as it was asked for first.
_GOES_ON = ("budget", "trials", "race")
_ON_RESUME = frozenset(("resume", *_GOES_ON, "storage", "as_json", "quiet"))


_SEARCHED = {
    "profile": (Profiles, None),
    **together(objective=Objective, slo=Slo, percentile=Percentile, search=Search),
    **together(current=Current, trials=Trials, patience=Patience, budget=Budget, race=Race),
    "simulate": (Simulate, True),
    **together(storage=Storage),
}


@takes(
    LOAD,
    READING,
    MODEL,
    PROFILE,
    _SEARCHED,
    BATCHER,
    together(config=options.Config),
    without=("max_batch_size", "batch_timeout_ms", "min_wait_ms", "slo_ms", "execute_timeout_ms"),
)
def tune(
    *,
    given: Given,
    resume: Resume = None,
    out: options.Out = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Find the batcher's setting for a model and its traffic, and write it as a config file.

    Hundreds of settings are simulated with batch times measured here; the best of them race against
    the default, the current and the no-delay setting on the device; the winner is confirmed on
    fresh arrivals. Exit code 3: no setting meets the SLO.
    """
    from batching import RealClock
    from bench.console import message_console, stdout_kept
    from bench.folders import run_folder
    from bench.tuning.profiles import check_subject
    from bench.tuning.search.storage import let_go, open_database
    from bench.tuning.tune import read_request

    messages = message_console(quiet=quiet)
    with stdout_kept(as_json):
        if resume is not None:
            _check_resumed(given)
            request = read_request(resume)
            result = _finished(resume, request, given, messages) or _carry_out(
                _again(request, given), resume, RealClock(), messages
            )
        else:
            request = _request(given)
            request.question()
            check_subject(request, RealClock())
            if request.storage is not None:  # a bad one is found before there is a folder
                let_go(open_database(request.storage))
            model_name = request.settings.model.model
            with run_folder(out, model_name, request.settings.replay.trace, "tune") as folder:
                result = _carry_out(request, folder, RealClock(), messages)
    if isinstance(result, Interrupted):
        return result
    return _tell(result, as_json=as_json, quiet=quiet)


def _request(given: dict[str, Any]) -> "Request":
    """What the command line asks for.

    Raises:
        InputError: an option, or a value in a file, is not usable.
    """
    from bench.errors import InputError
    from bench.settings import load_settings, parse_duration_s
    from bench.tuning.request import BUDGET_S, of_profiles, read_current
    from bench.tuning.search.sampler import PATIENCE, TRIALS
    from bench.tuning.tune import Request
    from results.run.slo import Kind

    settings = load_settings(given["config"], given, slo_kinds=(Kind.LATENCY,))
    profiles = tuple(given["profile"] or ())
    settings, search = of_profiles(settings, profiles, tuple(given["search"] or ()))
    if settings.slo.until_decided:
        raise InputError("until_decided must be of a single run, but a tuning makes many")
    return Request(
        settings=settings,
        current=read_current(given["current"], settings.model),
        objective=given["objective"],
        percentile=given["percentile"],
        search=search,
        trials=TRIALS if given["trials"] is None else given["trials"],
        patience=PATIENCE if given["patience"] is None else given["patience"],
        seed=given["seed"] or 0,
        budget_s=BUDGET_S
        if given["budget"] is None
        else parse_duration_s("budget", given["budget"]),
        race=given["race"] is not False,
        simulate=given["simulate"],
        storage=given["storage"],
        profiles=profiles,
        profile_budget_s=parse_duration_s("profile_budget", given["profile_budget"]),
        force=given["force"],
        model_named=given["model"] is not None or given["config"] is not None,
    )


def _check_resumed(given: dict[str, Any]) -> None:
    """Refuse options that a tuning which goes on as it was begun does not take."""
    from bench.errors import InputError

    usual = {
        "profile_budget": "20s",
        "force": False,
        "simulate": True,
    }
    for name, value in given.items():
        if name not in _ON_RESUME and value != usual.get(name):
            raise InputError(
                f"{name} must not be given with --resume, which goes on as it was begun, "
                f"but got {value!r}"
            )


def _finished(
    folder: Path, request: "Request", given: dict[str, Any], messages: "Console"
) -> "Tuning | None":
    """The tuning where it has come to its end, and nothing is given to go on with; else None."""
    from bench.streams import kept_in
    from results.errors import RunCorruptError
    from results.run.record import REPORT
    from results.tuning.record import RECORD, read_tuning
    from results.tuning.report import write_report

    if any(given[name] is not None for name in _GOES_ON) or not (folder / RECORD).is_file():
        return None
    try:
        tuning = read_tuning(folder)
    except RunCorruptError as error:
        messages.print(f"{error}; it is made again", soft_wrap=True)
        return None
    ended = tuning.record
    if ended.budget_s is not None:
        asked = (request.budget_s, request.trials, request.race)
        if asked != (ended.budget_s, ended.trials, ended.race):
            return None  # it went on after that, and was cut off
    kept_in(folder)
    messages.print("this tuning is finished: --budget or --trials goes on with it", soft_wrap=True)
    if not (folder / REPORT).exists():
        write_report(tuning)
    return tuning


def _again(request: "Request", given: dict[str, Any]) -> "Request":
    from bench.errors import InputError
    from bench.settings import parse_duration_s

    if request.storage is not None and given["storage"] is None and "***" in request.storage:
        raise InputError(
            f"storage must be given again, as its password is not kept: it was {request.storage}"
        )
    changed: dict[str, Any] = {}
    if given["budget"] is not None:
        changed["budget_s"] = parse_duration_s("budget", given["budget"])
    for name in ("storage", "trials", "race"):
        if given[name] is not None:
            changed[name] = given[name]
    return request.model_copy(update=changed)


def _carry_out(
    request: "Request", folder: Path, clock: Any, messages: "Console"
) -> "Tuning | Interrupted":
    """Tune and write what was found; the exit code if it was interrupted."""
    from bench.tuning.progress import SearchLine
    from bench.tuning.tune import carry_out

    try:
        with SearchLine(messages) as line:
            result = carry_out(request, folder, clock, messages, watch=line.show)
        return _keep(result, folder, messages)
    except KeyboardInterrupt:
        return Interrupted(f"to go on: dynbatch tune --resume {folder}")


def _keep(result: "Result", folder: Path, messages: "Console") -> "Tuning":
    """Write what was found: the numbers, the setting to use if there is one, the report."""
    from bench.errors import RunFailedError
    from bench.hardware.environment import command_line
    from bench.streams import kept_in
    from bench.tuning.record import record_of
    from results.tuning.recommended_toml import RECOMMENDED, write_recommendation
    from results.tuning.record import write_tuning
    from results.tuning.report import write_report

    record = record_of(result, command_line())
    try:
        write_recommendation(folder, record)
    except ValueError as error:
        raise RunFailedError(f"{folder / RECOMMENDED}: cannot be written: {error}") from None
    tuning = write_tuning(folder, record)
    kept_in(folder)
    messages.print("drawing the report")
    write_report(tuning)
    return tuning


def _tell(tuning: "Tuning", *, as_json: bool, quiet: bool) -> int:
    """Print what came out and choose the exit code."""
    from bench.console import output_console
    from results.run.record import REPORT
    from results.tuning.conclusion import conclusion
    from results.tuning.recommended_toml import RECOMMENDED
    from results.tuning.record import RECORD

    folder, record = tuning.path, tuning.record
    if as_json:
        sys.stdout.write((folder / RECORD).read_text(encoding="utf-8"))
    elif not quiet:
        console = output_console()
        for line in conclusion(record):
            console.print(line, soft_wrap=isinstance(line, str))
        for what, name in (("config", RECOMMENDED), ("numbers", RECORD), ("report", REPORT)):
            if (folder / name).exists():
                console.print(f"{what}: {folder / name}", soft_wrap=True)
    return OK if record.met else NO
