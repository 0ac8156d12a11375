"""One file a subcommand."""

from typing import Annotated

import typer

from bench.commands import (
    bench,
    capacity,
    compare,
    doctor,
    export,
    models,
    profile,
    report,
    simulate,
    trace,
    tune,
)


def application() -> typer.Typer:
    """The command line, its subcommands in the order that `--help` lists them."""
    app = typer.Typer(
        name="dynbatch",
        help="Benchmark and tune dynamic batching of PyTorch inference under replayed arrivals.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )
    app.callback()(_common)
    app.command("bench")(bench.bench)
    app.command("tune")(tune.tune)
    app.command("compare")(compare.compare)
    app.command("report")(report.report)
    app.command("profile")(profile.profile)
    app.command("simulate")(simulate.simulate)
    app.command("capacity")(capacity.capacity)
    app.command("export")(export.export)
    app.add_typer(trace.app, name="trace")
    app.command("models")(models.models)
    app.command("doctor")(doctor.doctor)
    return app


def _common(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True),
    ] = False,
) -> None:
    """Take the options that go with no subcommand."""
